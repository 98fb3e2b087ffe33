/**
 * Certificate signing requests (PKCS #10, RFC 2986). Of a request only the public key counts, and the proof that the sender holds its private
 * half: names, extensions and lifetimes it asks for are the CA's to decide.
 */
import { createPublicKey } from 'node:crypto';
import { CSR_BYTES_MAX } from '../core/limits.ts';
import { newKeyPair, P256 } from './key-pair.ts';
import { encodePem } from './pem.ts';
import { Pkcs10CertificateRequest, Pkcs10CertificateRequestGenerator, SubjectAlternativeNameExtension } from './x509.ts';
import type { PublicKey } from './x509.ts';

const REQUEST = /^\s*-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----\r?\n([A-Za-z0-9+/=\s]+)-----END (?:NEW )?CERTIFICATE REQUEST-----\s*$/;
const HASHES = new Set(['SHA-256', 'SHA-384', 'SHA-512']);
const CURVES = new Set(['prime256v1', 'secp384r1']);

/** A request that is refused, and why, in words for whoever sent it. */
export class CsrError extends Error {}

/** A new P-256 key and the request that proves it. The key exists in memory only. */
export async function createCsr(identity: string): Promise<{ csr: string; key: string }> {
  const { pair, key } = await newKeyPair();
  const request = await Pkcs10CertificateRequestGenerator.create({
    keys: pair,
    signingAlgorithm: P256,
    // The CA decides by whom it was asked, and for what; Istio's CA wants to see the identity here too.
    extensions: [new SubjectAlternativeNameExtension([{ type: 'url', value: identity }], true)],
  });
  return { csr: encodePem(request.rawData, 'CERTIFICATE REQUEST'), key };
}

/**
 * The public key that a PEM request proves. Accepted are ECDSA on P-256 and P-384, and RSA from 2048 to 4096 bits, which Istio's own agents
 * use by default. Throws {@link CsrError}.
 */
export async function readCsr(pem: string): Promise<PublicKey> {
  if (pem.length > CSR_BYTES_MAX) throw new CsrError(`the request has ${pem.length} bytes; ${CSR_BYTES_MAX} is the limit`);
  const request = parse(pem);
  checkKey(request);
  const { hash } = request.signatureAlgorithm;
  if (!HASHES.has(hash?.name ?? '')) throw new CsrError('the request must be signed with SHA-256, SHA-384 or SHA-512');
  if (!(await verified(request))) throw new CsrError('the signature of the request does not verify: the sender does not hold the key it asks for');
  return request.publicKey;
}

function parse(pem: string): Pkcs10CertificateRequest {
  const [, base64] = REQUEST.exec(pem) ?? [];
  if (base64 === undefined) throw new CsrError('the request is not one PEM block of the kind CERTIFICATE REQUEST');
  const der = Buffer.from(base64, 'base64');
  if (!isOneSequence(der)) throw new CsrError('the request cannot be parsed as PKCS #10');
  try {
    return new Pkcs10CertificateRequest(der);
  } catch {
    throw new CsrError('the request cannot be parsed as PKCS #10');
  }
}

/** The parser passes over what follows the first element; a request is one SEQUENCE of definite length, to the last octet (DER, X.690 §10.1). */
function isOneSequence(der: Buffer): boolean {
  const first = der[1] ?? 0x80;
  const octets = first < 0x80 ? 0 : first & 0x7f;
  if (der[0] !== 0x30 || (first >= 0x80 && (octets < 1 || octets > 2)) || der.length < 2 + octets) return false;
  const length = octets === 0 ? first : der.readUIntBE(2, octets);
  return der.length === 2 + octets + length;
}

function checkKey(request: Pkcs10CertificateRequest): void {
  const { asymmetricKeyType, asymmetricKeyDetails } = publicKeyOf(request);
  const { namedCurve = '', modulusLength = 0, publicExponent = 0n } = asymmetricKeyDetails ?? {};
  if (asymmetricKeyType === 'ec' && CURVES.has(namedCurve)) return;
  if (asymmetricKeyType === 'rsa' && modulusLength >= 2048 && modulusLength <= 4096 && publicExponent >= 65_537n) return;
  throw new CsrError('the key must be of ECDSA P-256 or P-384, or RSA of 2048 to 4096 bits');
}

function publicKeyOf(request: Pkcs10CertificateRequest): ReturnType<typeof createPublicKey> {
  try {
    return createPublicKey({ key: Buffer.from(request.publicKey.rawData), format: 'der', type: 'spki' });
  } catch {
    throw new CsrError('the public key of the request cannot be read');
  }
}

async function verified(request: Pkcs10CertificateRequest): Promise<boolean> {
  try {
    return await request.verify();
  } catch {
    return false;
  }
}
