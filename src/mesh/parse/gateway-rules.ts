/** Rules between the fields of one gateway resource: those of the Gateway API's definitions, which a file has not passed, and Istio's of servers. */
import { parseDuration } from '../duration.ts';
import type {
  BackendTlsPolicySpec, CorsFilter, FilteredBackend, GatewaySpec, GrpcRouteSpec, HttpRouteMatch, HttpRouteRule, HttpRouteSpec, L4RouteSpec, ListenerSetSpec, ListenerSpec, NamedMatch, RouteFilter, WeightedBackend,
} from '../gateway/resources.ts';
import type { IstioGatewaySpec, IstioServer } from '../resources.ts';
import { isAddress } from './address.ts';
import type { Path } from './document.ts';
import { checkRegex } from './schema.ts';
import type { Report } from './schema.ts';

export function checkGateway(spec: GatewaySpec, report: Report): void {
  if (spec.gatewayClassName === '') report.error(['spec', 'gatewayClassName'], 'the name of the class is empty', 'name a GatewayClass');
  checkListeners(spec.listeners, report);
  for (const [i, { type = 'IPAddress', value = '' }] of (spec.addresses ?? []).entries()) {
    if (type === 'IPAddress' && value !== '' && !isAddress(value)) report.error(['spec', 'addresses', i, 'value'], `"${value}" is no IP address`, 'write an IP address');
  }
}

export function checkListenerSet({ listeners }: ListenerSetSpec, report: Report): void {
  checkListeners(listeners, report);
}

function checkListeners(listeners: readonly ListenerSpec[], report: Report): void {
  if (listeners.length === 0) report.error(['spec', 'listeners'], 'there is no listener', 'add one');
  const names = listeners.map(({ name }) => name);
  for (const [i, listener] of listeners.entries()) {
    const path = ['spec', 'listeners', i];
    if (names.indexOf(listener.name) !== i) report.error([...path, 'name'], `duplicate name "${listener.name}"`, 'give each listener a name of its own');
    checkListenerTls(listener, path, report);
    if (['TCP', 'UDP'].includes(listener.protocol) && (listener.hostname ?? '') !== '') report.error([...path, 'hostname'], `a listener of protocol ${listener.protocol} sees no host names`, 'remove hostname');
    const { namespaces } = listener.allowedRoutes ?? {};
    if (namespaces?.from === 'Selector' && namespaces.selector === undefined) report.error([...path, 'allowedRoutes', 'namespaces'], 'from: Selector needs a selector', 'add selector');
  }
}

function checkListenerTls({ protocol, tls }: ListenerSpec, path: Path, report: Report): void {
  if (['HTTP', 'TCP', 'UDP'].includes(protocol) && tls !== undefined) report.error([...path, 'tls'], `a listener of protocol ${protocol} has no TLS`, 'use protocol HTTPS or TLS, or remove tls');
  if (['HTTPS', 'TLS'].includes(protocol) && tls === undefined) report.error(path, `a listener of protocol ${protocol} needs tls`, 'add tls with certificateRefs');
  if (protocol === 'HTTPS' && tls?.mode === 'Passthrough') report.error([...path, 'tls', 'mode'], 'what is passed through is not seen as HTTP', 'use protocol TLS and a TLSRoute, or mode Terminate');
  const ends = (tls?.mode ?? 'Terminate') === 'Terminate';
  if (tls !== undefined && ends && (tls.certificateRefs ?? []).length === 0 && Object.keys(tls.options ?? {}).length === 0) report.error([...path, 'tls'], 'there is no certificate to end TLS with', 'add certificateRefs');
  for (const option of Object.keys(tls?.options ?? {})) report.warning([...path, 'tls', 'options', option], 'this option is not honoured yet', 'there are none to choose from; remove it', 'ORLOP010');
}

