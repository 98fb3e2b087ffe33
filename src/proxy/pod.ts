/**
 * One enrolled pod in a worker: its listeners, the services of both directions, and the state that outlives tables. What the
 * other files of this folder do is put together here.
 */
import type { MeshError } from '../core/errors.ts';
import { describeTable } from '../mesh/describe.ts';
import { findDestination, findSniRoutes } from '../mesh/route.ts';
import type { Protocol, Table, TcpRoute } from '../mesh/table.ts';
import { Admission } from './admission.ts';
import { AppDialer } from './app-dialer.ts';
import { ClusterSet } from './cluster-set.ts';
import { codecsOver } from './codecs.ts';
import { Buffers } from './buffers.ts';
import type { Connection } from './connection.ts';
import type { DataPlane } from './dataplane.ts';
import { Direction, nothing } from './direction.ts';
import type { Service } from './exchange.ts';
import { CheckedDialer } from './ext-authz/checked-dialer.ts';
import { ExternalAuthorizer } from './ext-authz/external-authorizer.ts';
import { TunnelListener } from './hbone/tunnel-listener.ts';
import { Tunnels } from './hbone/tunnels.ts';
import { Inbound } from './inbound.ts';
import { CaptureListener } from './listener.ts';
import type { OriginalDestination } from './listener.ts';
import type { OpaqueTarget } from './opaque.ts';
import { PodDialer } from './pod-dialer.ts';
import { Exchange } from './record.ts';
import { outboundService } from './stack.ts';
import { TcpUpstreams } from './tcp-upstreams.ts';
import type { Transport } from './transport.ts';
import type { SocketFactory, WorkloadHandle } from './workload.ts';

export interface PodOptions {
  /** `ns/name`. */
  readonly id: string;
  /** SPIFFE id. */
  readonly identity: string;
  /** W3C baggage for the servers of its tunnels. */
  readonly baggage: string;
  readonly addresses: readonly string[];
  readonly table: Table;
  readonly sockets: SocketFactory;
  readonly dataplane: DataPlane;
}

export class Pod implements WorkloadHandle {
  readonly id: string;
  readonly identity: string;
  readonly baggage: string;
  readonly addresses: readonly string[];
  table: Table;
  readonly admission: Admission;
  readonly sockets: SocketFactory;
  readonly #dataplane: DataPlane;
  readonly #tunnels: Tunnels;
  readonly #clusters: ClusterSet;
  readonly #inbound: Inbound;
  readonly #handlers: { readonly outbound: Direction; readonly inbound: Direction };
  readonly #listeners: CaptureListener[] = [];
  readonly #tunnelListeners: TunnelListener[] = [];
  #leaving = false;

