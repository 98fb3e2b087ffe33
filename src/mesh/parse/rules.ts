/** What a schema cannot say: rules between fields of one object (Istio's admission validation). */
import { coverage } from '../host.ts';
import { parseDuration } from '../duration.ts';
import type { ClientTls, DestinationRuleSpec, HttpRoute, L4Route, ServiceEntrySpec, StringMatch, VirtualServiceSpec, WorkloadEntrySpec } from '../resources.ts';
import { isAddress, isNetwork } from './address.ts';
import { checkBackendTlsPolicy, checkGateway, checkGrpcRoute, checkHttpRoute as checkGatewayHttpRoute, checkIstioGateway, checkL4GatewayRoute, checkListenerSet } from './gateway-rules.ts';
import type { Path } from './document.ts';
import { nearest } from './schema.ts';
import type { Report } from './schema.ts';
import { checkAuthorizationPolicy, checkPeerAuthentication, checkRequestAuthentication } from './security-rules.ts';

/** gRPC status names by number (google.golang.org/grpc/codes). */
export const GRPC_STATUS: readonly string[] = [
  'OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED', 'NOT_FOUND', 'ALREADY_EXISTS', 'PERMISSION_DENIED', 'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION', 'ABORTED', 'OUT_OF_RANGE', 'UNIMPLEMENTED', 'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS', 'UNAUTHENTICATED',
];

/** Envoy's retry conditions that are honoured; bare numbers are too. */
export const RETRY_ON: readonly string[] = [
  '5xx', 'gateway-error', 'reset', 'reset-before-request', 'connect-failure', 'refused-stream', 'retriable-4xx', 'retriable-status-codes',
  'cancelled', 'deadline-exceeded', 'internal', 'resource-exhausted', 'unavailable',
];

/** Known to Envoy, of no use here. */
const RETRY_ON_LATER: readonly string[] = ['envoy-ratelimited', 'retriable-headers', 'http3-post-connect-failure'];
/** Protocols of a ServiceEntry's port. */
const PROTOCOLS: readonly string[] = ['HTTP', 'HTTPS', 'HTTP2', 'GRPC', 'GRPC-WEB', 'HTTP_PROXY', 'MONGO', 'REDIS', 'MYSQL', 'TCP', 'TLS', 'UDP'];
const DIRECT_BODY_BYTES_MAX = 1_048_576;

/** Rules for the spec of a kind; kinds without any are not listed. */
export const RULES: Readonly<Record<string, (spec: never, report: Report) => void>> = {
  VirtualService: checkVirtualService,
  DestinationRule: checkDestinationRule,
  ServiceEntry: checkServiceEntry,
  WorkloadEntry: checkWorkloadEntry,
  Service: checkService,
  PeerAuthentication: checkPeerAuthentication,
  RequestAuthentication: checkRequestAuthentication,
  AuthorizationPolicy: checkAuthorizationPolicy,
  'Gateway.networking.istio.io': checkIstioGateway,
  Gateway: checkGateway,
  ListenerSet: checkListenerSet,
  HTTPRoute: checkGatewayHttpRoute,
  GRPCRoute: checkGrpcRoute,
  TLSRoute: checkL4GatewayRoute,
  TCPRoute: checkL4GatewayRoute,
  BackendTLSPolicy: checkBackendTlsPolicy,
};

function checkVirtualService(spec: VirtualServiceSpec, report: Report): void {
  const { hosts = [], http = [], tls = [], tcp = [], gateways = ['mesh'] } = spec;
  if (http.length + tls.length + tcp.length === 0) report.error(['spec'], 'there is no http, tls or tcp route', 'add at least one');
  if (hosts.length === 0 && (tls.length > 0 || tcp.length > 0 || spec.gateways !== undefined)) report.error(['spec'], 'hosts is missing', 'name the hosts; only a delegate (http routes alone, no gateways) has none');
  const again = repeated(hosts);
  for (const [i, host] of hosts.entries()) {
    checkHost(host, ['spec', 'hosts', i], report);
    if (host === '*' && gateways.includes('mesh')) report.error(['spec', 'hosts', i], 'the host "*" cannot be used in the mesh', 'name the hosts, or bind the VirtualService to gateways only');
    if (again.has(i)) report.error(['spec', 'hosts', i], `duplicate host "${host}"`, 'name each host once');
  }
  checkExportTo(spec.exportTo, report);
  for (const [i, route] of http.entries()) checkHttpRoute(route, ['spec', 'http', i], hosts.length === 0, report);
  const all = http.findIndex(({ match = [] }) => match.length === 0);
  if (all >= 0 && all < http.length - 1) report.warning(['spec', 'http', all + 1], `http[${all}] takes every request, so this route and those after it get none`, `move http[${all}] to the end, or give it a match`, 'IST0130');
  const isCovered = coverage(hosts);
  for (const [i, route] of tls.entries()) checkTlsRoute(route, ['spec', 'tls', i], isCovered, report);
  for (const [i, route] of tcp.entries()) checkL4Route(route, ['spec', 'tcp', i], report);
}

