/**
 * Accepts the connections of one port of a gateway, on one listening socket of the node:
 *
 *   HTTP, TCP port ─────────────────────────────────────────────→ newcomer: HTTP/1.1, HTTP/2 or bytes
 *   TLS port ─→ ClientHello ─→ server of its name ─┬─ passthrough ─→ newcomer: bytes, the hello first
 *                                                  └─ handshake ───→ newcomer, in clear
 */
import type { Server } from 'node:net';
import { hostPort } from '../../core/address.ts';
import type { Timer } from '../../core/clock.ts';
import { DETECT_BYTES_MAX, TLS_HANDSHAKE_TIMEOUT_MS, WORKLOAD_CONNECTIONS_MAX } from '../../core/limits.ts';
import { findServer } from '../../mesh/gateway/find.ts';
import type { TlsServer } from '../../mesh/gateway/table.ts';
import { STRANGER } from '../connection.ts';
import type { Peer } from '../connection.ts';
import type { DataPlane } from '../dataplane.ts';
import { detect, serverName } from '../detect.ts';
import { receive } from '../newcomer.ts';
import { Seldom } from '../seldom.ts';
import { SocketTransport, acceptHandles, serverOn } from '../socket-transport.ts';
import type { Transport, TransportOwner } from '../transport.ts';
import type { GatewayConnection } from './connection.ts';
import type { GatewayDirection, GatewayHandle } from './direction.ts';
import type { GatewaySecrets } from './secrets.ts';
import { terminate } from './terminate.ts';

export interface GatewayListenerOptions {
  /** A listening socket; this thread's own duplicate, closed with the listener. */
  readonly fd: number;
  /** Of the gateway; the socket's own may be another. */
  readonly port: number;
  readonly gateway: GatewayHandle;
  readonly direction: GatewayDirection;
  readonly secrets: GatewaySecrets;
  readonly dataplane: DataPlane;
}

export class GatewayListener {
  readonly #options: GatewayListenerOptions;
  readonly #server: Server;
  readonly #refused: Seldom;
  /** Connections accepted here and still open. */
  #open = 0;

  private constructor(options: GatewayListenerOptions, server: Server) {
    this.#options = options;
    this.#server = server;
    this.#refused = new Seldom(options.dataplane.clock);
  }

  /** Start accepting. Rejects when the socket cannot be listened on. */
  static async start(options: GatewayListenerOptions): Promise<GatewayListener> {
    const server = await serverOn(options.fd, (error) => {
      options.dataplane.log.error({ gateway: options.gateway.id, port: options.port, error: error.message }, 'a listener of a gateway failed');
    });
    const listener = new GatewayListener(options, server);
    acceptHandles(server, (handle) => listener.#accept(handle));
    return listener;
  }

  get openConnections(): number {
    return this.#open;
  }

  /** Accept no more. Connections already accepted go on. */
  close(): void {
    if (this.#server.listening) this.#server.close();
  }

  #accept(handle: object): void {
    const { gateway, port, dataplane, direction } = this.#options;
    const greeting = new Greeting(this, dataplane);
    const transport = SocketTransport.accepted(handle, greeting);
    const kind = gateway.gateway.ports.get(port)?.kind;
    if (kind === undefined || this.#open >= WORKLOAD_CONNECTIONS_MAX) {
      transport.reset();
      this.#say(transport.remoteAddress, kind === undefined ? 'no listener of the port is valid' : `it has its maximum of ${WORKLOAD_CONNECTIONS_MAX} connections open`);
      return;
    }
    this.#open += 1;
    if (kind === 'tls') greeting.begin(transport);
    else receive(transport, this.#connection(transport, '', STRANGER, false), direction, dataplane, () => this.closed());
  }

  /** One connection that was accepted is over. */
  closed(): void {
    this.#open -= 1;
  }

  /** The client has said whom it wants; `hello` is what it has sent. */
  greeted(transport: SocketTransport, hello: Buffer, name: string): void {
    const { gateway, port, direction, dataplane } = this.#options;
    const entry = gateway.gateway.ports.get(port);
    const server = entry?.kind === 'tls' ? findServer(entry, name) : undefined;
    if (server === undefined) {
      this.turnAway(transport, name === '' ? 'it names no server, and no listener takes that' : `no listener is for the server name ${name}`);
    } else if (server.termination === undefined) {
      receive(transport, this.#connection(transport, name, STRANGER, false), direction, dataplane, () => this.closed());
      if (transport.open) transport.owner.bytes(hello, hello.length);
    } else {
      this.#terminate(transport, hello, name, server);
    }
  }

  /** End a connection before anything of it was served, and say why, at most once a second. */
  turnAway(transport: Transport, reason: string): void {
    const { remoteAddress } = transport;
    transport.reset();
    this.closed();
    this.#say(remoteAddress, reason);
  }

  #terminate(transport: SocketTransport, hello: Buffer, name: string, { termination, hosts, listener }: TlsServer): void {
    const { secrets, direction, dataplane } = this.#options;
    if (termination === undefined) return;
    const credentials = secrets.credentialsFor(termination, name);
    if (typeof credentials === 'string') {
      this.turnAway(transport, `listener ${listener} has no certificate: ${credentials}`);
      return;
    }
    const seen = this.#connection(transport, name, STRANGER, true);
    terminate({ raw: transport.release(), hello, credentials, clients: termination.clients, http: hosts !== undefined, clock: dataplane.clock }, (outcome) => {
      if ('refused' in outcome) {
        this.closed();
        this.#say(seen.remoteAddress, outcome.refused);
        return;
      }
      receive(SocketTransport.secured(outcome.socket, NOBODY), { ...seen, peer: outcome.peer }, direction, dataplane, () => this.closed());
    });
  }

  #connection({ remoteAddress, remotePort, localAddress }: Transport, name: string, peer: Peer, secure: boolean): GatewayConnection {
    const { gateway, port } = this.#options;
    const onward = { peer: { identity: gateway.identity, security: 'local' }, remoteAddress: gateway.addresses[0] ?? localAddress } as const;
    return { workload: gateway, direction: 'outbound', peer, remoteAddress: plain(remoteAddress), remotePort, destinationAddress: plain(localAddress), destinationPort: port, serverName: name, secure, onward };
  }

  #say(client: string, reason: string): void {
    const { gateway, port, dataplane } = this.#options;
    this.#refused.happened((unsaid) => {
      dataplane.log.warn({ gateway: hostPort(gateway.id, port), client: plain(client), reason, ...(unsaid > 0 ? { more: unsaid } : {}) }, 'a connection to a gateway was turned away');
    });
  }
}

