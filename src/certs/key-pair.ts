/** Key pairs of the one kind that Orlop makes: ECDSA on P-256. They exist in memory only. */
import { encodePem } from './pem.ts';

export const P256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

export interface KeyPair {
  readonly pair: { readonly privateKey: CryptoKey; readonly publicKey: CryptoKey };
  /** The private key as PKCS#8 PEM. */
  readonly key: string;
}

export async function newKeyPair(): Promise<KeyPair> {
  const pair = await crypto.subtle.generateKey(P256, true, ['sign', 'verify']);
  return { pair, key: encodePem(await crypto.subtle.exportKey('pkcs8', pair.privateKey), 'PRIVATE KEY') };
}
