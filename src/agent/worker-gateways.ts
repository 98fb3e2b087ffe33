/** The gateways of the node in a worker: each is served by one of the workers, as a pod is. */
import type { Clock } from '../core/clock.ts';
import { DRAIN_DEADLINE_MS } from '../core/limits.ts';
import type { Credential } from '../certs/credential.ts';
import { compileGateway } from '../mesh/gateway/compile.ts';
import type { GatewayId, GatewayTable } from '../mesh/gateway/table.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { Table } from '../mesh/table.ts';
import type { DataPlane } from '../proxy/dataplane.ts';
import { Gateway } from '../proxy/gateway/gateway.ts';
import { GatewaySecrets } from '../proxy/gateway/secrets.ts';
import { closeFd, dup, isListening, localAddress } from '../sys/socket.ts';
import { HOST_SOCKETS } from './host-sockets.ts';
import type { ServedGateway } from './protocol.ts';

interface Held {
  readonly id: GatewayId;
  readonly gateway: Gateway;
}

export class WorkerGateways {
  readonly #dataplane: DataPlane;
  readonly #clock: Clock;
  readonly #podAt: (address: string) => string | undefined;
  readonly #secrets = new GatewaySecrets();
  /** By the name of their workload. */
  readonly #gateways = new Map<string, Held>();
  /** They are gone, and finish what they have. */
  readonly #leaving = new Set<Gateway>();
  #snapshot: Snapshot | undefined;
  #serving: Promise<void> = Promise.resolve();

  constructor(dataplane: DataPlane, podAt: (address: string) => string | undefined) {
    this.#dataplane = dataplane;
    this.#clock = dataplane.clock;
    this.#podAt = podAt;
  }

  /** A new configuration. A table that does not compile never replaces the one before it. */
  take(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    for (const { id, gateway } of this.#gateways.values()) {
      const table = this.#compile(id);
      if (table !== undefined) gateway.update(table);
      gateway.retainTunnels(this.#podAt);
    }
  }

  /** Those of its tables whose rules need keys. */
  get tables(): Table[] {
    return [...this.#gateways.values()].map(({ gateway }) => gateway.table);
  }

  /** Serve a gateway on these sockets and on no others. Rejects when one of them cannot be listened on. */
  async serve(served: ServedGateway): Promise<void> {
    await this.#inTurn(async () => this.#serve(served));
  }

  async #serve({ id, workload, baggage, addresses, sockets }: ServedGateway): Promise<void> {
    const gateway = this.#gateways.get(workload)?.gateway ?? this.#open(id, workload, baggage, addresses);
    if (gateway === undefined) return;
    gateway.retain(new Set(sockets.map(({ fd }) => fd)));
    for (const { fd, port, nodePort } of sockets) {
      if (gateway.listens(fd)) continue;
      const own = dup(fd);
      // The main thread may have closed it meanwhile, and its number may be another's: then the next message says so.
      if (isListening(own) && localAddress(own).port === nodePort) await gateway.listen(fd, own, port);
      else closeFd(own);
    }
  }

  /** It is gone, or another node's now. */
  forget(workload: string): void {
    void this.#inTurn(async () => this.#forget(workload));
  }

  #forget(workload: string): void {
    const gateway = this.#gateways.get(workload)?.gateway;
    if (gateway === undefined) return;
    this.#gateways.delete(workload);
    this.#leaving.add(gateway);
    gateway.drain();
    this.#clock.coarse(DRAIN_DEADLINE_MS, () => {
      this.#leaving.delete(gateway);
      gateway.close();
    });
  }

  /** Undefined: there is none any more. */
  credential(source: string, credential: Credential | undefined): void {
    this.#secrets.set(source, credential);
  }

  describe(workload: string): unknown {
    return this.#gateways.get(workload)?.gateway.describe();
  }

  get openConnections(): number {
    return [...this.#gateways.values()].reduce((sum, { gateway }) => sum + gateway.openConnections, [...this.#leaving].reduce((sum, gateway) => sum + gateway.openConnections, 0));
  }

  /** Accept no more, and close what has been idle for so long. */
  drain(idleMs?: number): void {
    for (const { gateway } of this.#gateways.values()) gateway.drain(idleMs);
  }

  /** One after the other: what was said last is what counts. */
  async #inTurn(step: () => Promise<void>): Promise<void> {
    const done = this.#serving.then(step);
    this.#serving = done.catch(() => undefined);
    await done;
  }

  #open(id: GatewayId, workload: string, baggage: string, addresses: readonly string[]): Gateway | undefined {
    const table = this.#compile(id);
    if (table === undefined) return undefined;
    const gateway = new Gateway({ id: workload, baggage, addresses, table, sockets: HOST_SOCKETS, secrets: this.#secrets, dataplane: this.#dataplane });
    gateway.retainTunnels(this.#podAt);
    this.#gateways.set(workload, { id, gateway });
    return gateway;
  }

  #compile(id: GatewayId): GatewayTable | undefined {
    if (this.#snapshot === undefined) return undefined;
    try {
      return compileGateway(this.#snapshot, id);
    } catch (error) {
      this.#dataplane.log.error({ err: error, gateway: `${id.namespace}/${id.name}`, version: this.#snapshot.version }, 'the configuration of a gateway does not compile; the table before it stays');
      return undefined;
    }
  }
}
