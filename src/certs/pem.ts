/** PEM texts of certificates and keys (RFC 7468). */

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

/** Each certificate of a text on its own, in order, whatever stands around them; every one ends with a line feed. */
export function splitCertificates(text: string): string[] {
  return [...text.matchAll(CERTIFICATE)].map(([block]) => `${block.replaceAll('\r', '')}\n`);
}

/** `der` as PEM with lines of 64 characters. */
export function encodePem(der: ArrayBuffer, label: 'CERTIFICATE' | 'CERTIFICATE REQUEST' | 'PRIVATE KEY'): string {
  const lines = Buffer.from(der).toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
