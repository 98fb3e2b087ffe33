/** PEM (RFC 7468) as the DER within, block after block. */

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----([A-Za-z0-9+/=\s]+)-----END \1-----/g;

export function derOf(pem: string): Uint8Array {
  return Buffer.concat([...pem.matchAll(BLOCK)].map(([, , base64 = '']) => Buffer.from(base64, 'base64')));
}
