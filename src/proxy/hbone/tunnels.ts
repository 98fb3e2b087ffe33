/**
 * The tunnels of one pod: mutual TLS with its own certificate to other pods' port 15008, HTTP/2 in it, and a stream for each
 * connection. Never shared with another pod. Pools of them are pools like any other, whose requests are CONNECTs.
 */
import type { Clock } from '../../core/clock.ts';
import { HBONE_IDLE_TIMEOUT_MS } from '../../core/limits.ts';
import { HBONE_PORT } from '../../core/ports.ts';
import { Budget } from '../budget.ts';
import type { Connection } from '../connection.ts';
import type { DataPlane } from '../dataplane.ts';
import { Http2Client } from '../http2/client.ts';
import { Pool } from '../pool.ts';
import type { PoolHost } from '../pool.ts';
import { Exchange } from '../record.ts';
import { SocketTransport } from '../socket-transport.ts';
import { connectToWorkload } from '../tls/connect.ts';
import type { Transport, TransportOwner } from '../transport.ts';
import { unlimited } from '../unlimited.ts';
import type { Dialer, DialTarget, UpstreamCodec } from '../upstream.ts';
import type { WorkloadHandle } from '../workload.ts';
import { Opening, connectHead } from './opening.ts';
import { TUNNEL_CLIENT } from './settings.ts';

/** Who a tunnel leads to. */
interface TunnelTarget extends DialTarget {
  readonly identities: readonly string[];
  /** The pod that had the address when the first tunnel to it was made; undefined: none that is known. */
  readonly pod: string | undefined;
}

export class Tunnels implements PoolHost {
  readonly clock: Clock;
  readonly dialer: Dialer;
  readonly budget = new Budget(unlimited(HBONE_IDLE_TIMEOUT_MS));
  readonly #workload: WorkloadHandle;
  readonly #dataplane: DataPlane;
  readonly #codec: UpstreamCodec;
  /** By address and expected identities. */
  readonly #pools = new Map<string, Pool>();
  #podAt: (address: string) => string | undefined = () => undefined;

  constructor(workload: WorkloadHandle, dataplane: DataPlane) {
    this.clock = dataplane.clock;
    this.#workload = workload;
    this.#dataplane = dataplane;
    this.#codec = Http2Client.over(dataplane, TUNNEL_CLIENT);
    this.dialer = { socket: (target) => dataplane.dialer.socket(target), dial: (target, owner) => this.#secure(target as TunnelTarget, owner) };
  }

  /** Tunnels in use or kept. */
  get size(): number {
    return this.#pools.size;
  }

  /** A connection to `target` inside a tunnel to its pod, which must have one of the identities. */
  open(target: DialTarget, identities: readonly string[], owner: TransportOwner): Transport {
    const opening = new Opening(this.#exchange(target), connectHead(target, this.#dataplane.random), target, owner);
    const begin = (): void => {
      if (opening.transport.open) opening.request = this.#poolFor(target, identities).send(opening);
    };
    // A pod that has just come may have to wait for its certificate; whoever dials watches the time.
    if (this.#dataplane.identities.get(this.#workload.identity) !== undefined) begin();
    else this.#dataplane.identities.whenThere(this.#workload.identity, begin);
    return opening.transport;
  }

  /** Pods come and go: a tunnel to one that is gone, or whose address another has now, ends at once. `podAt` says which pod has an address. */
  retain(podAt: (address: string) => string | undefined): void {
    this.#podAt = podAt;
    for (const [key, pool] of this.#pools) {
      const { address, pod } = pool.target as TunnelTarget;
      if (podAt(address) === pod) continue;
      this.#pools.delete(key);
      pool.destroy();
    }
  }

  /** The pod leaves the mesh: finish what is under way. */
  close(): void {
    for (const pool of this.#pools.values()) pool.drain();
  }

  emptied(pool: Pool): void {
    const { address, identities } = pool.target as TunnelTarget;
    const key = keyOf(address, identities);
    if (this.#pools.get(key) === pool) this.#pools.delete(key);
  }

  #poolFor({ address }: DialTarget, identities: readonly string[]): Pool {
    const key = keyOf(address, identities);
    const known = this.#pools.get(key);
    if (known !== undefined) return known;
    const target: TunnelTarget = { workload: this.#workload, direction: 'outbound', address, port: HBONE_PORT, clientAddress: '', security: undefined, identities, pod: this.#podAt(address) };
    const pool = new Pool(this, target, this.#codec);
    this.#pools.set(key, pool);
    return pool;
  }

  /** @throws Error when the pod has no certificate (any more). */
  #secure(target: TunnelTarget, owner: TransportOwner): Transport {
    const credentials = this.#dataplane.identities.get(this.#workload.identity);
    if (credentials === undefined) throw new Error(`no certificate for ${this.#workload.identity}`);
    return SocketTransport.securing(connectToWorkload(this.#dataplane.dialer.socket(target), credentials, target.identities), owner);
  }

  #exchange({ address, port }: DialTarget): Exchange {
    const { identity, addresses } = this.#workload;
    const connection: Connection = {
      workload: this.#workload,
      direction: 'outbound',
      peer: { identity, security: 'local' },
      remoteAddress: addresses[0] ?? '',
      remotePort: 0,
      destinationAddress: address,
      destinationPort: port,
      serverName: '',
    };
    return new Exchange('source', connection, undefined, this.clock.nowMs());
  }
}

function keyOf(address: string, identities: readonly string[]): string {
  return `${address} ${identities.join(' ')}`;
}
