/**
 * One gateway in a worker: its listeners, its stack, its clusters. To the pods it sends to it is a client like another, with an identity of its own;
 * it has no application, and nothing of it is captured.
 */
import type { GatewayTable } from '../../mesh/gateway/table.ts';
import { describeTable } from '../../mesh/describe.ts';
import type { Table } from '../../mesh/table.ts';
import { Admission } from '../admission.ts';
import { Buffers } from '../buffers.ts';
import { ClusterSet } from '../cluster-set.ts';
import { codecsOver } from '../codecs.ts';
import type { DataPlane } from '../dataplane.ts';
import type { Service } from '../exchange.ts';
import { ExternalAuthorizer } from '../ext-authz/external-authorizer.ts';
import { Tunnels } from '../hbone/tunnels.ts';
import { authorize, providerFor } from '../layers/authorize.ts';
import { extAuthz } from '../layers/ext-authz.ts';
import { stack } from '../layers/layer.ts';
import { normalizedPath } from '../layers/normalize-path.ts';
import { observe } from '../layers/observe.ts';
import { requestAuthentication } from '../layers/request-authentication.ts';
import { requestId } from '../layers/request-id.ts';
import { rescue } from '../layers/rescue.ts';
import { PodDialer } from '../pod-dialer.ts';
import { routePlans } from '../stack.ts';
import { TcpUpstreams } from '../tcp-upstreams.ts';
import type { SocketFactory } from '../workload.ts';
import { GatewayDirection } from './direction.ts';
import type { GatewayHandle } from './direction.ts';
import { forwarded } from './forwarded.ts';
import { GatewayListener } from './listener.ts';
import { GatewayRouter } from './router.ts';
import type { GatewaySecrets } from './secrets.ts';

export interface GatewayOptions {
  /** As a workload: `ns/name-orlop`. */
  readonly id: string;
  readonly baggage: string;
  /** Of the node, which are the gateway's to those it sends to. */
  readonly addresses: readonly string[];
  readonly table: GatewayTable;
  readonly sockets: SocketFactory;
  readonly secrets: GatewaySecrets;
  readonly dataplane: DataPlane;
}

export class Gateway implements GatewayHandle {
  readonly id: string;
  readonly identity: string;
  readonly baggage: string;
  readonly addresses: readonly string[];
  gateway: GatewayTable;
  table: Table;
  readonly admission: Admission;
  readonly sockets: SocketFactory;
  readonly #dataplane: DataPlane;
  readonly #secrets: GatewaySecrets;
  readonly #tunnels: Tunnels;
  readonly #clusters: ClusterSet;
  readonly #direction: GatewayDirection;
  /** By the main thread's descriptor of the socket. */
  readonly #listeners = new Map<number, GatewayListener>();
  /** They accept no more, and still have connections. */
  readonly #closed = new Set<GatewayListener>();
  #draining = false;

  constructor({ id, baggage, addresses, table, sockets, secrets, dataplane: shared }: GatewayOptions) {
    this.id = id;
    this.identity = table.identity;
    this.baggage = baggage;
    this.addresses = addresses;
    this.gateway = table;
    this.table = table.table;
    this.admission = new Admission(this, shared);
    this.sockets = sockets;
    const own = { ...shared, buffers: new Buffers() };
    this.#tunnels = new Tunnels(this, own);
    this.#dataplane = { ...own, dialer: new PodDialer(own, this.#tunnels, secrets), draining: () => this.#draining || shared.draining() };
    this.#secrets = secrets;
    this.#clusters = new ClusterSet(this, this.#dataplane, codecsOver(this.#dataplane));
    this.#direction = new GatewayDirection(this, this.#dataplane, this.#service(), new TcpUpstreams(this.#clusters, this.#dataplane));
  }

  /** Accept on a listening socket of the node (this thread's own duplicate) what is for the gateway's port. `socket`: what the socket is called from now on. */
  async listen(socket: number, fd: number, port: number): Promise<void> {
    this.#draining = false;
    const listener = await GatewayListener.start({ fd, port, gateway: this, direction: this.#direction, secrets: this.#secrets, dataplane: this.#dataplane });
    this.#listeners.set(socket, listener);
  }

  listens(socket: number): boolean {
    return this.#listeners.has(socket);
  }

  /** Accept no more on sockets that are not among these; their connections go on. */
  retain(sockets: ReadonlySet<number>): void {
    for (const [socket, listener] of this.#listeners) {
      if (sockets.has(socket)) continue;
      this.#listeners.delete(socket);
      this.#stop(listener);
    }
  }

  retainTunnels(podAt: (address: string) => string | undefined): void {
    this.#tunnels.retain(podAt);
  }

  /** A new configuration: exchanges under way keep the table they started with. */
  update(table: GatewayTable): void {
    this.gateway = table;
    this.table = table.table;
    this.#clusters.apply(table.table);
    this.admission.recheck();
  }

  /** Nobody sends to a gateway as to an application of the node. */
  inbound(): Service {
    throw new Error(`${this.id} is a gateway, and has no application`);
  }

  /** Connections accepted and still open. */
  get openConnections(): number {
    for (const listener of this.#closed) if (listener.openConnections === 0) this.#closed.delete(listener);
    return [...this.#listeners.values(), ...this.#closed].reduce((sum, listener) => sum + listener.openConnections, 0);
  }

  /** Its table and the live state of the clusters in use, as plain data; of certificates, only where they come from. */
  describe(): unknown {
    return { id: this.id, openConnections: this.openConnections, clusters: this.#clusters.describe(), table: describeTable(this.table) };
  }

  /** The agent ends, or the gateway is gone: accept no more, close what has been idle for so long; what is under way is finished. */
  drain(idleMs = 0): void {
    this.#draining = true;
    this.retain(new Set());
    this.#direction.drain(idleMs);
  }

  /** No connection is left, or none is waited for any more. */
  close(): void {
    this.drain();
    this.#clusters.close();
    this.#tunnels.close();
  }

  #stop(listener: GatewayListener): void {
    listener.close();
    if (listener.openConnections > 0) this.#closed.add(listener);
  }

  #service(): Service {
    const { authenticator, clock, log, random, telemetry } = this.#dataplane;
    const authorizer = new ExternalAuthorizer({ workload: this, clusters: this.#clusters, clock }, log);
    return stack(
      [
        // Outermost: what it counts is what the client sent and got.
        observe(telemetry, clock),
        // Every failure below ends here.
        rescue(log),
        // Before anything looks at the request: what a client says of itself and of the mesh is not to be believed.
        forwarded(() => this.table.security.trustedProxies),
        requestId(random),
        // One spelling of the path for every policy below, for the routes and for the application.
        normalizedPath,
        // Policies whose target is the gateway, in the order of a pod's inbound stack.
        extAuthz(providerFor, authorizer),
        requestAuthentication(authenticator),
        authorize(this.admission),
      ],
      new GatewayRouter(routePlans(this.#clusters, this.#dataplane)),
    );
  }
}
