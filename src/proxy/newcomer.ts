/** A connection that was just accepted, until it is known what it speaks; then it belongs to a codec or an opaque session. */
import type { Timer } from '../core/clock.ts';
import type { MeshError } from '../core/errors.ts';
import { DETECT_BYTES_MAX, DETECT_SILENCE_MS, HEAD_TIMEOUT_MS } from '../core/limits.ts';
import type { Protocol } from '../mesh/table.ts';
import type { Connection } from './connection.ts';
import type { DataPlane } from './dataplane.ts';
import { detect, detectServer, serverName } from './detect.ts';
import type { Detected } from './detect.ts';
import type { OpaqueObserver, OpaqueSession } from './opaque.ts';
import { TcpProbe } from './tcp-probe.ts';
import type { Transport, TransportOwner } from './transport.ts';

/** What the data plane does with the connections of one direction of one pod. */
export interface ConnectionHandler {
  /** Why it is not taken at all; it is then reset before a byte of it is read. */
  fault(connection: Connection): MeshError | undefined;
  /** It would be refused, but it may be one of the kubelet's that only connect, and those should end well. */
  isTcpProbe(connection: Connection): boolean;
  /** Take note of one that is taken, for as long as it lasts; what is returned ends that. */
  accepted(connection: Connection, transport: Transport): () => void;
  /** May its upstream be dialled before it is known whether it speaks HTTP? */
  mayBeOpaque(connection: Connection): boolean;
  /** Protocol of the port the connection meant to go to; `sniff` when undeclared. */
  protocol(connection: Connection): Protocol;
  /** Remember that the server of this port speaks first, so that the next connection need not find out. */
  rememberOpaque(connection: Connection): void;
  /** Take over a connection that speaks HTTP/1 or HTTP/2. The returned owner is then given the bytes already read. */
  http(version: 'http1' | 'http2', transport: Transport, connection: Connection, onClosed: () => void): TransportOwner;
  /** Begin an opaque session: dial the upstream that `connection` is for (its `serverName` is set when it is known). */
  opaque(connection: Connection, observer: OpaqueObserver): OpaqueSession;
}

/** Take a connection in; `onClosed` is called once, whatever it turns out to speak. */
export function receive(transport: Transport, connection: Connection, handler: ConnectionHandler, dataplane: DataPlane, onClosed: () => void): void {
  if (handler.isTcpProbe(connection)) {
    transport.owner = new TcpProbe(transport, dataplane.clock, onClosed);
    return;
  }
  if (handler.fault(connection) !== undefined) {
    transport.reset();
    onClosed();
    return;
  }
  const leave = handler.accepted(connection, transport);
  const newcomer = new Newcomer(transport, connection, handler, () => {
    leave();
    onClosed();
  });
  transport.owner = newcomer;
  newcomer.begin(dataplane);
}

class Newcomer implements TransportOwner, OpaqueObserver {
  readonly #transport: Transport;
  readonly #connection: Connection;
  readonly #handler: ConnectionHandler;
  readonly #onClosed: () => void;
  readonly #protocol: Protocol;
  #gathered: Buffer | undefined;
  #ended = false;
  #decided = false;
  #session: OpaqueSession | undefined;
  #silence: Timer | undefined;
  #deadline: Timer | undefined;

  constructor(transport: Transport, connection: Connection, handler: ConnectionHandler, onClosed: () => void) {
    this.#transport = transport;
    this.#connection = connection;
    this.#handler = handler;
    this.#onClosed = onClosed;
    this.#protocol = handler.protocol(connection);
  }

