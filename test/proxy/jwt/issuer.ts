/** An identity provider for tests: real keys, real signatures, and every way to get them wrong. */
import { SignJWT, base64url, exportJWK, generateKeyPair } from 'jose';
import type { CryptoKey, JWK } from 'jose';
import type { JwtRule } from '../../../src/mesh/security.ts';

export const ISSUER = 'https://issuer.example';

/** The second at which a FakeClock begins. */
export const NOW = Date.UTC(2026, 0, 1) / 1000;

export interface SigningKey {
  readonly algorithm: string;
  readonly id: string;
  readonly privateKey: CryptoKey;
  readonly jwk: JWK;
}

export async function signingKey(algorithm: string, id = `${algorithm}-1`): Promise<SigningKey> {
  const { privateKey, publicKey } = await generateKeyPair(algorithm, { extractable: true });
  return { algorithm, id, privateKey, jwk: { ...(await exportJWK(publicKey)), kid: id, alg: algorithm, use: 'sig' } };
}

export const jwksOf = (...keys: readonly SigningKey[]): string => JSON.stringify({ keys: keys.map(({ jwk }) => jwk) });

/** Valid for an hour, of `alice`, unless said otherwise; a claim set to undefined is left out. */
export async function sign(key: SigningKey, claims: Readonly<Record<string, unknown>> = {}, header: Readonly<Record<string, unknown>> = {}): Promise<string> {
  return new SignJWT({ iss: ISSUER, sub: 'alice', iat: NOW, exp: NOW + 3600, ...claims })
    .setProtectedHeader({ kid: key.id, ...header, alg: key.algorithm })
    .sign(key.privateKey);
}

/** Any header and payload, with a signature that is none. */
export function forge(header: unknown, payload: unknown, signature = 'AAAA'): string {
  const text = (value: unknown): string => base64url.encode(typeof value === 'string' ? value : JSON.stringify(value));
  return `${text(header)}.${text(payload)}.${signature}`;
}

/** A rule as compiled; where `change` names no place, with the usual ones. */
export function ruleOf(change: Partial<JwtRule> = {}): JwtRule {
  const isUsual = change.fromHeaders === undefined && change.fromParams === undefined && change.fromCookies === undefined;
  return {
    origin: 'RequestAuthentication default/jwt jwtRules[0]',
    issuer: ISSUER,
    audiences: [],
    jwks: undefined,
    jwksUri: undefined,
    fromHeaders: isUsual ? [{ name: 'authorization', prefix: 'Bearer ' }] : [],
    fromParams: isUsual ? ['access_token'] : [],
    fromCookies: [],
    outputPayloadToHeader: '',
    forwardOriginalToken: false,
    outputClaimToHeaders: [],
    timeoutMs: 5_000,
    spaceDelimitedClaims: ['scope', 'permission'],
    required: false,
    ...change,
  };
}
