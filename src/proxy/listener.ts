/**
 * Accepts the captured connections of one pod and decides, once per connection, what becomes of each:
 *
 *   accept ─→ original destination ─→ protocol of the port
 *                                       declared tcp ───────────────────────────────→ opaque
 *                                       declared http, tls ──→ first bytes ──────────→ http | opaque by server name
 *                                       undeclared ─→ first bytes, or the server's ─→ http | opaque (and remembered)
 */
import type { Server } from 'node:net';
import { WORKLOAD_CONNECTIONS_MAX } from '../core/limits.ts';
import { INBOUND_PORT, OUTBOUND_PORT } from '../core/ports.ts';
import { STRANGER } from './connection.ts';
import type { Connection, Peer } from './connection.ts';
import type { DataPlane } from './dataplane.ts';
import { receive } from './newcomer.ts';
import type { ConnectionHandler } from './newcomer.ts';
import { SocketTransport, acceptHandles, serverOn } from './socket-transport.ts';
import type { TransportOwner } from './transport.ts';
import type { WorkloadHandle } from './workload.ts';

export interface Address {
  readonly address: string;
  readonly port: number;
}

/** Where an accepted connection meant to go; undefined when the kernel does not know (it was not captured). */
export type OriginalDestination = (accepted: AcceptedSocket) => Address | undefined;

export interface AcceptedSocket {
  readonly fd: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
}

export interface ListenerOptions {
  /** A listening socket in the pod's namespace; this thread's own duplicate, closed with the listener. */
  readonly fd: number;
  readonly direction: 'outbound' | 'inbound';
  readonly workload: WorkloadHandle;
  readonly originalDestination: OriginalDestination;
  readonly handler: ConnectionHandler;
  readonly dataplane: DataPlane;
}

/** Ports that capture leads to. A connection that meant to go to one of them on the pod itself would go round in a circle. */
const CAPTURE_PORTS = new Set([OUTBOUND_PORT, INBOUND_PORT]);

export class CaptureListener {
  readonly #options: ListenerOptions;
  readonly #server: Server;
  /** Connections accepted here and still open. */
  #open = 0;
  #refusedSinceLog = 0;

  private constructor(options: ListenerOptions, server: Server) {
    this.#options = options;
    this.#server = server;
  }

  /** Start accepting. Rejects when the socket cannot be listened on. */
  static async start(options: ListenerOptions): Promise<CaptureListener> {
    const server = await serverOn(options.fd, (error) => {
      options.dataplane.log.error({ workload: options.workload.id, error: error.message }, 'a captured listener failed');
    });
    const listener = new CaptureListener(options, server);
    acceptHandles(server, (handle) => {
      listener.#accept(handle);
    });
    return listener;
  }

  get openConnections(): number {
    return this.#open;
  }

  /** Accept no more. Connections already accepted go on; further ones wait in the backlog of the main thread's socket. */
  close(): void {
    if (this.#server.listening) this.#server.close();
  }

  #accept(handle: object): void {
    const transport = SocketTransport.accepted(handle, REFUSING);
    const connection = this.#connectionOf(transport);
    if (connection === undefined) {
      transport.reset();
      return;
    }
    if (this.#open >= WORKLOAD_CONNECTIONS_MAX) {
      this.#refuse(transport);
      return;
    }
    this.#open += 1;
    receive(transport, connection, this.#options.handler, this.#options.dataplane, () => {
      this.#open -= 1;
    });
  }

  #connectionOf(transport: SocketTransport): Connection | undefined {
    const { direction, workload, dataplane, originalDestination } = this.#options;
    const { remotePort } = transport;
    const remoteAddress = direction === 'outbound' ? ownAddress(workload, transport.remoteAddress) : transport.remoteAddress;
    const meant = originalDestination(transport);
    if (meant === undefined || (CAPTURE_PORTS.has(meant.port) && meant.address === transport.localAddress)) {
      dataplane.log.warn({ workload: workload.id, direction, client: `${remoteAddress}:${remotePort}` }, 'connection without an original destination refused');
      return undefined;
    }
    const peer: Peer = direction === 'outbound' ? { identity: workload.identity, security: 'local' } : STRANGER;
    return { workload, direction, peer, remoteAddress, remotePort, destinationAddress: meant.address, destinationPort: meant.port, serverName: '' };
  }

  /** One pod at its bound must not take what others need; said once a second at most. */
  #refuse(transport: SocketTransport): void {
    transport.reset();
    this.#refusedSinceLog += 1;
    if (this.#refusedSinceLog > 1) return;
    const { dataplane, workload, direction } = this.#options;
    dataplane.clock.coarse(1000, () => {
      dataplane.log.warn({ workload: workload.id, direction, refused: this.#refusedSinceLog, max: WORKLOAD_CONNECTIONS_MAX }, 'connections refused: the workload has its maximum open');
      this.#refusedSinceLog = 0;
    });
  }
}

/** A connect that was rewritten to loopback has a loopback source; the client is the pod all the same. */
function ownAddress({ addresses }: WorkloadHandle, remote: string): string {
  if (remote !== '127.0.0.1' && remote !== '::1') return remote;
  return addresses.find((address) => address.includes(':') === remote.includes(':')) ?? remote;
}

/** Owner for the moment between accept and decision; nothing can arrive in it. */
const REFUSING: TransportOwner = {
  bytes: () => undefined,
  ended: () => undefined,
  drained: () => undefined,
  closed: () => undefined,
};