function checkHttpRoute(route: HttpRoute, path: Path, isDelegate: boolean, report: Report): void {
  const actions = (['route', 'redirect', 'directResponse', 'delegate'] as const).filter((name) => route[name] !== undefined);
  if (actions.length === 0) report.error(path, 'there is neither route, redirect, directResponse nor delegate', 'say what becomes of the request');
  if (actions.length > 1) report.error(path, `${actions.join(' and ')} exclude each other`, 'keep one of them');
  if (isDelegate && route.delegate !== undefined) report.error([...path, 'delegate'], 'a delegate cannot delegate', 'Istio allows one level');
  if (route.redirect !== undefined || route.directResponse !== undefined) {
    for (const other of ['fault', 'rewrite'] as const) if (route[other] !== undefined) report.error([...path, other], `${other} has no effect beside ${actions[0] ?? ''}`, `remove ${other}`);
  }
  if (route.rewrite !== undefined && route.route === undefined && route.redirect === undefined && route.directResponse === undefined && route.delegate === undefined) report.error([...path, 'rewrite'], 'rewrite needs a route', 'add route');
  if (route.mirror !== undefined && route.mirrors !== undefined) report.error([...path, 'mirrors'], 'mirror and mirrors exclude each other', 'use mirrors');
  checkWeights(route.route, path, report);
  for (const [i, match] of (route.match ?? []).entries()) checkHttpMatch(match as Readonly<Record<string, unknown>>, [...path, 'match', i], report);
  checkRetries(route, path, report);
  checkFault(route, path, report);
  checkRedirect(route, path, report);
  checkCors(route, path, report);
  const { uri, uriRegexRewrite } = route.rewrite ?? {};
  if (uriRegexRewrite !== undefined && (uriRegexRewrite.match === undefined || uriRegexRewrite.rewrite === undefined)) report.error([...path, 'rewrite', 'uriRegexRewrite'], 'match and rewrite are both needed', 'add the other');
  if (uri !== undefined && uriRegexRewrite !== undefined) report.error([...path, 'rewrite'], 'uri and uriRegexRewrite exclude each other', 'keep one of them');
  const body = route.directResponse?.body;
  if (body !== undefined && (body.string?.length ?? body.bytes?.length ?? 0) > DIRECT_BODY_BYTES_MAX) report.error([...path, 'directResponse', 'body'], 'the body is larger than 1 MB', 'serve it from an endpoint');
  if (route.timeout !== undefined && (parseDuration(route.timeout) ?? 0) > 0 && (parseDuration(route.timeout) ?? 0) < 1) report.error([...path, 'timeout'], 'shorter than 1 ms', 'use 1ms or more, or 0s for none');
}

/** Share of traffic: several destinations need a sum above 0. */
function checkWeights(route: HttpRoute['route'] | L4Route['route'], path: Path, report: Report): void {
  if (route === undefined) return;
  if (route.length === 0) report.error([...path, 'route'], 'there is no destination', 'add one');
  if (route.length > 1 && route.reduce((sum, { weight }) => sum + (weight ?? 0), 0) === 0) {
    report.error([...path, 'route'], 'the weights add up to 0, so no destination gets any traffic', 'give at least one destination a weight above 0', 'ORLOP020');
  }
}

function checkHttpMatch(match: Readonly<Record<string, unknown>>, path: Path, report: Report): void {
  for (const field of ['uri', 'scheme', 'method', 'authority']) checkStringMatch(match[field] as StringMatch | undefined, [...path, field], false, report);
  for (const field of ['headers', 'withoutHeaders', 'queryParams']) {
    for (const [key, value] of Object.entries((match[field] ?? {}) as Record<string, StringMatch>)) {
      if (field !== 'queryParams') checkHeaderName(key, [...path, field, key], report);
      if (key === '') report.error([...path, field], 'a key is empty', 'name the header or parameter');
      checkStringMatch(value, [...path, field, key], true, report);
    }
  }
}

