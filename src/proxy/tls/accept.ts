/** The server's side of a handshake between workloads. */
import { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Timer } from '../../core/clock.ts';
import type { Clock } from '../../core/clock.ts';
import { TLS_HANDSHAKE_TIMEOUT_MS } from '../../core/limits.ts';
import { parseSpiffeId } from '../../core/spiffe.ts';
import type { Credentials } from './identities.ts';
import { clientIdentity } from './peer-identity.ts';

const NO_HTTP2 = 'it does not speak HTTP/2 (ALPN h2)';

/** A client that has proved who it is, or the reason why it was refused; a refused one has been disconnected. */
export type AcceptOutcome = { readonly socket: TLSSocket; readonly identity: string } | { readonly refused: string };

/** Parts of Node's TLS handle that are used here, present in the pinned Node. */
interface TlsHandle {
  verifyError(): Error & { code?: string } | null | undefined;
}

/**
 * Handshake on a connection that was just accepted. `done` is called once. A client without certificate, or with one that does
 * not chain to our roots, is refused in the handshake; one of another trust domain after it.
 */
export function acceptTls(handle: object, credentials: Credentials, clock: Clock, done: (outcome: AcceptOutcome) => void): void {
  const raw = new Socket({ handle, allowHalfOpen: true } as never);
  raw.setNoDelay(true);
  const socket = new TLSSocket(raw, { isServer: true, secureContext: credentials.context, requestCert: true, rejectUnauthorized: true, ALPNProtocols: ['h2'] });
  const handshake = new Handshake(socket, raw, credentials, done);
  handshake.watch(clock);
}

class Handshake {
  readonly #socket: TLSSocket;
  readonly #credentials: Credentials;
  readonly #done: (outcome: AcceptOutcome) => void;
  #timer: Timer | undefined;
  #reason = '';
  #over = false;

  constructor(socket: TLSSocket, raw: Socket, credentials: Credentials, done: (outcome: AcceptOutcome) => void) {
    this.#socket = socket;
    this.#credentials = credentials;
    this.#done = done;
    socket.on('secure', () => this.#secured());
    socket.on('_tlsError', (error: Error) => {
      this.#reason = reasonOf(error);
    });
    socket.on('error', (error) => this.#refuse(this.#reason || reasonOf(error)));
    // Half-open connections are kept, so a client that leaves has to be let go here.
    socket.on('end', () => this.#refuse(this.#reason || 'it closed the connection during the handshake'));
    socket.on('close', () => this.#refuse(this.#reason || 'it closed the connection during the handshake'));
    raw.on('error', (error) => this.#refuse(this.#reason || reasonOf(error)));
  }

  watch(clock: Clock): void {
    this.#timer = clock.coarse(TLS_HANDSHAKE_TIMEOUT_MS, () => this.#refuse(`no handshake within ${TLS_HANDSHAKE_TIMEOUT_MS} ms`));
  }

  #secured(): void {
    const socket = this.#socket;
    const error = (socket as unknown as { _handle?: TlsHandle })._handle?.verifyError();
    if (error !== null && error !== undefined) {
      this.#refuse(`its certificate was not accepted: ${error.code ?? error.message}`);
      return;
    }
    if (socket.alpnProtocol !== 'h2') {
      this.#refuse(NO_HTTP2);
      return;
    }
    const peer = clientIdentity(socket, parseSpiffeId(this.#credentials.certificate.identity)?.trustDomain ?? '');
    if (typeof peer === 'string') this.#refuse(peer);
    else if (this.#settle()) this.#done({ socket, identity: peer.identity });
  }

  #refuse(reason: string): void {
    if (!this.#settle()) return;
    this.#socket.destroy();
    this.#done({ refused: reason });
  }

  #settle(): boolean {
    if (this.#over) return false;
    this.#over = true;
    this.#timer?.cancel();
    return true;
  }
}

/** OpenSSL's words for the usual faults, in ours. */
function reasonOf(error: Error & { code?: string }): string {
  switch (error.code) {
    case 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE':
      return 'it sent no certificate';
    case 'ERR_SSL_UNSUPPORTED_PROTOCOL':
    case 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION':
      return 'it does not speak TLS 1.3';
    case 'ERR_SSL_HTTP_REQUEST':
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
      return 'it does not speak TLS';
    case 'ERR_SSL_NO_SUITABLE_KEY_SHARE':
    case 'ERR_SSL_NO_SHARED_CIPHER':
      return 'it shares no cipher or key exchange with us';
    case 'ERR_SSL_NO_APPLICATION_PROTOCOL':
      return NO_HTTP2;
    default:
      return error.code ?? error.message;
  }
}
