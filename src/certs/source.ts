/** Where those who hand out certificates get them from. */
import type { WorkloadCertificate } from './certificate.ts';

export interface CertificateSource {
  /** The certificate that is in force for a SPIFFE id; undefined while none has been issued. */
  get(identity: string): WorkloadCertificate | undefined;
  /** Call `fn` whenever the certificate, or the roots that go with it, change from now on. Returns how to stop. */
  follow(identity: string, fn: (certificate: WorkloadCertificate) => void): () => void;
}
