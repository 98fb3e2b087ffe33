/**
 * A tunnelled connection to a port that is declared TCP: the application is connected to before the client is told 200, so that
 * a client agent whose connect failed may try another pod (as ztunnel does it).
 */
import type { MeshError } from '../../core/errors.ts';
import { OPAQUE_EARLY_BYTES_MAX } from '../../core/limits.ts';
import type { Connection } from '../connection.ts';
import type { RequestSink, ResponseSink } from '../exchange.ts';
import { ResponseHead } from '../head.ts';
import type { ConnectionHandler } from '../newcomer.ts';
import type { OpaqueObserver, OpaqueSession } from '../opaque.ts';
import { acceptedHead } from './accepted-head.ts';
import type { StreamTransport } from './stream-transport.ts';

/** A policy refused the client; the application could not be reached. */
const UNAUTHORIZED = 401;
const UNAVAILABLE = 503;

export class TcpStream implements RequestSink, OpaqueObserver {
  readonly #transport: StreamTransport;
  readonly #connection: Connection;
  readonly #response: ResponseSink;
  readonly #session: OpaqueSession;
  readonly #leave: () => void;
  #early: Buffer | undefined;
  #ended = false;
  #joined = false;
  #over = false;

  constructor(transport: StreamTransport, connection: Connection, response: ResponseSink, handler: ConnectionHandler) {
    this.#transport = transport;
    this.#connection = connection;
    this.#response = response;
    this.#leave = handler.accepted(connection, transport);
    this.#session = handler.opaque(connection, this);
  }

  /** The application is there. */
  connected(): void {
    if (this.#over) return;
    this.#joined = true;
    this.#response.head(acceptedHead(this.#connection.workload));
    this.#session.join(this.#transport, this.#early, this.#ended, this.#leave);
    this.#early = undefined;
    this.#response.resumeRequest();
  }

  upstreamSpoke(): void {
    // It is joined as soon as it is there.
  }

  failed(error: MeshError): void {
    if (this.#over || this.#joined) return;
    this.#over = true;
    this.#leave();
    const head = new ResponseHead(error.code === 'rbac_denied' ? UNAUTHORIZED : UNAVAILABLE, '');
    head.contentLength = 0;
    this.#response.head(head);
    this.#response.end(undefined);
  }

  data(chunk: Buffer): boolean {
    if (this.#joined) return this.#transport.received(chunk);
    // Clients wait for the answer; one that does not is held after its first bytes.
    this.#early = this.#early === undefined ? Buffer.from(chunk) : Buffer.concat([this.#early, chunk]);
    return this.#early.length < OPAQUE_EARLY_BYTES_MAX;
  }

  end(): void {
    this.#ended = true;
    if (this.#joined) this.#transport.receivedEnd();
  }

  abort(error: MeshError): void {
    if (this.#joined) this.#transport.lost(error);
    else if (!this.#over) {
      this.#over = true;
      this.#session.abandon();
      this.#leave();
    }
  }

  resumeResponse(): void {
    this.#transport.mayGoOn();
  }
}