function checkHeaderName(name: string, path: Path, report: Report): void {
  if (['uri', 'scheme', 'method', 'authority'].includes(name)) report.warning(path, `"${name}" is no header`, `it has no effect here (in Istio neither); write ${name} beside headers`, 'ORLOP014');
  else if (name.startsWith('@request.auth')) report.warning(path, 'claims of tokens are not honoured yet', 'no request has this header, so the block is never taken', 'ORLOP010');
}

function checkStringMatch(match: StringMatch | undefined, path: Path, emptyIsPresence: boolean, report: Report): void {
  if (match === undefined || match === null) return;
  const kinds = Object.keys(match);
  if (kinds.length > 1) report.error(path, `${kinds.join(' and ')} exclude each other`, 'keep one of exact, prefix, regex');
  if (kinds.length === 0 && !emptyIsPresence) report.error(path, 'there is neither exact, prefix nor regex', 'add one of them');
}

function checkRetries({ retries }: HttpRoute, path: Path, report: Report): void {
  const at = [...path, 'retries'];
  if (retries !== undefined && !retries.attempts && (retries.perTryTimeout !== undefined || retries.retryOn !== undefined)) report.error(at, 'attempts 0, or none, switches retries off', 'remove the other fields, or set attempts');
  for (const token of (retries?.retryOn ?? '').split(',').map((part) => part.trim())) {
    if (token === '' || RETRY_ON.includes(token) || /^\d{3}$/.test(token)) continue;
    if (RETRY_ON_LATER.includes(token)) report.warning([...at, 'retryOn'], `"${token}" is not honoured yet`, 'it has no effect', 'ORLOP010');
    else report.error([...at, 'retryOn'], `unknown condition "${token}"`, `did you mean "${nearest(token, RETRY_ON) ?? 'connect-failure'}"?`);
  }
}

function checkFault({ fault }: HttpRoute, path: Path, report: Report): void {
  if (fault === undefined) return;
  const at = [...path, 'fault'];
  if (fault.delay === undefined && fault.abort === undefined) report.error(at, 'there is neither delay nor abort', 'add one of them');
  if (fault.delay !== undefined && (fault.delay.fixedDelay === undefined || (parseDuration(fault.delay.fixedDelay) ?? 1) < 1)) report.error([...at, 'delay'], 'fixedDelay must be 1 ms or more', 'set fixedDelay');
  const { abort } = fault;
  if (abort === undefined) return;
  if ((abort.httpStatus === undefined) === (abort.grpcStatus === undefined)) report.error([...at, 'abort'], 'exactly one of httpStatus and grpcStatus is needed', 'set one of them');
  if (abort.grpcStatus !== undefined && !GRPC_STATUS.includes(abort.grpcStatus)) report.error([...at, 'abort', 'grpcStatus'], `unknown gRPC status "${abort.grpcStatus}"`, `did you mean "${nearest(abort.grpcStatus, GRPC_STATUS) ?? 'UNAVAILABLE'}"?`);
}

function checkRedirect({ redirect, match }: HttpRoute, path: Path, report: Report): void {
  if (redirect === undefined) return;
  const at = [...path, 'redirect'];
  if (redirect.uri === undefined && redirect.prefixRewrite === undefined && redirect.authority === undefined && redirect.scheme === undefined && redirect.port === undefined && redirect.derivePort === undefined) {
    report.error(at, 'the redirect changes nothing', 'set uri, authority, scheme or port');
  }
  if (redirect.uri !== undefined && redirect.prefixRewrite !== undefined) report.error(at, 'uri and prefixRewrite exclude each other', 'keep one of them');
  if (redirect.prefixRewrite !== undefined && !(match !== undefined && match.length > 0 && match.every(({ uri }) => uri?.prefix !== undefined))) report.error([...at, 'prefixRewrite'], 'prefixRewrite needs a prefix match in every block', 'match by uri.prefix');
  if (redirect.port !== undefined && redirect.derivePort !== undefined) report.error(at, 'port and derivePort exclude each other', 'keep one of them');
}

