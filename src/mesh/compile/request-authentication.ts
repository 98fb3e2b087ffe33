/** RequestAuthentications as one list of token rules, with Istio's defaults filled in. */
import { JWKS_TIMEOUT_MS } from '../../core/limits.ts';
import { durationMs } from '../duration.ts';
import { objectName } from '../resources.ts';
import type { Resource } from '../resources.ts';
import type { JwtRule } from '../security.ts';
import type { JwtRuleSpec, RequestAuthenticationSpec } from '../security-resources.ts';

/** Where a token is looked for when its rule names no place (istio.io/docs/reference/config/security/jwt). */
const USUAL_HEADER = Object.freeze({ name: 'authorization', prefix: 'Bearer ' });
const USUAL_PARAM = 'access_token';

/** Claims that are lists in spite of being text (RFC 8693 §4.2, and Istio's own). */
const LISTS: readonly string[] = ['scope', 'permission'];

/** The rules of all resources that select a workload, by issuer. */
export function jwtRulesOf(resources: readonly Resource<RequestAuthenticationSpec>[]): JwtRule[] {
  const rules = resources.flatMap((resource) => (resource.spec.jwtRules ?? []).map((rule, i) => jwtRuleOf(rule, `${objectName(resource)} jwtRules[${i}]`)));
  return rules.sort((a, b) => (a.issuer < b.issuer ? -1 : a.issuer > b.issuer ? 1 : 0));
}

function jwtRuleOf(spec: JwtRuleSpec, origin: string): JwtRule {
  const { fromHeaders = [], fromParams = [], fromCookies = [] } = spec;
  // Places that are named replace the usual ones.
  const usual = fromHeaders.length + fromParams.length + fromCookies.length === 0;
  return Object.freeze({
    origin,
    issuer: spec.issuer ?? '',
    audiences: spec.audiences ?? [],
    jwks: (spec.jwks ?? '') === '' ? undefined : spec.jwks,
    jwksUri: (spec.jwksUri ?? spec.jwks_uri ?? '') === '' ? undefined : (spec.jwksUri ?? spec.jwks_uri),
    fromHeaders: usual ? [USUAL_HEADER] : fromHeaders.map(({ name, prefix = '' }) => ({ name: name.toLowerCase(), prefix })),
    fromParams: usual ? [USUAL_PARAM] : fromParams,
    fromCookies,
    outputPayloadToHeader: (spec.outputPayloadToHeader ?? '').toLowerCase(),
    forwardOriginalToken: spec.forwardOriginalToken ?? false,
    outputClaimToHeaders: (spec.outputClaimToHeaders ?? []).map(({ header, claim }) => ({ header: header.toLowerCase(), claim })),
    timeoutMs: durationMs(spec.timeout, JWKS_TIMEOUT_MS),
    spaceDelimitedClaims: [...LISTS, ...(spec.spaceDelimitedClaims ?? [])],
    required: spec.presence === 'REQUIRED',
  });
}
