/** Takes the tunnels of one pod: port 15008 in its namespace. */
import type { Server } from 'node:net';
import { CERTIFICATE_WAIT_MS, TLS_HANDSHAKES_PER_CLIENT_MAX, WORKLOAD_CONNECTIONS_MAX } from '../../core/limits.ts';
import { HBONE_PORT } from '../../core/ports.ts';
import type { Connection } from '../connection.ts';
import type { DataPlane } from '../dataplane.ts';
import { Http2Server } from '../http2/server.ts';
import type { ConnectionHandler } from '../newcomer.ts';
import { Exchange } from '../record.ts';
import { Seldom } from '../seldom.ts';
import { SocketTransport, acceptHandles, serverOn } from '../socket-transport.ts';
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
  #closed = false;
  /** Unfinished ones, by client address. */
  readonly #handshakes = new Map<string, number>();
  readonly #refused: Seldom;

  private constructor(options: TunnelListenerOptions, server: Server) {
    this.#options = options;
    this.#server = server;
    this.#refused = new Seldom(options.dataplane.clock);
  }

  /** Start accepting. Rejects when the socket cannot be listened on. */
  static async start(options: TunnelListenerOptions): Promise<TunnelListener> {
    const server = await serverOn(options.fd, (error) => {
      options.dataplane.log.error({ workload: options.workload.id, error: error.message }, 'the listener for tunnels failed');
    });
    const listener = new TunnelListener(options, server);
    acceptHandles(server, (handle) => listener.#accept(handle));
    return listener;
  }

  get openConnections(): number {
    return this.#open;
  }

  /** Accept no more, and ask the clients of the present tunnels to go elsewhere; their streams are finished. */
  close(): void {
    this.#closed = true;
    if (this.#server.listening) this.#server.close();
    for (const tunnel of this.#tunnels) tunnel.drain();
  }

  #accept(handle: object): void {
    const client: { address?: string; port?: number } = {};
    (handle as BareHandle).getpeername(client);
    if (this.#open >= WORKLOAD_CONNECTIONS_MAX) {
      (handle as BareHandle).close();
      this.#say(client.address ?? '', `the workload has its maximum of ${WORKLOAD_CONNECTIONS_MAX} connections open`);
      return;
    }
    const { address = '', port = 0 } = client;
    const unfinished = this.#handshakes.get(address) ?? 0;
    if (unfinished >= TLS_HANDSHAKES_PER_CLIENT_MAX) {
      (handle as BareHandle).close();
      this.#say(address, `it has ${unfinished} handshakes that it does not finish`);
      return;
    }
    this.#handshakes.set(address, unfinished + 1);
    this.#open += 1;
    this.#whenCertified(handle, address, () => this.#handshake(handle, address, port));
  }

  /** Begin when the pod has its certificate: it may just have come, and the first to call must not be turned away. */
  #whenCertified(handle: object, address: string, begin: () => void): void {
    const { identities, clock } = this.#options.dataplane;
    const { identity } = this.#options.workload;
    let begun = false;
    const stop = identities.whenThere(identity, () => {
      begun = true;
      begin();
    });
    if (begun) return;
    clock.coarse(CERTIFICATE_WAIT_MS, () => {
      if (begun) return;
      stop();
      (handle as BareHandle).close();
      this.#refuse(address, 'this pod has no certificate yet');
    });
  }

  #handshake(handle: object, address: string, port: number): void {
    const { dataplane, workload } = this.#options;
    const credentials = dataplane.identities.get(workload.identity);
    if (credentials === undefined) return;
    acceptTls(handle, credentials, dataplane.clock, (outcome) => this.#secured(outcome, address, port));
  }

  #refuse(address: string, reason: string): void {
    this.#open -= 1;
    this.#handshakeOver(address);
    this.#say(address, reason);
  }

  #handshakeOver(address: string): void {
    const left = (this.#handshakes.get(address) ?? 0) - 1;
    if (left > 0) this.#handshakes.set(address, left);
    else this.#handshakes.delete(address);
  }

  #secured(outcome: AcceptOutcome, remoteAddress: string, remotePort: number): void {
    if ('refused' in outcome) {
      this.#refuse(remoteAddress, outcome.refused);
      return;
    }
    this.#handshakeOver(remoteAddress);
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
    // Its handshake was under way when the others were asked to go.
    if (this.#closed) tunnel.drain();
  }

  #say(client: string, reason: string): void {
    const { dataplane, workload } = this.#options;
    this.#refused.happened((unsaid) => {
      dataplane.log.warn({ workload: workload.id, client, reason, ...(unsaid > 0 ? { more: unsaid } : {}) }, 'a tunnel was refused');
    });
  }
}

const NOBODY = { bytes: () => undefined, ended: () => undefined, drained: () => undefined, closed: () => undefined };
