/** The server's side of any handshake: how long it may take, and how it ends, once. What the client must prove is up to the caller. */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Clock, Timer } from '../../core/clock.ts';
import { TLS_HANDSHAKE_TIMEOUT_MS } from '../../core/limits.ts';

export type CodedError = Error & { readonly code?: string };

export interface ServerHandshakeOptions<Accepted extends object> {
  readonly socket: TLSSocket;
  /** What the socket is put on. */
  readonly raw: Socket;
  readonly clock: Clock;
  /** What has come of the handshake; a text: why the client is refused all the same. */
  readonly judge: () => Accepted | string;
  /** A fault of the handshake, in words. */
  readonly reasonOf: (error: CodedError) => string;
}

/** Parts of Node's TLS handle that are used here, present in the pinned Node. */
interface TlsHandle {
  verifyError(): CodedError | null | undefined;
}

/** What is wrong with the certificate that the client has shown, or has not. */
export function verifyErrorOf(socket: TLSSocket): CodedError | undefined {
  return (socket as unknown as { _handle?: TlsHandle })._handle?.verifyError() ?? undefined;
}

/** Node's or OpenSSL's name of a fault. */
export function codeOf(error: CodedError): string {
  return error.code ?? error.message;
}

/** `done` is called once, never within this call; a client that is refused has been disconnected by then. */
export function handshake<Accepted extends object>(options: ServerHandshakeOptions<Accepted>, done: (outcome: Accepted | { readonly refused: string }) => void): void {
  new ServerHandshake(options, done).watch();
}

class ServerHandshake<Accepted extends object> {
  readonly #options: ServerHandshakeOptions<Accepted>;
  readonly #done: (outcome: Accepted | { readonly refused: string }) => void;
  #timer: Timer | undefined;
  #reason = '';
  #over = false;

  constructor(options: ServerHandshakeOptions<Accepted>, done: (outcome: Accepted | { readonly refused: string }) => void) {
    this.#options = options;
    this.#done = done;
  }

  watch(): void {
    const { socket, raw, clock, reasonOf } = this.#options;
    socket.on('secure', () => this.#secured());
    socket.on('_tlsError', (error: CodedError) => {
      this.#reason = reasonOf(error);
    });
    socket.on('error', (error) => this.#refuse(this.#reason || reasonOf(error)));
    // Half-open connections are kept, so a client that leaves has to be let go here.
    socket.on('end', () => this.#refuse(this.#reason || 'it closed the connection during the handshake'));
    socket.on('close', () => this.#refuse(this.#reason || 'it closed the connection during the handshake'));
    raw.on('error', (error) => this.#refuse(this.#reason || reasonOf(error)));
    this.#timer = clock.coarse(TLS_HANDSHAKE_TIMEOUT_MS, () => this.#refuse(`no handshake within ${TLS_HANDSHAKE_TIMEOUT_MS} ms`));
  }

  #secured(): void {
    const judged = this.#options.judge();
    if (typeof judged === 'string') this.#refuse(judged);
    else if (this.#settle()) this.#done(judged);
  }

  #refuse(reason: string): void {
    if (!this.#settle()) return;
    this.#options.socket.destroy();
    this.#done({ refused: reason });
  }

  #settle(): boolean {
    if (this.#over) return false;
    this.#over = true;
    this.#timer?.cancel();
    return true;
  }
}
