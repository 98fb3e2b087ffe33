/** Who a certificate says its holder is (SPIFFE X.509-SVID §5.2; the chain has been verified before anybody asks). */
import type { TLSSocket } from 'node:tls';
import { parseSpiffeId } from '../../core/spiffe.ts';

/** The URI names of a peer's certificate, in order. Node separates names by `, ` and quotes those with unusual characters. */
export function uriNames(subjectAltName: string | undefined): string[] {
  return (subjectAltName ?? '')
    .split(', ')
    .filter((name) => name.startsWith('URI:'))
    .map((name) => name.slice('URI:'.length));
}

/**
 * The identity of a client, as the server of a trust domain takes it: the first URI name that is a workload's SPIFFE id, if it
 * is of the server's own trust domain. A text otherwise: why there is none.
 */
export function clientIdentity(socket: TLSSocket, trustDomain: string): { readonly identity: string } | string {
  const names = uriNames(socket.getPeerX509Certificate()?.subjectAltName);
  for (const name of names) {
    const id = parseSpiffeId(name);
    if (id === undefined) continue;
    return id.trustDomain === trustDomain ? { identity: name } : `its identity ${name} is of another trust domain than ${trustDomain}`;
  }
  return names.length === 0 ? 'its certificate names no SPIFFE id' : `its certificate's name ${names[0] ?? ''} is not spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT`;
}
