/** A gateway's side of a handshake with a client from anywhere, whose ClientHello has been read already. */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { PeerCertificate } from 'node:tls';
import type { Clock } from '../../core/clock.ts';
import { parseSpiffeId } from '../../core/spiffe.ts';
import type { ClientValidation } from '../../mesh/gateway/table.ts';
import { STRANGER } from '../connection.ts';
import type { Peer } from '../connection.ts';
import { uriNames } from '../tls/peer-identity.ts';
import { codeOf, handshake, verifyErrorOf } from '../tls/server-handshake.ts';
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
  const judge = (): { readonly socket: TLSSocket; readonly peer: Peer } | string => {
    const peer = clients === undefined ? STRANGER : peerOf(socket, clients);
    return typeof peer === 'string' ? peer : { socket, peer };
  };
  handshake({ socket, raw, clock, judge, reasonOf: codeOf }, done);
}

/** Who the client has proved to be; a text: why it is not let in. */
function peerOf(socket: TLSSocket, { mode, subjectAltNames }: ClientValidation): Peer | string {
  const error = verifyErrorOf(socket);
  if (error !== undefined) {
    const code = codeOf(error);
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