export function checkHttpRoute({ rules = [] }: HttpRouteSpec, report: Report): void {
  for (const [i, rule] of rules.entries()) {
    const path = ['spec', 'rules', i];
    for (const [j, match] of (rule.matches ?? []).entries()) checkHttpMatch(match, [...path, 'matches', j], report);
    checkFilters(rule.filters, [...path, 'filters'], report);
    checkBackends(rule.backendRefs, [...path, 'backendRefs'], report);
    checkPrefixes(rule, path, report);
    checkTimes(rule, path, report);
    if ((rule.backendRefs ?? []).length > 0 && (rule.filters ?? []).some(({ type }) => type === 'RequestRedirect')) report.error([...path, 'backendRefs'], 'a rule that redirects sends nothing to backends', 'remove backendRefs, or the filter');
  }
}

export function checkGrpcRoute({ rules = [] }: GrpcRouteSpec, report: Report): void {
  for (const [i, rule] of rules.entries()) {
    const path = ['spec', 'rules', i];
    for (const [j, { method, headers }] of (rule.matches ?? []).entries()) {
      const at = [...path, 'matches', j];
      if (method !== undefined && method.service === undefined && method.method === undefined) report.error([...at, 'method'], 'there is neither service nor method', 'name one of them, or both');
      if (method?.type === 'RegularExpression') for (const field of ['service', 'method'] as const) checkRegex(method[field] ?? '', [...at, 'method', field], report);
      checkNamed(headers, [...at, 'headers'], report);
    }
    checkFilters(rule.filters, [...path, 'filters'], report);
    checkBackends(rule.backendRefs, [...path, 'backendRefs'], report);
  }
}

export function checkL4GatewayRoute({ rules }: L4RouteSpec, report: Report): void {
  if (rules.length !== 1) report.error(['spec', 'rules'], `there are ${rules.length} rules`, 'write one: connections cannot be told apart');
  for (const [i, { backendRefs }] of rules.entries()) checkBackends(backendRefs, ['spec', 'rules', i, 'backendRefs'], report);
}

