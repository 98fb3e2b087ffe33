/** The client's side of a handshake: to another workload, or to whom a DestinationRule names. */
import { connect } from 'node:tls';
import type { ConnectionOptions, PeerCertificate, TLSSocket } from 'node:tls';
import type { Duplex } from 'node:stream';
import type { Credentials } from './identities.ts';
import { uriNames } from './peer-identity.ts';

/**
 * TLS to a pod of the mesh over `socket`, which may still be connecting: our certificate, no server name, and the server's
 * certificate must name one of `identities`. The socket's 'error' says why not.
 */
export function connectToWorkload(socket: Duplex, credentials: Credentials, identities: readonly string[]): TLSSocket {
  const options: ConnectionOptions = {
    socket,
    secureContext: credentials.context,
    ALPNProtocols: ['h2'],
    rejectUnauthorized: true,
    checkServerIdentity: (_host: string, certificate: PeerCertificate) => checkIdentity(certificate.subjectaltname, identities),
  };
  return connect(options);
}

/** One of the URI names must be one of those expected; DNS names mean nothing between workloads. */
export function checkIdentity(subjectAltName: string | undefined, identities: readonly string[]): Error | undefined {
  const names = uriNames(subjectAltName);
  if (names.some((name) => identities.includes(name))) return undefined;
  return new Error(`the server is ${names.join(', ') || 'nobody that a SPIFFE id names'}, not ${identities.join(' or ')}`);
}
