/** Verification of a certificate chain, the way a peer does it: signatures, names, CA flags and validity, up to a trusted root. */
import { X509Certificate } from 'node:crypto';
import { splitCertificates } from './pem.ts';

/**
 * The root that `chain` leads to, as it stands among `roots`. Throws with a sentence that says which certificate is at fault. `chain` holds
 * the certificate in question first, then those above it.
 */
export function verifyChain(chain: string, roots: string, nowMs: number): string {
  const certificates = splitCertificates(chain).map((pem) => new X509Certificate(pem));
  const [first, ...issuers] = certificates;
  if (first === undefined) throw new Error('there is no certificate');
  let subject = first;
  for (const issuer of issuers) {
    checkValidity(subject, nowMs);
    checkIssued(subject, issuer);
    subject = issuer;
  }
  checkValidity(subject, nowMs);
  const anchors = splitCertificates(roots).map((pem) => ({ pem, root: new X509Certificate(pem) }));
  const anchor = anchors.find(({ root }) => root.raw.equals(subject.raw) || signed(subject, root));
  if (anchor === undefined) throw new Error(`${nameOf(subject)} does not lead to a trusted root: it was issued by ${oneLine(subject.issuer)}`);
  checkValidity(anchor.root, nowMs);
  return anchor.pem;
}

function checkIssued(subject: X509Certificate, issuer: X509Certificate): void {
  if (!issuer.ca) throw new Error(`${nameOf(issuer)} is not a CA certificate`);
  if (!signed(subject, issuer)) throw new Error(`${nameOf(subject)} was not issued by ${nameOf(issuer)}, which follows it`);
}

function signed(subject: X509Certificate, issuer: X509Certificate): boolean {
  return issuer.ca && subject.checkIssued(issuer) && subject.verify(issuer.publicKey);
}

function checkValidity(certificate: X509Certificate, nowMs: number): void {
  if (Date.parse(certificate.validTo) <= nowMs) throw new Error(`${nameOf(certificate)} expired at ${certificate.validTo}`);
  if (Date.parse(certificate.validFrom) > nowMs) throw new Error(`${nameOf(certificate)} is not valid before ${certificate.validFrom}; are the clocks right?`);
}

/** For messages. */
export function nameOf({ subject, subjectAltName }: X509Certificate): string {
  const name = oneLine(subject) || subjectAltName;
  return name === undefined ? 'the certificate' : `the certificate "${name}"`;
}

function oneLine(name: string | undefined): string {
  return (name ?? '').replaceAll('\n', ', ');
}
