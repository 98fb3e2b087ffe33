/** A gateway's side of a handshake with a client from anywhere, whose ClientHello has been read already. */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { PeerCertificate } from 'node:tls';
import type { Clock, Timer } from '../../core/clock.ts';
import { TLS_HANDSHAKE_TIMEOUT_MS } from '../../core/limits.ts';
import { parseSpiffeId } from '../../core/spiffe.ts';
import type { ClientValidation } from '../../mesh/gateway/table.ts';
import { STRANGER } from '../connection.ts';
import type { Peer } from '../connection.ts';
import { uriNames } from '../tls/peer-identity.ts';
import type { ServerCredentials } from './secrets.ts';

export interface TerminateOptions {
  /** The connection; nothing else reads it. */
  readonly raw: Socket;
  /** Read from it already. */
  readonly hello: Buffer;
  readonly credentials: ServerCredentials;
  readonly clients: ClientValidation | undefined;
  /** HTTP is spoken in it; else bytes, and no protocol is offered. */
  readonly http: boolean;
  readonly clock: Clock;
}

/** A connection that is secured, or the reason why it was ended. */
export type TerminateOutcome = { readonly socket: TLSSocket; readonly peer: Peer } | { readonly refused: string };

/** Parts of Node's TLS handle that are used here, present in the pinned Node. */
interface TlsHandle {
  verifyError(): Error & { code?: string } | null | undefined;
}

/** Node's name for the lack of a certificate. */
const NO_CERTIFICATE = 'UNABLE_TO_GET_ISSUER_CERT';

/** `done` is called once, never within this call. */
export function terminate(options: TerminateOptions, done: (outcome: TerminateOutcome) => void): void {
  const { raw, hello, credentials, clients, http, clock } = options;
  // Bytes that wait in a socket are handed to the TLS that is put on it; one that flows would lose them.
  raw.pause();
  raw.unshift(hello);
  const socket = new TLSSocket(raw, {
    isServer: true,
    secureContext: credentials.context,
    requestCert: clients !== undefined,
    rejectUnauthorized: clients?.mode === 'require',
    ...(http ? { ALPNProtocols: ['h2', 'http/1.1'] } : {}),
  });
  new Handshake(socket, raw, clients, done).watch(clock);
}

class Handshake {
  readonly #socket: TLSSocket;
  readonly #clients: ClientValidation | undefined;
  readonly #done: (outcome: TerminateOutcome) => void;
  #timer: Timer | undefined;
  #reason = '';
  #over = false;

  constructor(socket: TLSSocket, raw: Socket, clients: ClientValidation | undefined, done: (outcome: TerminateOutcome) => void) {
    this.#socket = socket;
    this.#clients = clients;
    this.#done = done;
    socket.on('secure', () => this.#secured());
    socket.on('_tlsError', (error: Error) => {
      this.#reason = codeOf(error);
    });
    socket.on('error', (error) => this.#refuse(this.#reason || codeOf(error)));
    socket.on('end', () => this.#refuse(this.#reason || 'it closed the connection during the handshake'));
    socket.on('close', () => this.#refuse(this.#reason || 'it closed the connection during the handshake'));
    raw.on('error', (error) => this.#refuse(this.#reason || codeOf(error)));
  }

  watch(clock: Clock): void {
    this.#timer = clock.coarse(TLS_HANDSHAKE_TIMEOUT_MS, () => this.#refuse(`no handshake within ${TLS_HANDSHAKE_TIMEOUT_MS} ms`));
  }

  #secured(): void {
    const peer = this.#clients === undefined ? STRANGER : peerOf(this.#socket, this.#clients);
    if (typeof peer === 'string') this.#refuse(peer);
    else if (this.#settle()) this.#done({ socket: this.#socket, peer });
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

/** Who the client has proved to be; a text: why it is not let in. */
function peerOf(socket: TLSSocket, { mode, subjectAltNames }: ClientValidation): Peer | string {
  const error = (socket as unknown as { _handle?: TlsHandle })._handle?.verifyError() ?? undefined;
  if (error !== undefined) {
    const { code = error.message } = error;
    const none = code === NO_CERTIFICATE && Object.keys(socket.getPeerCertificate()).length === 0;
    if (mode === 'insecure' || (mode === 'optional' && none)) return STRANGER;
    return none ? 'it sent no certificate' : `its certificate was not accepted: ${code}`;
  }
  const certificate = socket.getPeerCertificate();
  if (subjectAltNames.length > 0 && !hasName(certificate, subjectAltNames)) return `its certificate has none of the names ${subjectAltNames.join(', ')}`;
  const identity = uriNames(certificate.subjectaltname).find((name) => parseSpiffeId(name) !== undefined) ?? '';
  return { identity, security: 'mutual_tls' };
}

function hasName({ subjectaltname = '' }: PeerCertificate, names: readonly string[]): boolean {
  return subjectaltname.split(', ').some((entry) => names.includes(entry.slice(entry.indexOf(':') + 1)));
}

function codeOf(error: Error & { code?: string }): string {
  return error.code ?? error.message;
}
