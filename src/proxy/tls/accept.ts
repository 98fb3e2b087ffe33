/** The server's side of a handshake between workloads. */
import { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Clock } from '../../core/clock.ts';
import { parseSpiffeId } from '../../core/spiffe.ts';
import type { Credentials } from './identities.ts';
import { clientIdentity } from './peer-identity.ts';
import { codeOf, handshake, verifyErrorOf } from './server-handshake.ts';
import type { CodedError } from './server-handshake.ts';

const NO_HTTP2 = 'it does not speak HTTP/2 (ALPN h2)';

/** A client that has proved who it is, or the reason why it was refused; a refused one has been disconnected. */
export type AcceptOutcome = { readonly socket: TLSSocket; readonly identity: string } | { readonly refused: string };

/**
 * Handshake on a connection that was just accepted. `done` is called once. A client without certificate, or with one that does
 * not chain to our roots, is refused in the handshake; one of another trust domain after it.
 */
export function acceptTls(handle: object, credentials: Credentials, clock: Clock, done: (outcome: AcceptOutcome) => void): void {
  const raw = new Socket({ handle, allowHalfOpen: true } as never);
  raw.setNoDelay(true);
  const socket = new TLSSocket(raw, { isServer: true, secureContext: credentials.context, requestCert: true, rejectUnauthorized: true, ALPNProtocols: ['h2'] });
  handshake({ socket, raw, clock, judge: () => judged(socket, credentials), reasonOf }, done);
}

function judged(socket: TLSSocket, { certificate }: Credentials): { readonly socket: TLSSocket; readonly identity: string } | string {
  const error = verifyErrorOf(socket);
  if (error !== undefined) return `its certificate was not accepted: ${codeOf(error)}`;
  if (socket.alpnProtocol !== 'h2') return NO_HTTP2;
  const peer = clientIdentity(socket, parseSpiffeId(certificate.identity)?.trustDomain ?? '');
  return typeof peer === 'string' ? peer : { socket, identity: peer.identity };
}

/** OpenSSL's words for the usual faults, in ours. */
function reasonOf(error: CodedError): string {
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
      return codeOf(error);
  }
}
