/** A compact JWS that carries claims (RFC 7519, RFC 7515 §3.1), taken apart. Nothing here says that it is genuine. */
import { JWT_CHARS_MAX } from '../../core/limits.ts';
import type { JwtFault } from './fault.ts';

/** Signatures by a private key only: with `none` or a shared secret, whoever knows the public key could sign. */
const ALGORITHMS: ReadonlySet<string> = new Set(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']);

/** RFC 7515 §2: base64url without padding. */
const BASE64URL = /^[A-Za-z0-9_-]+$/;

/** Clocks of issuers and nodes differ (Envoy's default). */
const LEEWAY_SECONDS = 60;

export interface Token {
  readonly algorithm: string;
  /** Empty when the header names no key. */
  readonly keyId: string;
  readonly issuer: string;
  readonly subject: string;
  readonly audiences: readonly string[];
  /** Seconds since the epoch; 0 = no limit. */
  readonly notBefore: number;
  readonly expires: number;
  readonly claims: Readonly<Record<string, unknown>>;
  /** The payload as it was signed, in base64url. */
  readonly payloadText: string;
  /** The header asks for an extension (`crit`); none is understood. */
  readonly critical: boolean;
}

/** The parts of a token, or what is wrong with it. */
export function parseToken(text: string): Token | JwtFault {
  if (text.length > JWT_CHARS_MAX) return 'bad_format';
  const sections = text.split('.', 4);
  if (sections.length !== 3) return 'bad_format';
  const [headerText, payloadText, signatureText] = sections as [string, string, string];
  if (!BASE64URL.test(headerText)) return 'header_base64';
  const header = parseObject(headerText);
  if (header === undefined) return 'header_json';
  const algorithm = header['alg'];
  if (typeof algorithm !== 'string') return 'header_alg';
  if (!ALGORITHMS.has(algorithm)) return 'header_alg_unsupported';
  const keyId = header['kid'] ?? '';
  if (typeof keyId !== 'string') return 'header_kid';
  if (!BASE64URL.test(payloadText)) return 'payload_base64';
  const claims = parseObject(payloadText);
  if (claims === undefined) return 'payload_json';
  const fault = faultIn(claims);
  if (fault !== undefined) return fault;
  if (!BASE64URL.test(signatureText)) return 'signature_base64';
  return {
    algorithm,
    keyId,
    issuer: (claims['iss'] as string | undefined) ?? '',
    subject: (claims['sub'] as string | undefined) ?? '',
    audiences: audiencesOf(claims),
    notBefore: (claims['nbf'] as number | undefined) ?? 0,
    expires: (claims['exp'] as number | undefined) ?? 0,
    claims,
    payloadText,
    critical: header['crit'] !== undefined,
  };
}

/** Whether its time has come and not passed. */
export function timeFault(token: Token, wallMs: number): JwtFault | undefined {
  const nowSeconds = Math.floor(wallMs / 1000);
  if (token.notBefore > nowSeconds + LEEWAY_SECONDS) return 'not_yet_valid';
  if (token.expires !== 0 && nowSeconds > token.expires + LEEWAY_SECONDS) return 'expired';
  return undefined;
}

function parseObject(base64url: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(base64url, 'base64url').toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Types of the registered claims (RFC 7519 §4.1), in Envoy's order. */
function faultIn(claims: Readonly<Record<string, unknown>>): JwtFault | undefined {
  const { iss, sub, jti } = claims;
  if (iss !== undefined && typeof iss !== 'string') return 'payload_iss';
  if (sub !== undefined && typeof sub !== 'string') return 'payload_sub';
  for (const name of ['iat', 'nbf', 'exp'] as const) {
    const value = claims[name];
    if (value === undefined) continue;
    if (typeof value !== 'number') return `payload_${name}`;
    if (!Number.isFinite(value) || value < 0) return `payload_${name}_range`;
  }
  if (jti !== undefined && typeof jti !== 'string') return 'payload_jti';
  const { aud } = claims;
  const isList = Array.isArray(aud) && aud.every((one) => typeof one === 'string');
  return aud === undefined || typeof aud === 'string' || isList ? undefined : 'payload_aud';
}

/** As Envoy compares them: without scheme and last slash, because issuers write the same audience either way. */
export function plainAudience(audience: string): string {
  return audience.replace(/^https?:\/\//, '').replace(/\/$/, '');
}

function audiencesOf({ aud }: Readonly<Record<string, unknown>>): readonly string[] {
  return aud === undefined ? [] : typeof aud === 'string' ? [aud] : (aud as string[]);
}
