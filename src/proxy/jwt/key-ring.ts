/** The keys of one source at one time, ready to verify with. New keys make a new ring. */
import type { CryptoKey } from 'jose';
import type { JwtFault } from './fault.ts';
import type { PublicKey } from './public-key.ts';
import type { Token } from './token.ts';

type Jose = Pick<typeof import('jose'), 'importJWK' | 'compactVerify'>;

let jose: Promise<Jose> | undefined;

/** Loaded when the first token comes: a worker that sees none is spared some 10 MiB. */
async function loadJose(): Promise<Jose> {
  jose ??= import('jose');
  return jose;
}

export class KeyRing {
  readonly #keys: readonly PublicKey[];
  /** By position and algorithm; a key that cannot be imported verifies nothing. */
  readonly #imported = new Map<string, Promise<CryptoKey | undefined>>();

  constructor(keys: readonly PublicKey[]) {
    this.#keys = keys;
  }

  /** Why no key here can have signed the token: by its id, where both name one, and by its algorithm. */
  mismatch(token: Token): JwtFault | undefined {
    if (this.#keys.length === 0) return 'no_valid_keys';
    return this.#keys.some((key) => suits(key, token)) ? undefined : 'no_matching_key';
  }

  /** Whether one of the keys has signed the token, whose text is `text`. */
  async verify(token: Token, text: string): Promise<JwtFault | undefined> {
    // RFC 7515 §4.1.11: what is marked critical and not understood makes a token invalid.
    if (token.critical) return 'verification';
    for (const [i, key] of this.#keys.entries()) {
      if (suits(key, token) && (await this.#signedBy(i, key, token.algorithm, text))) return undefined;
    }
    return 'verification';
  }

  async #signedBy(index: number, key: PublicKey, algorithm: string, text: string): Promise<boolean> {
    const imported = await this.#import(index, key, algorithm);
    if (imported === undefined) return false;
    const { compactVerify } = await loadJose();
    try {
      await compactVerify(text, imported, { algorithms: [algorithm] });
      return true;
    } catch {
      return false;
    }
  }

  async #import(index: number, key: PublicKey, algorithm: string): Promise<CryptoKey | undefined> {
    const name = `${index} ${algorithm}`;
    const imported = this.#imported.get(name) ?? importKey(key, algorithm);
    this.#imported.set(name, imported);
    return imported;
  }
}

async function importKey({ kty, members }: PublicKey, algorithm: string): Promise<CryptoKey | undefined> {
  const { importJWK } = await loadJose();
  try {
    const key = await importJWK({ kty, ...members }, algorithm);
    return key instanceof Uint8Array ? undefined : key;
  } catch {
    return undefined;
  }
}

function suits({ kid, algorithms }: PublicKey, token: Token): boolean {
  return algorithms.includes(token.algorithm) && (kid === '' || token.keyId === '' || kid === token.keyId);
}
