/** A certificate with the private key that signs under it: a root or an intermediate. */
import { createPrivateKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { AuthorityKeyIdentifierExtension, SubjectKeyIdentifierExtension, X509Certificate } from './x509.ts';
import type { Name } from './x509.ts';

type SigningAlgorithm = { readonly name: 'ECDSA'; readonly namedCurve: string; readonly hash: string } | { readonly name: 'RSASSA-PKCS1-v1_5'; readonly hash: string };

export class Signer {
  /** PEM. */
  readonly certificate: string;
  readonly notAfterMs: number;
  /** Of the subject. */
  readonly name: Name;
  readonly key: CryptoKey;
  readonly algorithm: SigningAlgorithm;
  readonly #x509: X509Certificate;

  private constructor(certificate: string, x509: X509Certificate, key: CryptoKey, algorithm: SigningAlgorithm) {
    this.certificate = certificate;
    this.notAfterMs = x509.notAfter.getTime();
    this.name = x509.subjectName;
    this.key = key;
    this.algorithm = algorithm;
    this.#x509 = x509;
  }

  /** From PEM; the key may be of ECDSA P-256 or P-384, or RSA. Throws for any other. */
  static async open(certificate: string, keyPem: string): Promise<Signer> {
    const keyObject = createPrivateKey(keyPem);
    const algorithm = signingAlgorithm(keyObject);
    if (algorithm === undefined) throw new Error('its key must be of ECDSA P-256 or P-384, or RSA of 2048 bits or more');
    const key = await crypto.subtle.importKey('pkcs8', keyObject.export({ format: 'der', type: 'pkcs8' }), algorithm, false, ['sign']);
    return new Signer(certificate, new X509Certificate(certificate), key, algorithm);
  }

  /**
   * For the certificates made under this one. RFC 5280 §4.2.1.1: the identifier is the one that the issuer's certificate states, however
   * it was computed; by it verifiers tell issuers apart.
   */
  async authorityKeyIdentifier(): Promise<AuthorityKeyIdentifierExtension> {
    const own = this.#x509.getExtension(SubjectKeyIdentifierExtension);
    return own === null ? AuthorityKeyIdentifierExtension.create(this.#x509.publicKey) : new AuthorityKeyIdentifierExtension(own.keyId);
  }
}

/** How a key signs; undefined for a kind or size that is not used here. */
export function signingAlgorithm({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): SigningAlgorithm | undefined {
  if (asymmetricKeyType === 'ec' && asymmetricKeyDetails?.namedCurve === 'prime256v1') return { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  if (asymmetricKeyType === 'ec' && asymmetricKeyDetails?.namedCurve === 'secp384r1') return { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' };
  if (asymmetricKeyType === 'rsa' && (asymmetricKeyDetails?.modulusLength ?? 0) >= 2048) return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
  return undefined;
}