/** Owns a connection until its ClientHello is there. */
class Greeting implements TransportOwner {
  readonly #listener: GatewayListener;
  readonly #dataplane: DataPlane;
  #transport: SocketTransport | undefined;
  #gathered: Buffer | undefined;
  #timer: Timer | undefined;

  constructor(listener: GatewayListener, dataplane: DataPlane) {
    this.#listener = listener;
    this.#dataplane = dataplane;
  }

  begin(transport: SocketTransport): void {
    this.#transport = transport;
    this.#timer = this.#dataplane.clock.coarse(TLS_HANDSHAKE_TIMEOUT_MS, () => this.#turnAway(`no ClientHello within ${TLS_HANDSHAKE_TIMEOUT_MS} ms`));
  }

  bytes(buffer: Buffer, length: number): void {
    const fresh = buffer.subarray(0, length);
    const all = Buffer.concat(this.#gathered === undefined ? [fresh] : [this.#gathered, fresh]);
    const protocol = detect(all, all.length);
    const name = protocol === 'tls' ? serverName(all, all.length) : undefined;
    if (protocol !== 'tls' && protocol !== 'more') this.#turnAway('it does not speak TLS');
    else if (name !== undefined) this.#greeted(all, name);
    else if (all.length > DETECT_BYTES_MAX) this.#turnAway('its ClientHello is too long');
    else this.#gathered = all;
  }

  ended(): void {
    this.#turnAway('it closed the connection before it said anything');
  }

  drained(): void {
    // Nothing has been written yet.
  }

  closed(): void {
    if (this.#settle() !== undefined) this.#listener.closed();
  }

  #greeted(hello: Buffer, name: string): void {
    const transport = this.#settle();
    if (transport !== undefined) this.#listener.greeted(transport, hello, name);
  }

  #turnAway(reason: string): void {
    const transport = this.#settle();
    if (transport !== undefined) this.#listener.turnAway(transport, reason);
  }

  /** The connection, the first time. */
  #settle(): SocketTransport | undefined {
    this.#timer?.cancel();
    const transport = this.#transport;
    this.#transport = undefined;
    return transport;
  }
}

const NOBODY: TransportOwner = { bytes: () => undefined, ended: () => undefined, drained: () => undefined, closed: () => undefined };

/** IPv4 as a socket for both families shows it. */
function plain(address: string): string {
  return address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address;
}
