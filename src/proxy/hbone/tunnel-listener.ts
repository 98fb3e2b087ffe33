/** Takes the tunnels of one pod: port 15008 in its namespace. */
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { CERTIFICATE_WAIT_MS, LISTEN_BACKLOG, WORKLOAD_CONNECTIONS_MAX } from '../../core/limits.ts';
import { HBONE_PORT } from '../../core/ports.ts';
import type { Connection } from '../connection.ts';
import type { DataPlane } from '../dataplane.ts';
import { Http2Server } from '../http2/server.ts';
import type { ConnectionHandler } from '../newcomer.ts';
import { Exchange } from '../record.ts';
import { Seldom } from '../seldom.ts';
import { SocketTransport, acceptHandles } from '../socket-transport.ts';
import { acceptTls } from '../tls/accept.ts';
import type { AcceptOutcome } from '../tls/accept.ts';
import type { WorkloadHandle } from '../workload.ts';
import { TUNNEL_SERVER } from './settings.ts';
import { TunnelService } from './tunnel-service.ts';

export interface TunnelListenerOptions {
  /** A listening socket in the pod's namespace; this thread's own duplicate, closed with the listener. */
  readonly fd: number;
  readonly workload: WorkloadHandle;
  /** Takes the connections that come out of the tunnels. */
  readonly handler: ConnectionHandler;
  readonly dataplane: DataPlane;
}

/** The parts of a bare handle that are used before it belongs to a socket. */
interface BareHandle {
  close(): void;
  getpeername(out: { address?: string; port?: number }): number;
}

export class TunnelListener {
  readonly #options: TunnelListenerOptions;
  readonly #server: Server;
  readonly #tunnels = new Set<Http2Server>();
  /** Accepted and not closed. */
  #open = 0;
  readonly #refused: Seldom;

  private constructor(options: TunnelListenerOptions, server: Server) {
    this.#options = options;
    this.#server = server;
    this.#refused = new Seldom(options.dataplane.clock);
  }

  /** Start accepting. Rejects when the socket cannot be listened on. */
  static async start(options: TunnelListenerOptions): Promise<TunnelListener> {
    const server = createServer();
    const listener = new TunnelListener(options, server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ fd: options.fd, backlog: LISTEN_BACKLOG }, resolve);
    });
    server.on('error', (error) => {
      options.dataplane.log.error({ workload: options.workload.id, error: error.message }, 'the listener for tunnels failed');
    });
    acceptHandles(server, (handle) => listener.#accept(handle));
    return listener;
  }

  get openConnections(): number {
    return this.#open;
  }

  /** Accept no more, and ask the clients of the present tunnels to go elsewhere; their streams are finished. */
  close(): void {
    if (this.#server.listening) this.#server.close();
    for (const tunnel of this.#tunnels) tunnel.drain();
  }

  #accept(handle: object): void {
    const { dataplane, workload } = this.#options;
    const client: { address?: string; port?: number } = {};
    (handle as BareHandle).getpeername(client);
    if (this.#open >= WORKLOAD_CONNECTIONS_MAX) {
      (handle as BareHandle).close();
      this.#say(client.address ?? '', `the workload has its maximum of ${WORKLOAD_CONNECTIONS_MAX} connections open`);
      return;
    }
    this.#open += 1;
    const { identities } = dataplane;
    const stop = identities.whenThere(workload.identity, () => this.#handshake(handle, client));
    if (identities.get(workload.identity) !== undefined) return;
    dataplane.clock.coarse(CERTIFICATE_WAIT_MS, () => {
      if (identities.get(workload.identity) !== undefined) return;
      stop();
      this.#open -= 1;
      (handle as BareHandle).close();
      this.#say(client.address ?? '', 'this pod has no certificate yet');
    });
  }

  #handshake(handle: object, { address = '', port = 0 }: { address?: string; port?: number }): void {
    const { dataplane, workload } = this.#options;
    const credentials = dataplane.identities.get(workload.identity);
    if (credentials === undefined) return;
    acceptTls(handle, credentials, dataplane.clock, (outcome) => this.#secured(outcome, address, port));
  }

  #secured(outcome: AcceptOutcome, remoteAddress: string, remotePort: number): void {
    if ('refused' in outcome) {
      this.#open -= 1;
      this.#say(remoteAddress, outcome.refused);
      return;
    }
    const { dataplane, workload, handler } = this.#options;
    const { socket, identity } = outcome;
    const peer = { identity, security: 'mutual_tls' } as const;
    const localAddress = socket.localAddress ?? '';
    const service = new TunnelService({ workload, peer, remoteAddress, remotePort, localAddress }, handler, dataplane);
    const connection: Connection = { workload, direction: 'inbound', peer, remoteAddress, remotePort, destinationAddress: localAddress, destinationPort: HBONE_PORT, serverName: '' };
    const transport = SocketTransport.secured(socket, NOBODY);
    const tunnel: Http2Server = new Http2Server({
      transport,
      connection,
      service,
      dataplane,
      settings: TUNNEL_SERVER,
      begin: () => new Exchange('destination', connection, undefined, dataplane.clock.nowMs()),
      onClosed: () => {
        this.#open -= 1;
        this.#tunnels.delete(tunnel);
      },
    });
    transport.owner = tunnel;
    this.#tunnels.add(tunnel);
  }

  #say(client: string, reason: string): void {
    const { dataplane, workload } = this.#options;
    this.#refused.happened((unsaid) => {
      dataplane.log.warn({ workload: workload.id, client, reason, ...(unsaid > 0 ? { more: unsaid } : {}) }, 'a tunnel was refused');
    });
  }
}

const NOBODY = { bytes: () => undefined, ended: () => undefined, drained: () => undefined, closed: () => undefined };