function checkCors({ corsPolicy }: HttpRoute, path: Path, report: Report): void {
  for (const [i, origin] of (corsPolicy?.allowOrigins ?? []).entries()) checkStringMatch(origin, [...path, 'corsPolicy', 'allowOrigins', i], false, report);
  const maxAge = corsPolicy?.maxAge === undefined ? undefined : parseDuration(corsPolicy.maxAge);
  if (maxAge !== undefined && maxAge % 1000 !== 0) report.error([...path, 'corsPolicy', 'maxAge'], 'not a whole number of seconds', 'use whole seconds');
}

function checkTlsRoute(route: L4Route, path: Path, isCovered: (host: string) => boolean, report: Report): void {
  checkL4Route(route, path, report);
  for (const [i, match] of (route.match ?? []).entries()) {
    if ((match.sniHosts ?? []).length === 0) report.error([...path, 'match', i], 'there are no sniHosts', 'name the server names to match');
    for (const [j, sni] of (match.sniHosts ?? []).entries()) {
      if (!isCovered(sni)) report.error([...path, 'match', i, 'sniHosts', j], `"${sni}" is not covered by the hosts of the VirtualService`, 'add it to hosts');
    }
  }
}

function checkL4Route(route: L4Route, path: Path, report: Report): void {
  if (route.route === undefined) report.error(path, 'there is no route', 'add a destination');
  checkWeights(route.route, path, report);
  for (const [i, match] of (route.match ?? []).entries()) {
    for (const [j, subnet] of (match.destinationSubnets ?? []).entries()) checkSubnet(subnet, [...path, 'match', i, 'destinationSubnets', j], report);
  }
}

function checkDestinationRule(spec: DestinationRuleSpec, report: Report): void {
  checkHost(spec.host, ['spec', 'host'], report);
  checkExportTo(spec.exportTo, report);
  checkSelector(spec.workloadSelector?.matchLabels, ['spec', 'workloadSelector', 'matchLabels'], report);
  const names = (spec.subsets ?? []).map(({ name }) => name);
  const again = repeated(names);
  for (const [i, name] of names.entries()) {
    if (again.has(i)) report.error(['spec', 'subsets', i, 'name'], `duplicate subset "${name}"`, 'give each subset a name of its own', 'ORLOP021');
    if (typeof name === 'string' && !/^[a-zA-Z0-9]([-a-zA-Z0-9_.]*[a-zA-Z0-9])?$/.test(name)) report.error(['spec', 'subsets', i, 'name'], `"${name}" is no valid subset name`, 'use letters, digits and dashes');
  }
  const policies: [unknown, Path][] = [[spec.trafficPolicy, ['spec', 'trafficPolicy']], ...(spec.subsets ?? []).map(({ trafficPolicy }, i): [unknown, Path] => [trafficPolicy, ['spec', 'subsets', i, 'trafficPolicy']])];
  for (const [policy, path] of policies) {
    if (policy !== undefined && policy !== null && Object.keys(policy).length === 0) report.error(path, 'the trafficPolicy is empty', 'remove it, or say what it should do');
    checkPool(policy as DestinationRuleSpec['trafficPolicy'], path, report);
    checkTls(policy as DestinationRuleSpec['trafficPolicy'], path, report);
  }
}

function checkPool(policy: DestinationRuleSpec['trafficPolicy'], path: Path, report: Report): void {
  const connectTimeout = policy?.connectionPool?.tcp?.connectTimeout;
  if (connectTimeout !== undefined && (parseDuration(connectTimeout) ?? 1) < 1) report.error([...path, 'connectionPool', 'tcp', 'connectTimeout'], 'shorter than 1 ms', 'use 1ms or more');
  for (const [i, settings] of (policy?.portLevelSettings ?? []).entries()) {
    if (settings.port?.number === undefined) report.error([...path, 'portLevelSettings', i], 'port.number is missing', 'say which port it is for');
  }
}

