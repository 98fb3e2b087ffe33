/** The fields of the Gateway API's resources (sigs.k8s.io/gateway-api v1.6, both channels): honoured, or named as not honoured yet. */
import { boolean, duration, int, later, list, map, object, oneOf, string, text } from './schema.ts';
import type { Schema } from './schema.ts';

const PORT = int(1, 65_535);
const NO_PERSISTENCE = 'requests of a session may go to any endpoint';
const NO_DEFAULT_GATEWAYS = 'routes belong to the Gateways that they name';
const NO_EXTENSIONS = 'requests that this rule takes are answered 500';

const hostname = text(/^(?:\*\.)?[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/, 'a host name in lower case; *. may stand before it');
const headerName = text(/^[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,256}$/, 'the name of a header');

const selector = object({ matchLabels: map(string), matchExpressions: list(object({ key: string, operator: oneOf(['In', 'NotIn', 'Exists', 'DoesNotExist']), values: list(string) }, ['key', 'operator'])) });
const reference = { group: string, kind: string, name: string, namespace: string };
const parentRefs = list(object({ ...reference, sectionName: string, port: PORT }, ['name']));

const namespaceChoice = (values: readonly string[]): Schema => object({ from: oneOf(values), selector });

const listener = object({
  name: string, hostname, port: PORT, protocol: string,
  tls: object({ mode: oneOf(['Terminate', 'Passthrough']), certificateRefs: list(object(reference, ['name'])), options: map(string) }),
  allowedRoutes: object({ namespaces: namespaceChoice(['All', 'Selector', 'Same']), kinds: list(object({ group: string, kind: string }, ['kind'])) }),
}, ['name', 'port', 'protocol']);

const frontendTls = object({ validation: object({ caCertificateRefs: list(object(reference, ['group', 'kind', 'name'])), mode: oneOf(['AllowValidOnly', 'AllowInsecureFallback']) }, ['caCertificateRefs']) });

export const gateway = object({
  gatewayClassName: string,
  listeners: list(listener),
  addresses: list(object({ type: string, value: string })),
  infrastructure: object({ labels: map(string), annotations: map(string), parametersRef: object({ group: string, kind: string, name: string }, ['group', 'kind', 'name']) }),
  allowedListeners: object({ namespaces: namespaceChoice(['All', 'Selector', 'Same', 'None']) }),
  tls: object({
    backend: object({ clientCertificateRef: object(reference, ['name']) }),
    frontend: object({ default: frontendTls, perPort: list(object({ port: PORT, tls: frontendTls }, ['port', 'tls'])) }, ['default']),
  }),
  defaultScope: later(NO_DEFAULT_GATEWAYS, string),
}, ['gatewayClassName', 'listeners']);

export const gatewayClass = object({
  controllerName: string, description: string,
  parametersRef: object({ group: string, kind: string, name: string, namespace: string }, ['group', 'kind', 'name']),
}, ['controllerName']);

export const listenerSet = object({ parentRef: object(reference, ['name']), listeners: list(listener) }, ['parentRef', 'listeners']);

const headerFilter = object({
  set: list(object({ name: headerName, value: string }, ['name', 'value'])), add: list(object({ name: headerName, value: string }, ['name', 'value'])), remove: list(string),
});
const mirrorFilter = object({ backendRef: object({ ...reference, port: PORT }, ['name']), percent: int(0, 100), fraction: object({ numerator: int(), denominator: int(1) }, ['numerator']) }, ['backendRef']);
const extension = later(NO_EXTENSIONS, object({ group: string, kind: string, name: string }, ['group', 'kind', 'name']));
const pathModifier = object({ type: oneOf(['ReplaceFullPath', 'ReplacePrefixMatch']), replaceFullPath: string, replacePrefixMatch: string }, ['type']);

const httpFilters = list(object({
  type: oneOf(['RequestHeaderModifier', 'ResponseHeaderModifier', 'RequestMirror', 'RequestRedirect', 'URLRewrite', 'CORS'], ['ExtensionRef', 'ExternalAuth']),
  requestHeaderModifier: headerFilter,
  responseHeaderModifier: headerFilter,
  requestMirror: mirrorFilter,
  requestRedirect: object({ scheme: oneOf(['http', 'https']), hostname, path: pathModifier, port: PORT, statusCode: int(301, 308) }),
  urlRewrite: object({ hostname, path: pathModifier }),
  cors: object({ allowOrigins: list(string), allowMethods: list(string), allowHeaders: list(string), exposeHeaders: list(string), maxAge: int(1), allowCredentials: boolean }),
  extensionRef: extension,
  externalAuth: later(NO_EXTENSIONS),
}, ['type']));

const grpcFilters = list(object({
  type: oneOf(['RequestHeaderModifier', 'ResponseHeaderModifier', 'RequestMirror'], ['ExtensionRef']),
  requestHeaderModifier: headerFilter, responseHeaderModifier: headerFilter, requestMirror: mirrorFilter, extensionRef: extension,
}, ['type']));

const backend = { ...reference, port: PORT, weight: int(0, 1_000_000) };
const namedMatches = list(object({ type: oneOf(['Exact', 'RegularExpression']), name: headerName, value: string }, ['name', 'value']));
const sessionPersistence = later(NO_PERSISTENCE);

export const httpRoute = object({
  parentRefs, hostnames: list(hostname), useDefaultGateways: later(NO_DEFAULT_GATEWAYS, string),
  rules: list(object({
    name: string,
    matches: list(object({
      path: object({ type: oneOf(['Exact', 'PathPrefix', 'RegularExpression']), value: string }), headers: namedMatches, queryParams: namedMatches,
      method: oneOf(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH']),
    })),
    filters: httpFilters,
    backendRefs: list(object({ ...backend, filters: httpFilters }, ['name'])),
    timeouts: object({ request: duration, backendRequest: duration }),
    retry: object({ codes: list(int(400, 599)), attempts: int(0, 1000), backoff: duration }),
    sessionPersistence,
  })),
});

export const grpcRoute = object({
  parentRefs, hostnames: list(hostname), useDefaultGateways: later(NO_DEFAULT_GATEWAYS, string),
  rules: list(object({
    name: string,
    matches: list(object({ method: object({ type: oneOf(['Exact', 'RegularExpression']), service: string, method: string }), headers: namedMatches })),
    filters: grpcFilters,
    backendRefs: list(object({ ...backend, filters: grpcFilters }, ['name'])),
    sessionPersistence,
  })),
});

const l4Rules = list(object({ name: string, backendRefs: list(object(backend, ['name'])) }, ['backendRefs']));

export const tlsRoute = object({ parentRefs, hostnames: list(hostname), rules: l4Rules, useDefaultGateways: later(NO_DEFAULT_GATEWAYS, string) }, ['hostnames', 'rules']);

export const tcpRoute = object({ parentRefs, rules: l4Rules, useDefaultGateways: later(NO_DEFAULT_GATEWAYS, string) }, ['rules']);

export const referenceGrant = object({
  from: list(object({ group: string, kind: string, namespace: string }, ['group', 'kind', 'namespace'])),
  to: list(object({ group: string, kind: string, name: string }, ['group', 'kind'])),
}, ['from', 'to']);

export const backendTlsPolicy = object({
  targetRefs: list(object({ group: string, kind: string, name: string, sectionName: string }, ['group', 'kind', 'name'])),
  validation: object({
    hostname, caCertificateRefs: list(object({ group: string, kind: string, name: string }, ['group', 'kind', 'name'])), wellKnownCACertificates: string,
    subjectAltNames: list(object({ type: oneOf(['Hostname', 'URI']), hostname, uri: string }, ['type'])),
  }, ['hostname']),
  options: later('there are none to choose from', map(string)),
}, ['targetRefs', 'validation']);
