/** The answer of a CA, checked by whoever asked: a certificate that does not fit would fail every handshake, without saying why. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { CHAIN_CERTIFICATES_MAX } from '../core/limits.ts';
import type { SignedCertificate } from './certificate-authority.ts';
import type { WorkloadCertificate } from './certificate.ts';
import { splitCertificates } from './pem.ts';
import { verifyChain } from './verify-chain.ts';

/** The certificate in an answer. Throws when it is not for this key and identity, or does not verify under the roots it came with. */
export function readAnswer({ chain, roots }: SignedCertificate, asked: { identity: string; key: string; nowMs: number }): WorkloadCertificate {
  const certificates = splitCertificates(chain);
  const [leaf] = certificates;
  if (leaf === undefined) throw new Error('the CA answered without a certificate');
  if (certificates.length > CHAIN_CERTIFICATES_MAX) throw new Error(`the CA answered with a chain of ${certificates.length} certificates; ${CHAIN_CERTIFICATES_MAX} is the limit`);
  const { identity, key, nowMs } = asked;
  const x509 = new X509Certificate(leaf);
  if (!x509.checkPrivateKey(createPrivateKey(key))) throw new Error('the CA signed another key than the one it was sent');
  // One URI and nothing else: X.509-SVID §2.
  if (x509.subjectAltName !== `URI:${identity}`) throw new Error(`the CA signed ${x509.subjectAltName ?? 'no identity'} instead of URI:${identity}`);
  try {
    verifyChain(chain, roots, nowMs);
  } catch (error) {
    throw new Error(`the CA answered with a chain that does not verify: ${(error as Error).message}`, { cause: error });
  }
  return {
    identity,
    chain: certificates.join(''),
    key,
    roots: splitCertificates(roots).join(''),
    serial: x509.serialNumber.toLowerCase(),
    notBeforeMs: Date.parse(x509.validFrom),
    notAfterMs: Date.parse(x509.validTo),
  };
}
