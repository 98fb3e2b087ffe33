/** Public keys of an issuer (RFC 7517), reduced to what verifying needs: plain data that crosses threads. */
import { JWKS_KEYS_MAX } from '../../core/limits.ts';

export interface PublicKey {
  readonly kty: 'RSA' | 'EC' | 'OKP';
  /** Empty: the key goes with any token. */
  readonly kid: string;
  /** Algorithms it may be used with. */
  readonly algorithms: readonly string[];
  /** The members of the JWK that are the key. */
  readonly members: Readonly<Record<string, string>>;
}

const RSA_ALGORITHMS: readonly string[] = Object.freeze(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']);
const EC_ALGORITHMS: Readonly<Record<string, readonly string[]>> = Object.freeze({ 'P-256': ['ES256'], 'P-384': ['ES384'], 'P-521': ['ES512'] });
const OKP_ALGORITHMS: Readonly<Record<string, readonly string[]>> = Object.freeze({ Ed25519: ['EdDSA'] });

/**
 * The usable keys of a key set's JSON text: public ones for signatures, of the algorithms in the table above. Keys that are for
 * something else are passed over, as RFC 7517 §5 says. Undefined when the text is no key set at all.
 */
export function parseKeySet(text: string): readonly PublicKey[] | undefined {
  const set = parseJson(text);
  if (!isRecord(set) || !Array.isArray(set['keys'])) return undefined;
  return set['keys']
    .slice(0, JWKS_KEYS_MAX)
    .map(publicKeyOf)
    .filter((key) => key !== undefined);
}

function publicKeyOf(jwk: unknown): PublicKey | undefined {
  if (!isRecord(jwk) || (jwk['use'] !== undefined && jwk['use'] !== 'sig')) return undefined;
  const { kty } = jwk;
  switch (kty) {
    case 'RSA':
      return keyOf(kty, jwk, ['n', 'e'], RSA_ALGORITHMS);
    case 'EC':
      return keyOf(kty, jwk, ['crv', 'x', 'y'], EC_ALGORITHMS[String(jwk['crv'])]);
    case 'OKP':
      return keyOf(kty, jwk, ['crv', 'x'], OKP_ALGORITHMS[String(jwk['crv'])]);
    default:
      // `oct` among them: a shared secret in a public document protects nothing.
      return undefined;
  }
}

function keyOf(kty: PublicKey['kty'], jwk: Readonly<Record<string, unknown>>, names: readonly string[], suitable: readonly string[] | undefined): PublicKey | undefined {
  const { kid, alg } = jwk;
  const algorithms = alg === undefined ? suitable : suitable?.filter((one) => one === alg);
  if (algorithms === undefined || algorithms.length === 0) return undefined;
  const members: Record<string, string> = {};
  for (const name of names) {
    const value = jwk[name];
    if (typeof value !== 'string') return undefined;
    members[name] = value;
  }
  return { kty, kid: typeof kid === 'string' ? kid : '', algorithms, members };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
