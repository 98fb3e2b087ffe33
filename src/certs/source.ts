/** Where those who hand out certificates get them from; the issuer is one. */
import type { WorkloadCertificate } from './certificate.ts';

export interface CertificateSource {
  /** The certificate to use now for a SPIFFE id; undefined while there is none, and when it has expired. */
  get(identity: string): WorkloadCertificate | undefined;
  /** Call `fn` with each certificate, of any identity, that is new from now on or whose roots have changed. Returns how to stop. */
  follow(fn: (certificate: WorkloadCertificate) => void): () => void;
}
