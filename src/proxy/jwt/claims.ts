/** What an accepted token says of its bearer: for policies, and as headers for the application. */
import type { Authentication, JwtRule } from '../../mesh/security.ts';
import type { RequestHead } from '../head.ts';
import type { Token } from './token.ts';

/** What policies may ask of the token. */
export function authenticationOf(token: Token, rule: JwtRule): Authentication {
  const { issuer, subject, audiences, claims } = token;
  return {
    requestPrincipal: issuer === '' || subject === '' ? '' : `${issuer}/${subject}`,
    audiences,
    presenter: typeof claims['azp'] === 'string' ? claims['azp'] : '',
    claims: withLists(claims, rule.spaceDelimitedClaims),
  };
}

/** Headers that carry claims of a rule: from a client they are forgeries. */
export function outputHeaders({ outputPayloadToHeader, outputClaimToHeaders }: JwtRule): readonly string[] {
  const names = outputClaimToHeaders.map(({ header }) => header);
  return outputPayloadToHeader === '' ? names : [outputPayloadToHeader, ...names];
}

/** Tell the application. The headers are known to be absent. */
export function writeClaims(head: RequestHead, token: Token, { outputPayloadToHeader, outputClaimToHeaders }: JwtRule): void {
  if (outputPayloadToHeader !== '') head.headers.add(outputPayloadToHeader, token.payloadText);
  for (const { header, claim } of outputClaimToHeaders) {
    const value = headerValue(claimAt(token.claims, claim));
    if (value !== undefined) head.headers.add(header, value);
  }
}

/** A claim by its name, or by the path of a nested one (`a.b`). */
function claimAt(claims: Readonly<Record<string, unknown>>, path: string): unknown {
  if (Object.hasOwn(claims, path)) return claims[path];
  let value: unknown = claims;
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, name)) return undefined;
    value = (value as Readonly<Record<string, unknown>>)[name];
  }
  return value;
}

/**
 * Text, numbers and truth values, as Envoy writes them; nothing of anything else. Text goes as UTF-8, one character a byte, as
 * codecs write headers. The issuer vouches for the claim but the user may have chosen it (a display name), so one that would
 * end the header line is left out.
 */
function headerValue(value: unknown): string | undefined {
  switch (typeof value) {
    case 'string': {
      const octets = Buffer.from(value, 'utf8').toString('latin1');
      return octets === '' || /[\0-\x08\x0a-\x1f\x7f]/.test(octets) ? undefined : octets;
    }
    case 'number':
      return Number.isInteger(value) ? BigInt(value).toString() : value.toFixed(6);
    case 'boolean':
      return String(value);
    default:
      return undefined;
  }
}

function withLists(claims: Readonly<Record<string, unknown>>, names: readonly string[]): Readonly<Record<string, unknown>> {
  let changed: Record<string, unknown> | undefined;
  for (const name of names) {
    const value = Object.hasOwn(claims, name) ? claims[name] : undefined;
    if (typeof value === 'string') (changed ??= { ...claims })[name] = value.split(' ').filter((part) => part !== '');
  }
  return changed ?? claims;
}