function checkTls(policy: DestinationRuleSpec['trafficPolicy'], path: Path, report: Report): void {
  const blocks: [ClientTls | undefined, Path][] = [[policy?.tls, [...path, 'tls']], ...(policy?.portLevelSettings ?? []).map(({ tls }, i): [ClientTls | undefined, Path] => [tls, [...path, 'portLevelSettings', i, 'tls']])];
  for (const [tls, at] of blocks) {
    if (tls === undefined) continue;
    const { mode = 'DISABLE', credentialName = '', clientCertificate = '', privateKey = '', caCertificates = '', sni = '', subjectAltNames = [] } = tls;
    const files = clientCertificate !== '' || privateKey !== '' || caCertificates !== '';
    if (mode === 'MUTUAL' && credentialName === '' && (clientCertificate === '' || privateKey === '')) report.error(at, 'mode MUTUAL needs clientCertificate and privateKey, or credentialName', 'name the certificate to show');
    if (credentialName !== '' && files) report.error([...at, 'credentialName'], 'credentialName excludes the paths of files', 'keep one of them');
    if (mode === 'ISTIO_MUTUAL' && (files || credentialName !== '' || sni !== '' || subjectAltNames.length > 0)) report.error(at, 'mode ISTIO_MUTUAL uses the certificates of the mesh, and no other field', 'remove the other fields, or use MUTUAL');
    if (tls.mode === undefined) report.warning([...at], 'without a mode it is DISABLE: plaintext, even to endpoints of the mesh', 'write the mode', 'ORLOP022');
  }
}

function checkServiceEntry(spec: ServiceEntrySpec, report: Report): void {
  const { hosts, addresses = [], ports = [], resolution = 'NONE', endpoints = [] } = spec;
  if (hosts.length === 0) report.error(['spec', 'hosts'], 'there is no host', 'name at least one');
  for (const [i, host] of hosts.entries()) {
    checkHost(host, ['spec', 'hosts', i], report);
    if (host === '*') report.error(['spec', 'hosts', i], 'the host "*" cannot be a service', 'name a domain, or *.domain');
    if (host.startsWith('*') && resolution !== 'NONE' && resolution !== 'STATIC') report.error(['spec', 'hosts', i], 'a wildcard cannot be resolved by DNS', 'use resolution NONE, or a full name');
  }
  for (const [i, address] of addresses.entries()) {
    checkSubnet(address, ['spec', 'addresses', i], report);
    if (address.includes('/') && resolution !== 'NONE' && resolution !== 'STATIC') report.error(['spec', 'addresses', i], 'networks are for resolution NONE and STATIC', 'give a single address');
  }
  const [numbersAgain, namesAgain] = [repeated(ports.map((port) => port.number)), repeated(ports.map(({ name }) => name))];
  for (const [i, port] of ports.entries()) {
    if (port.protocol !== undefined && !PROTOCOLS.includes(port.protocol.toUpperCase())) report.error(['spec', 'ports', i, 'protocol'], `unknown protocol "${port.protocol}"`, `did you mean ${nearest(port.protocol, PROTOCOLS) ?? 'TCP'}?`);
    if (numbersAgain.has(i)) report.error(['spec', 'ports', i, 'number'], `duplicate port ${port.number}`, 'list each port once');
    if (namesAgain.has(i)) report.error(['spec', 'ports', i, 'name'], `duplicate port name "${port.name}"`, 'give each port a name of its own');
  }
  if (resolution === 'NONE' && endpoints.length > 0) report.error(['spec', 'endpoints'], 'resolution NONE has no endpoints of its own', 'use STATIC or DNS');
  if (resolution === 'STATIC' && endpoints.length === 0 && spec.workloadSelector === undefined) report.error(['spec'], 'resolution STATIC needs endpoints or a workloadSelector', 'add endpoints');
  if (endpoints.length > 0 && spec.workloadSelector !== undefined) report.error(['spec', 'workloadSelector'], 'endpoints and workloadSelector exclude each other', 'keep one of them');
  if (resolution === 'DNS_ROUND_ROBIN' && endpoints.length > 1) report.error(['spec', 'endpoints'], 'DNS_ROUND_ROBIN has one endpoint at most', 'use resolution DNS');
  checkSelector(spec.workloadSelector?.labels, ['spec', 'workloadSelector', 'labels'], report);
  for (const [i, endpoint] of endpoints.entries()) {
    const { address } = endpoint;
    checkEndpoint(endpoint, ['spec', 'endpoints', i], report);
    if (resolution === 'STATIC' && address !== undefined && !isAddress(address)) report.error(['spec', 'endpoints', i, 'address'], `"${address}" is no IP address`, 'use resolution DNS for names');
  }
  checkExportTo(spec.exportTo, report);
}