function checkHttpMatch({ path: match, headers, queryParams }: HttpRouteMatch, path: Path, report: Report): void {
  const { type = 'PathPrefix', value = '/' } = match ?? {};
  const at = [...path, 'path', 'value'];
  if (type === 'RegularExpression') checkRegex(value, at, report);
  else if (!value.startsWith('/')) report.error(at, `"${value}" does not begin with /`, 'write the path from its beginning');
  else if (/\/\/|\/\.\.?(?:\/|$)|%2f|[#?]/i.test(value)) report.error(at, `"${value}" is not the path of any request as it is matched`, 'write it without //, /./, /../, %2f, # and ?');
  checkNamed(headers, [...path, 'headers'], report);
  checkNamed(queryParams, [...path, 'queryParams'], report);
}

function checkNamed(matches: readonly NamedMatch[] | undefined, path: Path, report: Report): void {
  for (const [i, { type, value }] of (matches ?? []).entries()) if (type === 'RegularExpression') checkRegex(value, [...path, i, 'value'], report);
}

/** The field that goes with each type of filter. */
const FIELD_OF: Readonly<Record<string, keyof RouteFilter>> = {
  RequestHeaderModifier: 'requestHeaderModifier', ResponseHeaderModifier: 'responseHeaderModifier', RequestMirror: 'requestMirror', RequestRedirect: 'requestRedirect', URLRewrite: 'urlRewrite', CORS: 'cors',
};
const STATUSES: readonly number[] = [301, 302, 303, 307, 308];

function checkFilters(filters: readonly RouteFilter[] | undefined, path: Path, report: Report): void {
  const types = (filters ?? []).map(({ type }) => type);
  for (const [i, filter] of (filters ?? []).entries()) {
    const at = [...path, i];
    const field = FIELD_OF[filter.type];
    if (field !== undefined && filter[field] === undefined) report.error(at, `a filter of type ${filter.type} needs ${field}`, `add ${field}`);
    for (const other of Object.values(FIELD_OF)) if (other !== field && filter[other] !== undefined) report.error([...at, other], `${other} does not go with type ${filter.type}`, 'make a filter of its own of it');
    if (filter.type !== 'RequestMirror' && types.indexOf(filter.type) !== i) report.error(at, `there is more than one filter of type ${filter.type}`, 'put them together');
    const { statusCode = 302 } = filter.requestRedirect ?? {};
    if (!STATUSES.includes(statusCode)) report.error([...at, 'requestRedirect', 'statusCode'], `${statusCode} is not one of the values`, `use one of ${STATUSES.join(', ')}`);
    checkMirror(filter, at, report);
    checkCors(filter.cors, [...at, 'cors'], report);
  }
  if (types.includes('RequestRedirect') && types.includes('URLRewrite')) report.error(path, 'RequestRedirect and URLRewrite exclude each other', 'keep one of them');
}

function checkMirror({ requestMirror }: RouteFilter, path: Path, report: Report): void {
  if (requestMirror === undefined) return;
  const { percent, fraction, backendRef } = requestMirror;
  const at = [...path, 'requestMirror'];
  if (percent !== undefined && fraction !== undefined) report.error(at, 'percent and fraction exclude each other', 'keep one of them');
  if (fraction !== undefined && fraction.numerator > (fraction.denominator ?? 100)) report.error([...at, 'fraction'], 'the numerator is larger than the denominator', 'write a share of the whole');
  checkBackends([backendRef], [...at, 'backendRef'], report, true);
}

function checkCors(cors: CorsFilter | undefined, path: Path, report: Report): void {
  for (const field of ['allowOrigins', 'allowMethods', 'allowHeaders'] as const) {
    const values: readonly string[] = cors?.[field] ?? [];
    if (values.length > 1 && values.includes('*')) report.error([...path, field], '"*" stands alone', 'keep "*", or the others');
  }
}

/** `alone`: `path` is that of the one backend. */
function checkBackends(backends: readonly (WeightedBackend | FilteredBackend)[] | undefined, path: Path, report: Report, alone = false): void {
  for (const [i, backend] of (backends ?? []).entries()) {
    const at = alone ? path : [...path, i];
    if ((backend.group ?? '') === '' && (backend.kind ?? 'Service') === 'Service' && backend.port === undefined) report.error(at, 'a Service needs a port', 'add port');
    if ('filters' in backend) checkFilters(backend.filters, [...at, 'filters'], report);
  }
}

/** A prefix can only be replaced where it is known which one was matched. */
function checkPrefixes({ matches = [], filters = [], backendRefs = [] }: HttpRouteRule, path: Path, report: Report): void {
  const all = [...filters, ...backendRefs.flatMap((backend) => backend.filters ?? [])];
  const replaces = all.some(({ requestRedirect, urlRewrite }) => requestRedirect?.path?.type === 'ReplacePrefixMatch' || urlRewrite?.path?.type === 'ReplacePrefixMatch');
  if (replaces && (matches.length !== 1 || (matches[0]?.path?.type ?? 'PathPrefix') !== 'PathPrefix')) report.error(path, 'replacePrefixMatch needs exactly one match, by PathPrefix', 'make a rule of its own of each prefix');
}

function checkTimes({ timeouts }: HttpRouteRule, path: Path, report: Report): void {
  const [request = 0, backendRequest = 0] = [timeouts?.request, timeouts?.backendRequest].map((text) => (text === undefined ? 0 : (parseDuration(text) ?? 0)));
  if (request > 0 && backendRequest > request) report.error([...path, 'timeouts', 'backendRequest'], 'it is longer than the timeout of the whole request', 'shorten it');
}

export function checkBackendTlsPolicy({ validation }: BackendTlsPolicySpec, report: Report): void {
  const { caCertificateRefs = [], wellKnownCACertificates } = validation;
  const path = ['spec', 'validation'];
  if (caCertificateRefs.length > 0 && wellKnownCACertificates !== undefined) report.error(path, 'caCertificateRefs and wellKnownCACertificates exclude each other', 'keep one of them');
  if (caCertificateRefs.length === 0 && wellKnownCACertificates === undefined) report.error(path, 'there is neither caCertificateRefs nor wellKnownCACertificates', 'say which authorities are trusted');
  for (const [i, name] of (validation.subjectAltNames ?? []).entries()) {
    const field = name.type === 'URI' ? 'uri' : 'hostname';
    if (name[field] === undefined) report.error([...path, 'subjectAltNames', i], `type ${name.type} needs ${field}`, `add ${field}`);
  }
}

const HTTP: ReadonlySet<string> = new Set(['HTTP', 'HTTP2', 'GRPC', 'GRPC-WEB']);
const PROTOCOLS: ReadonlySet<string> = new Set([...HTTP, 'HTTPS', 'TLS', 'TCP', 'MONGO']);

export function checkIstioGateway({ servers }: IstioGatewaySpec, report: Report): void {
  if (servers.length === 0) report.error(['spec', 'servers'], 'there is no server', 'add one');
  for (const [i, server] of servers.entries()) checkServer(server, ['spec', 'servers', i], report);
}

function checkServer({ port, hosts, tls }: IstioServer, path: Path, report: Report): void {
  const protocol = port.protocol.toUpperCase();
  if (port.number === 0) report.error([...path, 'port', 'number'], '0 is no port', 'write 1 to 65535');
  if (!PROTOCOLS.has(protocol)) report.error([...path, 'port', 'protocol'], `unknown protocol "${port.protocol}"`, `use one of ${[...PROTOCOLS].join(', ')}`);
  if (hosts.length === 0) report.error([...path, 'hosts'], 'there is no host', 'name the hosts, or "*"');
  for (const [i, host] of hosts.entries()) checkServerHost(host, [...path, 'hosts', i], report);
  if (HTTP.has(protocol) && tls !== undefined && tls.httpsRedirect !== true) report.error([...path, 'tls'], `a server of protocol ${protocol} has no TLS`, 'use protocol HTTPS, or keep httpsRedirect alone');
  if (!HTTP.has(protocol) && tls?.httpsRedirect === true) report.error([...path, 'tls', 'httpsRedirect'], 'only plain HTTP can be redirected', 'put it into a server of protocol HTTP');
  if ((protocol === 'HTTPS' || protocol === 'TLS') && tls === undefined) report.error(path, `a server of protocol ${protocol} needs tls`, 'add tls');
  if (tls !== undefined && tls.httpsRedirect !== true) checkServerTls(tls, [...path, 'tls'], report);
}

function checkServerHost(text: string, path: Path, report: Report): void {
  const host = text.slice(text.indexOf('/') + 1);
  if (host === '' || host.slice(1).includes('*') || (host.startsWith('*') && host !== '*' && !host.startsWith('*.')) || /[\s/]/.test(host)) report.error(path, `"${text}" is no host`, 'write HOST, *.HOST or *, with NAMESPACE/ before it if need be');
}

function checkServerTls(tls: NonNullable<IstioServer['tls']>, path: Path, report: Report): void {
  const { mode = 'PASSTHROUGH', credentialName, credentialNames = [], tlsCertificates = [], serverCertificate, privateKey, caCertificates, caCertCredentialName } = tls;
  const names = credentialName === undefined ? credentialNames : [credentialName, ...credentialNames];
  const pairs = [{ serverCertificate, privateKey, caCertificates }, ...tlsCertificates];
  const hasFiles = pairs.some((pair) => pair.serverCertificate !== undefined || pair.privateKey !== undefined);
  if (!['SIMPLE', 'MUTUAL', 'OPTIONAL_MUTUAL'].includes(mode)) return;
  if (names.length > 0 && hasFiles) report.error(path, 'a credential and files exclude each other', 'keep one of them');
  if (names.length === 0 && !pairs.some((pair) => pair.serverCertificate !== undefined && pair.privateKey !== undefined)) report.error(path, `mode ${mode} needs a certificate with its key`, 'add credentialName, or serverCertificate and privateKey');
  if (mode !== 'SIMPLE' && names.length === 0 && caCertCredentialName === undefined && !pairs.some((pair) => pair.caCertificates !== undefined)) report.error(path, `mode ${mode} needs authorities to tell clients by`, 'add caCertificates, or caCertCredentialName');
}
