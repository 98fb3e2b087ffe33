/** One endpoint of a cluster as a client workload sees it: its load, its health, its connections. Survives configuration changes. */
import { hostPort } from '../core/address.ts';
import type { EndpointSpec } from '../mesh/table.ts';
import type { Pool } from './pool.ts';
import type { UpstreamCodec } from './upstream.ts';

export class Endpoint {
  spec: EndpointSpec;
  /** IP address; for a name in a `dns` cluster, one of those it resolves to. */
  readonly address: string;
  readonly port: number;
  /** `address:port`, IPv6 in brackets. */
  readonly key: string;
  /** Exchanges and opaque connections under way. */
  active = 0;
  /** One for each codec in use, rarely more than one. */
  #pools: readonly Pool[] = [];
  /** No longer in the cluster; what is under way may finish. */
  removed = false;
  readonly health = new Health();

  constructor(spec: EndpointSpec, address: string, port: number) {
    this.spec = spec;
    this.address = address;
    this.port = port;
    this.key = hostPort(address, port);
  }

  /** The pool of this codec, when there is one. */
  pool(codec: UpstreamCodec): Pool | undefined {
    for (const pool of this.#pools) if (pool.codec === codec) return pool;
    return undefined;
  }

  /** Returns the pool. */
  keep(pool: Pool): Pool {
    this.#pools = [...this.#pools, pool];
    return pool;
  }

  /** It has connections, or waits for some. */
  get connected(): boolean {
    return this.#pools.length > 0;
  }

  /** No new exchange goes out on the present connections; they close when what is under way is over. */
  drain(): void {
    const pools = this.#pools;
    this.#pools = [];
    for (const pool of pools) pool.drain();
  }

  /** The pool is empty. */
  forget(pool: Pool): void {
    this.#pools = this.#pools.filter((one) => one !== pool);
  }

  get weight(): number {
    return this.spec.weight;
  }
}

/** What outlier detection counts (see outlier.ts). */
class Health {
  consecutive5xx = 0;
  consecutiveGatewayErrors = 0;
  consecutiveLocalOrigin = 0;
  ejected = false;
  ejectedAtMs = 0;
  returnedAtMs = 0;
  /** Multiplies the base ejection time: grows with each ejection, shrinks with each healthy interval. */
  backoff = 0;
}
