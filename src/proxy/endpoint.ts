/** One endpoint of a cluster as a client workload sees it: its load, its health, its connections. Survives configuration changes. */
import { hostPort } from '../core/address.ts';
import type { EndpointSpec } from '../mesh/table.ts';
import type { Pool } from './pool.ts';

export class Endpoint {
  spec: EndpointSpec;
  /** IP address; for a name in a `dns` cluster, one of those it resolves to. */
  readonly address: string;
  readonly port: number;
  /** `address:port`, IPv6 in brackets. */
  readonly key: string;
  /** Exchanges and opaque connections under way. */
  active = 0;
  pool: Pool | undefined;
  /** No longer in the cluster; what is under way may finish. */
  removed = false;
  readonly health = new Health();

  constructor(spec: EndpointSpec, address: string, port: number) {
    this.spec = spec;
    this.address = address;
    this.port = port;
    this.key = hostPort(address, port);
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