  begin(dataplane: DataPlane): void {
    if (this.#protocol === 'tcp') {
      this.#becomeOpaque();
      return;
    }
    // A server that speaks first is dialled while its client is silent. The short grace spares the dial for the many clients
    // that speak at once; it delays only the first connection to such a port.
    if (this.#protocol === 'sniff') {
      this.#silence = dataplane.clock.after(DETECT_SILENCE_MS, () => {
        if (!this.#decided && this.#handler.mayBeOpaque(this.#connection)) this.#dialEarly();
      });
    }
    this.#deadline = dataplane.clock.coarse(HEAD_TIMEOUT_MS, () => {
      if (!this.#decided && this.#session === undefined) this.#transport.destroy();
    });
  }

  bytes(buffer: Buffer, length: number): void {
    const fresh = buffer.subarray(0, length);
    const all = this.#gathered === undefined ? fresh : Buffer.concat([this.#gathered, fresh]);
    const verdict = all.length > DETECT_BYTES_MAX ? 'opaque' : detect(all, all.length);
    if (verdict === 'more') this.#gathered = Buffer.from(all);
    else this.#decide(verdict, all);
  }

  /** FIN before anything was decided: a client of a server-first protocol may do that, and still wants its answer. */
  ended(): void {
    this.#ended = true;
    if (this.#session !== undefined) return;
    if (this.#protocol === 'sniff' && this.#handler.mayBeOpaque(this.#connection)) this.#dialEarly();
    else this.#transport.end();
  }

  drained(): void {
    // Nothing has been written yet.
  }

  closed(): void {
    this.#settle();
    this.#session?.abandon();
    this.#onClosed();
  }

  upstreamSpoke(first: Buffer | undefined): void {
    if (this.#decided) return;
    const spoken = first === undefined ? 'nothing' : detectServer(first);
    // It has yet to be seen whether the client speaks HTTP/2 too.
    if (spoken === 'http2') return;
    // A server that grew tired of waiting for a request proves nothing: else any client could talk a port out of its policies by silence.
    if (spoken === 'opaque') this.#handler.rememberOpaque(this.#connection);
    this.#becomeOpaque();
  }

  failed(_error: MeshError): void {
    // A joined session resets its client itself; one that was dialled early has no client yet.
    if (!this.#decided && this.#transport.open) {
      this.#session = undefined;
      this.#transport.reset();
    }
  }

  #decide(verdict: Exclude<Detected, 'more'>, all: Buffer): void {
    switch (verdict) {
      case 'http1':
      case 'http2': {
        this.#becomeHttp(verdict, all);
        return;
      }
      case 'tls': {
        this.#decideTls(all);
        return;
      }
      case 'opaque': {
        // On a port declared HTTP the codec answers what it cannot read, with 400 and its reason.
        if (this.#protocol === 'sniff' || this.#protocol === 'tls') this.#becomeOpaque(all);
        else this.#becomeHttp('http1', all);
      }
    }
  }

  #decideTls(all: Buffer): void {
    const name = serverName(all, all.length);
    if (name === undefined && all.length < DETECT_BYTES_MAX) {
      this.#gathered = Buffer.from(all);
      return;
    }
    this.#connection.serverName = name ?? '';
    this.#becomeOpaque(all);
  }

  #becomeHttp(version: 'http1' | 'http2', all: Buffer): void {
    this.#settle();
    this.#session?.abandon();
    const owner = this.#handler.http(version, this.#transport, this.#connection, this.#onClosed);
    this.#transport.owner = owner;
    owner.bytes(all, all.length);
    if (this.#ended) owner.ended();
  }

  #becomeOpaque(first?: Buffer): void {
    this.#settle();
    // A policy may be about the server name, which was not known when the upstream was dialled.
    if (this.#session !== undefined && this.#connection.serverName !== '' && !this.#handler.mayBeOpaque(this.#connection)) {
      this.#session.abandon();
      this.#session = undefined;
    }
    const session = this.#session ?? this.#handler.opaque(this.#connection, this);
    this.#session = session;
    const kept = first ?? this.#gathered;
    session.join(this.#transport, kept === undefined ? undefined : Buffer.from(kept), this.#ended, this.#onClosed);
    this.#gathered = undefined;
  }

  #dialEarly(): void {
    this.#silence?.cancel();
    this.#session = this.#handler.opaque(this.#connection, this);
  }

  #settle(): void {
    this.#decided = true;
    this.#silence?.cancel();
    this.#deadline?.cancel();
  }
}
