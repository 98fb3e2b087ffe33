/** The fields of Istio's security resources (istio.io/api, security), and of MeshConfig.extensionProviders. */
import { boolean, duration, int, list, map, object, oneOf, string, stringOrNumber, text } from './schema.ts';

const name = text(/./, 'a name of at least one character');
/** RFC 9110 §5.1; a pseudo-header is no name. */
const headerName = text(/^[-!#$%&'*+.^_`|~0-9A-Za-z]+$/, 'the name of a header');
const labels = map(string);
const selector = object({ matchLabels: labels });
/** Gateway API's names of groups and kinds. */
const targetRef = object({
  group: text(/^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/, 'an API group'),
  kind: text(/^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$/, 'a kind'),
  name, namespace: string,
}, ['kind', 'name']);
const selection = { selector, targetRef, targetRefs: list(targetRef) };

const mtls = object({ mode: oneOf(['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT']) });

export const peerAuthentication = object({ selector, mtls, portLevelMtls: map(mtls) });

const jwtRule = object({
  issuer: string, audiences: list(name), jwksUri: string, jwks_uri: string, jwks: string,
  fromHeaders: list(object({ name: headerName, prefix: string }, ['name'])), fromParams: list(name), fromCookies: list(name),
  outputPayloadToHeader: headerName, forwardOriginalToken: boolean,
  outputClaimToHeaders: list(object({ header: headerName, claim: name }, ['header', 'claim'])),
  timeout: duration, spaceDelimitedClaims: list(name), presence: oneOf(['OPTIONAL', 'REQUIRED']),
});

export const requestAuthentication = object({ ...selection, jwtRules: list(jwtRule) });

/** Each with its negation. */
export const SOURCE_FIELDS = ['principals', 'requestPrincipals', 'namespaces', 'serviceAccounts', 'ipBlocks', 'remoteIpBlocks', 'trustDomains'] as const;
export const OPERATION_FIELDS = ['hosts', 'ports', 'methods', 'paths'] as const;

/** `principals` → `notPrincipals` */
export function negated(field: string): string {
  return `not${field.slice(0, 1).toUpperCase()}${field.slice(1)}`;
}

function withNegations(fields: readonly string[]): ReturnType<typeof object> {
  return object(Object.fromEntries(fields.flatMap((field) => [[field, list(name)], [negated(field), list(name)]])));
}

export const authorizationPolicy = object({
  ...selection,
  action: oneOf(['ALLOW', 'DENY', 'AUDIT', 'CUSTOM']),
  provider: object({ name: string }),
  rules: list(object({
    from: list(object({ source: withNegations(SOURCE_FIELDS) })),
    to: list(object({ operation: withNegations(OPERATION_FIELDS) })),
    when: list(object({ key: name, values: list(name), notValues: list(name) }, ['key'])),
  })),
});

const extAuthz = {
  service: name, port: int(1, 65_535), timeout: duration, failOpen: boolean, clearRouteCache: boolean, statusOnError: stringOrNumber,
  includeRequestBodyInCheck: object({ maxRequestBytes: int(), allowPartialMessage: boolean, packAsBytes: boolean }),
};

export const extAuthzGrpc = object(extAuthz, ['service', 'port']);

export const extAuthzHttp = object({
  ...extAuthz, pathPrefix: string,
  includeRequestHeadersInCheck: list(name), includeHeadersInCheck: list(name), includeAdditionalHeadersInCheck: map(string),
  headersToUpstreamOnAllow: list(name), headersToDownstreamOnDeny: list(name), headersToDownstreamOnAllow: list(name),
}, ['service', 'port']);