  constructor({ id, identity, baggage, addresses, table, sockets, dataplane: shared }: PodOptions) {
    this.id = id;
    this.identity = identity;
    this.baggage = baggage;
    this.addresses = addresses;
    this.table = table;
    this.admission = new Admission(this, shared);
    this.sockets = sockets;
    const own = { ...shared, buffers: new Buffers() };
    this.#tunnels = new Tunnels(this, own);
    const dataplane = { ...own, dialer: new PodDialer(own, this.#tunnels), draining: () => this.#leaving || shared.draining() };
    this.#dataplane = dataplane;
    const codecs = codecsOver(dataplane);
    this.#clusters = new ClusterSet(this, dataplane, codecs);
    const authorizer = new ExternalAuthorizer({ workload: this, clusters: this.#clusters, clock: shared.clock }, shared.log);
    this.#inbound = new Inbound(this, dataplane, codecs, authorizer);
    const toApp = new CheckedDialer(new AppDialer(this, dataplane), (connection) => this.admission.providerFor(connection), authorizer, shared.clock);
    this.#handlers = {
      outbound: new OutboundDirection(this, dataplane, outboundService(this.#clusters, dataplane), new TcpUpstreams(this.#clusters, dataplane)),
      inbound: new InboundDirection(this, dataplane, this.#inbound.service, toApp),
    };
  }

  /** Accept captured connections on a listening socket of the pod's namespace (this thread's own duplicate). */
  async listen(fd: number, direction: 'outbound' | 'inbound', originalDestination: OriginalDestination): Promise<void> {
    const handler = this.#handlers[direction];
    this.#listeners.push(await CaptureListener.start({ fd, direction, workload: this, originalDestination, handler, dataplane: this.#dataplane }));
  }

  /** Take the tunnels of other agents on a listening socket of the pod's namespace (this thread's own duplicate). */
  async listenForTunnels(fd: number): Promise<void> {
    this.#tunnelListeners.push(await TunnelListener.start({ fd, workload: this, handler: this.#handlers.inbound, dataplane: this.#dataplane }));
  }

  /** Tunnels to pods that are not there any more end now. `podAt`: the pod that has an address. */
  retainTunnels(podAt: (address: string) => string | undefined): void {
    this.#tunnels.retain(podAt);
  }

  /** A new configuration: exchanges under way keep the table they started with. */
  update(table: Table): void {
    this.table = table;
    this.#clusters.apply(table);
    this.#handlers.outbound.forget();
    this.#handlers.inbound.forget();
    this.admission.recheck();
  }

  inbound(): Service {
    return this.#inbound.service;
  }

  /** Connections accepted and still open. */
  get openConnections(): number {
    return [...this.#listeners, ...this.#tunnelListeners].reduce((sum, listener) => sum + listener.openConnections, 0);
  }

  /** Its table and the live state of the clusters in use, as plain data. */
  describe(): unknown {
    return { id: this.id, openConnections: this.openConnections, clusters: this.#clusters.describe(), table: describeTable(this.table) };
  }

  /** It is not in the mesh any more: its connections say so with their next answer. */
  leave(): void {
    this.#leaving = true;
  }

  /** The agent ends, or the pod has left: accept no more, close what has been idle for `idleMs`; what is under way is finished. */
  drain(idleMs = 0): void {
    this.#stopAccepting();
    this.#handlers.outbound.drain(idleMs);
    this.#handlers.inbound.drain(idleMs);
  }

  #stopAccepting(): void {
    for (const listener of [...this.#listeners, ...this.#tunnelListeners]) listener.close();
  }

  /** No connection is left. */
  close(): void {
    this.#stopAccepting();
    this.#clusters.close();
    this.#inbound.close();
    this.#tunnels.close();
  }
}

class OutboundDirection extends Direction {
  protected declared(connection: Connection): Protocol {
    const { destinationAddress, destinationPort } = connection;
    // Outside the registry a request may still be for a host that has routes, or a server name that has.
    return findDestination(this.pod.table, destinationAddress, destinationPort)?.protocol ?? 'sniff';
  }

  protected begin(connection: Connection): Exchange {
    return new Exchange('source', connection, this.pod.table, this.now());
  }

  protected target(connection: Connection): OpaqueTarget {
    const { table } = this.pod;
    const { destinationAddress, destinationPort, serverName } = connection;
    const bySni: readonly TcpRoute[] | undefined = serverName === '' ? undefined : findSniRoutes(table, destinationPort, serverName);
    return { routes: bySni ?? findDestination(table, destinationAddress, destinationPort)?.tcpRoutes };
  }
}

class InboundDirection extends Direction {
  override fault(connection: Connection): MeshError | undefined {
    const fault = this.pod.admission.connectionFault(connection);
    if (fault === undefined) return undefined;
    this.refuse(connection, fault);
    return fault;
  }

  override isTcpProbe(connection: Connection): boolean {
    const { admission } = this.pod;
    if (!admission.isTcpProbe(connection)) return false;
    return admission.connectionFault(connection) !== undefined || (this.protocol(connection) === 'tcp' && admission.opaqueFault(connection, false) !== undefined);
  }

  /** Who has proved who it is needs no watching: what it may do is asked of each request. */
  override accepted(connection: Connection, transport: Transport): () => void {
    if (connection.peer.security !== 'none') return nothing;
    const { admission } = this.pod;
    const watched = { connection, fault: () => admission.connectionFault(connection), end: () => transport.reset() };
    admission.watch(watched);
    return () => admission.forget(watched);
  }

  override mayBeOpaque(connection: Connection): boolean {
    return this.pod.admission.opaqueFault(connection, false) === undefined;
  }

  protected declared(connection: Connection): Protocol {
    return this.pod.table.inbound.get(connection.destinationPort)?.protocol ?? 'sniff';
  }

  protected begin(connection: Connection): Exchange {
    const exchange = new Exchange('destination', connection, undefined, this.now());
    exchange.service = this.pod.table.inbound.get(connection.destinationPort)?.service;
    return exchange;
  }

  /** The pod's own application; {@link AppDialer} knows no other place. */
  protected target(): OpaqueTarget {
    return { routes: undefined };
  }
}
