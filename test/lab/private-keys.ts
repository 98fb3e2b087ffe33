/** Looks for private keys in octets: any of the kind that the mesh makes, and given ones, in every writing that one might leave behind. */
import { createPrivateKey } from 'node:crypto';

const ANY_PEM = /-----BEGIN [A-Z ]*PRIVATE KEY-----/;
/** How every PKCS#8 of a key on P-256 begins (RFC 5958, RFC 5915), up to the secret itself. */
const P256_PREFIX = Buffer.from('308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420', 'hex');
/** How much of a secret's writing is looked for: long enough not to occur by chance, short enough to survive the breaks of lines. */
const PIECE_CHARS = 20;

export class KeySearch {
  readonly #needles: readonly (readonly [what: string, octets: Buffer])[];

  /** `keys`: PKCS#8 PEM of keys in use. */
  constructor(keys: readonly string[]) {
    this.#needles = [...writings('a key of P-256', P256_PREFIX), ...keys.flatMap((key, index) => writings(`key ${index + 1}`, secretOf(key)))];
  }

  /** What of a key is in the octets; empty when nothing is. */
  find(octets: Buffer): string[] {
    const found = this.#needles.filter(([, needle]) => octets.includes(needle)).map(([what]) => what);
    return ANY_PEM.test(octets.toString('latin1')) ? ['a private key in PEM', ...found] : found;
  }
}

/** The secret number of an EC key. */
function secretOf(pem: string): Buffer {
  const { d = '' } = createPrivateKey(pem).export({ format: 'jwk' });
  return Buffer.from(d, 'base64url');
}

/** Octets as they are, in hexadecimal, and in base64, where they may begin at any of three places of a group. */
function writings(what: string, octets: Buffer): [string, Buffer][] {
  const hex = octets.toString('hex').slice(0, 2 * PIECE_CHARS);
  const base64 = [0, 1, 2].flatMap((shift) => (['base64', 'base64url'] as const).map((encoding) => {
    // The first group holds what came before; the lines of PEM break after 64 characters, so that several pieces are looked for.
    const text = Buffer.concat([Buffer.alloc(shift), octets]).toString(encoding).slice(shift === 0 ? 0 : 4);
    return text.slice(0, PIECE_CHARS);
  }));
  return [
    [`${what} in octets`, octets],
    ...[hex, hex.toUpperCase(), hex.replaceAll(/(..)(?!$)/g, '$1:'), hex.replaceAll(/(..)(?!$)/g, '$1 ')].map((text): [string, Buffer] => [`${what} in hexadecimal`, Buffer.from(text)]),
    // As JSON writes a Buffer or a Uint8Array.
    [`${what} in decimal`, Buffer.from([...octets.subarray(0, PIECE_CHARS)].join(','))],
    ...base64.map((text): [string, Buffer] => [`${what} in base64`, Buffer.from(text)]),
  ];
}
