/** A certificate with its key, or certificates to verify others with, as a Secret or ConfigMap holds them. Never written to a disk or a log. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { CREDENTIAL_BYTES_MAX } from '../core/limits.ts';
import { splitCertificates } from './pem.ts';

/** PEM; empty where it has none. Plain data, which crosses threads. */
export interface Credential {
  /** The leaf first, then the intermediates. */
  readonly certificate: string;
  readonly privateKey: string;
  /** Of `certificate` or of others. */
  readonly authorities: string;
}

/** Names under which the parts are found: of kubernetes.io/tls and of Istio's generic Secrets (Gateway ServerTLSSettings.credentialName). */
const CERTIFICATE = ['tls.crt', 'cert'];
const KEY = ['tls.key', 'key'];
const AUTHORITIES = ['ca.crt', 'cacert'];

/** Read the data of an object (as text, decoded). A string: what is wrong with it, without a word of what it holds. */
export function readCredential(data: Readonly<Record<string, string>>): Credential | string {
  const [certificate, privateKey, authorities] = [CERTIFICATE, KEY, AUTHORITIES].map((names) => names.map((name) => data[name]).find((value) => value !== undefined && value !== '') ?? '') as [string, string, string];
  if (certificate.length + privateKey.length + authorities.length > CREDENTIAL_BYTES_MAX) return `it has more than ${CREDENTIAL_BYTES_MAX} bytes`;
  if (certificate === '' && privateKey === '' && authorities === '') return `it has none of ${[...CERTIFICATE, ...KEY, ...AUTHORITIES].join(', ')}`;
  if ((certificate === '') !== (privateKey === '')) return certificate === '' ? 'it has a key and no certificate (tls.crt)' : 'it has a certificate and no key (tls.key)';
  const fault = (certificate === '' ? undefined : pairFault(certificate, privateKey)) ?? (authorities === '' ? undefined : certificatesFault(authorities, 'ca.crt'));
  return fault ?? { certificate: splitCertificates(certificate).join(''), privateKey, authorities: splitCertificates(authorities).join('') };
}

/** When the certificate expires; undefined: it has none. */
export function expiryOf({ certificate }: Credential): number | undefined {
  return certificate === '' ? undefined : Date.parse(new X509Certificate(certificate).validTo);
}

function pairFault(certificate: string, privateKey: string): string | undefined {
  const fault = certificatesFault(certificate, 'tls.crt');
  if (fault !== undefined) return fault;
  let key: KeyObject;
  try {
    key = createPrivateKey(privateKey);
  } catch {
    return 'tls.key is no private key in PEM';
  }
  return new X509Certificate(splitCertificates(certificate)[0] as string).checkPrivateKey(key) ? undefined : 'tls.key is not the key of the certificate in tls.crt';
}

function certificatesFault(pem: string, name: string): string | undefined {
  const certificates = splitCertificates(pem);
  if (certificates.length === 0) return `${name} holds no certificate in PEM`;
  try {
    certificates.forEach((certificate) => new X509Certificate(certificate));
  } catch {
    return `${name} holds what is no certificate`;
  }
  return undefined;
}
