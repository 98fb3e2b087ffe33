/** What may be told about a certificate: everything that is public, never its key. */
import { X509Certificate } from 'node:crypto';
import type { IdentityState } from './issuer.ts';
import { splitCertificates } from './pem.ts';

export interface CertificateReport {
  /** Distinguished names on one line; empty for a leaf, which is named by its URI. */
  readonly subject: string;
  readonly issuer: string;
  /** URIs among the subject's alternative names. */
  readonly uris: readonly string[];
  /** Lower-case hex. */
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly pem: string;
}

export interface IdentityReport {
  readonly identity: string;
  readonly state: IdentityState['state'];
  /** `ns/name` of the pods of this node that have it. */
  readonly pods: readonly string[];
  /** When it will be renewed, or tried again. */
  readonly nextMs: number;
  /** Why the last attempt to renew it failed; empty when it did not. */
  readonly lastError: string;
  /** The leaf first; empty while there is no certificate. */
  readonly chain: readonly CertificateReport[];
  /** What peers' certificates must chain to. */
  readonly roots: readonly CertificateReport[];
}

export function reportIdentity({ identity, state, certificate, nextMs, lastError }: IdentityState, pods: readonly string[]): IdentityReport {
  return { identity, state, pods, nextMs, lastError, chain: reportAll(certificate?.chain ?? ''), roots: reportAll(certificate?.roots ?? '') };
}

function reportAll(pem: string): CertificateReport[] {
  return splitCertificates(pem).map((block) => {
    const { subject, issuer, subjectAltName = '', serialNumber, validFrom, validTo } = new X509Certificate(block);
    return {
      subject: oneLine(subject),
      issuer: oneLine(issuer),
      uris: [...subjectAltName.matchAll(/\bURI:([^,\s]+)/g)].map(([, uri = '']) => uri),
      serial: serialNumber.toLowerCase(),
      notBeforeMs: Date.parse(validFrom),
      notAfterMs: Date.parse(validTo),
      pem: block,
    };
  });
}

/** Node writes one part of a name a line; undefined for an empty name. */
function oneLine(name: string | undefined): string {
  return (name ?? '').split('\n').join(', ');
}
