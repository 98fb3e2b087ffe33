/**
 * A CA given as PEM files, in the form that cert-manager writes: tls.crt (the CA certificate, then those above it), tls.key, ca.crt (the
 * roots). What cannot work is refused here, with the file and what to do, rather than by the peers of the certificates.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { CHAIN_CERTIFICATES_MAX, GIVEN_FILE_BYTES_MAX, ROOTS_MAX } from '../core/limits.ts';
import type { CaSigner, GivenCa } from './ca-state.ts';
import { splitCertificates } from './pem.ts';
import { signingAlgorithm } from './signer.ts';
import { nameOf, verifyChain } from './verify-chain.ts';
import { BasicConstraintsExtension, KeyUsageFlags, KeyUsagesExtension, X509Certificate as Parsed } from './x509.ts';

export interface GivenFiles {
  /** The certificate that signs, then the intermediates above it. */
  readonly certificate: string;
  /** Its private key, not encrypted. */
  readonly key: string;
  /** The roots to trust; undefined when the last certificate of the chain is the root. */
  readonly roots: string | undefined;
}

/** Read and check the files. Throws with file, fault and remedy. */
export function readGivenCa(files: GivenFiles, nowMs: number): GivenCa {
  const chain = readCertificates(files.certificate);
  const root = isSelfSigned(chain.at(-1) as string) ? chain.at(-1) : undefined;
  const roots = files.roots === undefined ? [root ?? noRoot(files.certificate)] : readRoots(files.roots);
  const above = root === undefined ? chain : chain.slice(0, -1);
  const certificate = chain[0] as string;
  const key = readKey(files.key);
  if (!new X509Certificate(certificate).checkPrivateKey(key)) throw new Error(`${files.key}: this key is not that of the first certificate in ${files.certificate}; give the two that belong together`);
  for (const pem of above) checkCa(pem, files.certificate);
  const anchor = findRoot(chain.join(''), roots, { files, nowMs });
  [...above, anchor].forEach((pem, index) => checkPathLength(pem, index, files));
  const { validFrom, validTo } = new X509Certificate(certificate);
  const signer: CaSigner = {
    certificate,
    key: key.export({ format: 'pem', type: 'pkcs8' }),
    chain: above.join(''),
    root: anchor,
    notBeforeMs: Date.parse(validFrom),
    notAfterMs: Date.parse(validTo),
  };
  return { signer, roots: roots.map(withValidity) };
}

function readText(path: string): string {
  try {
    const text = readFileSync(path, 'utf8');
    if (text.length <= GIVEN_FILE_BYTES_MAX) return text;
  } catch (error) {
    throw new Error(`${path}: cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})`, { cause: error });
  }
  throw new Error(`${path}: has more than ${GIVEN_FILE_BYTES_MAX} bytes, which is no certificate or key`);
}

function readCertificates(path: string): string[] {
  const certificates = splitCertificates(readText(path));
  if (certificates.length === 0) throw new Error(`${path}: holds no certificate; PEM with BEGIN CERTIFICATE is expected`);
  if (certificates.length > CHAIN_CERTIFICATES_MAX) throw new Error(`${path}: holds ${certificates.length} certificates; ${CHAIN_CERTIFICATES_MAX} is the limit`);
  for (const [index, pem] of certificates.entries()) {
    try {
      new X509Certificate(pem).toString();
    } catch (error) {
      throw new Error(`${path}: certificate ${index + 1} cannot be parsed`, { cause: error });
    }
  }
  return certificates;
}

function readRoots(path: string): string[] {
  const roots = [...new Set(readCertificates(path))];
  if (roots.length > ROOTS_MAX) throw new Error(`${path}: holds ${roots.length} roots; ${ROOTS_MAX} is the limit`);
  for (const root of roots) {
    checkCa(root, path);
    if (!isSelfSigned(root)) throw new Error(`${path}: ${nameOf(new X509Certificate(root))} is not a root, as it is not signed by itself; put it into the chain and give its root here`);
  }
  return roots;
}

function readKey(path: string): KeyObject {
  const text = readText(path);
  if (/ENCRYPTED/.test(text)) throw new Error(`${path}: the key is encrypted; give it decrypted (openssl pkey -in ${path} -out …)`);
  let key: KeyObject;
  try {
    key = createPrivateKey(text);
  } catch {
    // The reason OpenSSL gives may quote the file.
    throw new Error(`${path}: holds no private key in PEM`);
  }
  if (signingAlgorithm(key) === undefined) throw new Error(`${path}: the key must be of ECDSA P-256 or P-384, or RSA of 2048 bits or more`);
  return key;
}

function checkCa(pem: string, path: string): void {
  const usage = new Parsed(pem).getExtension(KeyUsagesExtension)?.usages ?? KeyUsageFlags.keyCertSign;
  if (new X509Certificate(pem).ca && (usage & KeyUsageFlags.keyCertSign) !== 0) return;
  throw new Error(`${path}: ${nameOf(new X509Certificate(pem))} is not a CA certificate; give one with CA:TRUE and the usage "Certificate Sign" (cert-manager: isCA: true)`);
}

function findRoot(chain: string, roots: readonly string[], { files, nowMs }: { files: GivenFiles; nowMs: number }): string {
  try {
    return verifyChain(chain, roots.join(''), nowMs);
  } catch (error) {
    const where = files.roots === undefined ? '' : `, with the roots of ${files.roots}`;
    throw new Error(`${files.certificate}: ${(error as Error).message}${where}; renew the CA, or give the certificates that belong together`, { cause: error });
  }
}

/** RFC 5280 §4.2.1.9: how many intermediates may follow below a CA. The one that signs leaves has none below it. */
function checkPathLength(pem: string, below: number, { certificate }: GivenFiles): void {
  const allowed = new Parsed(pem).getExtension(BasicConstraintsExtension)?.pathLength;
  if (allowed === undefined || allowed >= below) return;
  throw new Error(`${certificate}: ${nameOf(new X509Certificate(pem))} allows ${allowed} CA certificates below it (pathlen), and there are ${below}; make it anew with a larger pathlen`);
}

function isSelfSigned(pem: string): boolean {
  const certificate = new X509Certificate(pem);
  return certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey);
}

function noRoot(path: string): never {
  throw new Error(`${path}: does not end with its root; give the root as a file of its own (--ca-root)`);
}

function withValidity(certificate: string): GivenCa['roots'][number] {
  const { validFrom, validTo } = new X509Certificate(certificate);
  return { certificate, notBeforeMs: Date.parse(validFrom), notAfterMs: Date.parse(validTo) };
}