function checkService({ clusterIP, clusterIPs = [], externalName, type, ports = [] }: ServiceFields, report: Report): void {
  for (const [address, path] of [[clusterIP, ['clusterIP']], ...clusterIPs.map((one, i) => [one, ['clusterIPs', i]])] as [string | undefined, Path][]) {
    if (address !== undefined && address !== '' && address !== 'None' && !isAddress(address)) report.error(['spec', ...path], `"${address}" is neither an IP address nor None`, 'write an IP address, or None for a headless Service');
  }
  if (type === 'ExternalName' && (externalName ?? '') === '') report.error(['spec'], 'externalName is missing', 'name the host that it stands for');
  const again = repeated(ports.map(({ port, protocol = 'TCP' }) => `${port} ${protocol}`));
  for (const [i, { name = '', port }] of ports.entries()) {
    if (ports.length > 1 && name === '') report.error(['spec', 'ports', i], 'a Service with several ports needs a name for each', 'add name');
    if (again.has(i)) report.error(['spec', 'ports', i, 'port'], `duplicate port ${port}`, 'list each port once');
  }
}

/** The part of a core/v1 ServiceSpec that has rules. */
interface ServiceFields {
  readonly clusterIP?: string;
  readonly clusterIPs?: readonly string[];
  readonly externalName?: string;
  readonly type?: string;
  readonly ports?: readonly { readonly name?: string; readonly port: number; readonly protocol?: string }[];
}

function checkWorkloadEntry(spec: WorkloadEntrySpec, report: Report): void {
  checkEndpoint(spec, ['spec'], report);
}

/** A WorkloadEntry, by itself or as an endpoint of a ServiceEntry. */
function checkEndpoint({ address = '', ports = {}, network = '' }: WorkloadEntrySpec & { readonly network?: string }, path: Path, report: Report): void {
  if (address === '' && network === '') report.error(path, 'address is missing', 'give its IP address or DNS name');
  if (address.startsWith('unix://')) checkSocket(address.slice('unix://'.length), Object.keys(ports).length > 0, path, report);
  for (const name of Object.keys(ports)) {
    if (!/^[a-zA-Z0-9]([-a-zA-Z0-9_.]*[a-zA-Z0-9])?$/.test(name)) report.error([...path, 'ports', name], `"${name}" is no port name`, 'use letters, digits and dashes');
  }
}

function checkSocket(socket: string, hasPorts: boolean, path: Path, report: Report): void {
  const at = [...path, 'address'];
  if (!socket.startsWith('/') && !socket.startsWith('@')) report.error(at, 'a unix socket needs an absolute path', 'write unix:///path, or unix://@name');
  if (socket.endsWith('/')) report.error(at, 'a unix socket cannot be a directory', 'name the socket itself');
  if (hasPorts) report.error([...path, 'ports'], 'a unix socket has no ports', 'remove ports');
  report.warning(at, 'unix sockets are not honoured yet', 'give an IP address or DNS name', 'ORLOP010');
}

function checkSelector(labels: Readonly<Record<string, string>> | undefined, path: Path, report: Report): void {
  for (const [key, value] of Object.entries(labels ?? {})) {
    if (key.includes('*') || value.includes('*')) report.error([...path, key], 'a selector has no wildcards', 'name the exact value of the label');
  }
}

function checkHost(host: unknown, path: Path, report: Report): void {
  if (typeof host !== 'string') return;
  if (host === '') report.error(path, 'the host is empty', 'name a host');
  else if (host.slice(1).includes('*')) report.error(path, `"${host}": a wildcard may only stand at the beginning`, 'write * or *.example.com');
  else if (/[\s/]/.test(host)) report.error(path, `"${host}" is no host name`, 'use a DNS name');
}

function checkSubnet(text: unknown, path: Path, report: Report): void {
  if (typeof text === 'string' && !isNetwork(text)) report.error(path, `"${text}" is neither an IP address nor a network`, 'write 10.0.0.1 or 10.0.0.0/8');
}

function checkExportTo(exportTo: readonly string[] | undefined, report: Report): void {
  if (exportTo !== undefined && exportTo.length > 1 && (exportTo.includes('*') || exportTo.includes('~'))) report.error(['spec', 'exportTo'], '"*" and "~" stand alone', 'list namespaces, or one of "." "*" "~"');
}

/** The places of values that have stood before them already. */
function repeated(values: readonly unknown[]): ReadonlySet<number> {
  const seen = new Set<unknown>();
  return new Set(values.flatMap((value, i) => {
    if (seen.has(value)) return [i];
    seen.add(value);
    return [];
  }));
}
