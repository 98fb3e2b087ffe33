/**
 * What would become of a request: the route it takes, the endpoints it may reach and how, and what each of them says to it. The
 * same compiled tables and the same functions as in the data plane, asked about a request that was never sent.
 */
import { formatSpiffeId } from '../core/spiffe.ts';
import { authorize } from './authorize.ts';
import type { Verdict } from './authorize.ts';
import { compile } from './compile/compile.ts';
import { carriesHttp } from './compile/protocol.ts';
import { findGateway, isGatewayName, stepAt } from './gateway/explain.ts';
import { qualify } from './host.ts';
import type { RequestView } from './match.ts';
import { normalizePath } from './path.ts';
import { applyRewrite, findDestination, findRoute, findTcpRoute, findVirtualHost } from './route.ts';
import type { MtlsMode } from './security.ts';
import type { Snapshot, Workload } from './snapshot.ts';
import type { ClusterSpec, EndpointSpec, ForwardAction, Route, Table, WeightedCluster } from './table.ts';
import { upstreamKind } from './upstream-kind.ts';
import type { UpstreamKind } from './upstream-kind.ts';

export interface Question {
  /** `namespace/pod`, or `namespace/serviceaccount`; or `gateway/namespace/name`, for a client outside that calls a gateway. */
  readonly from: string;
  /** `host:port` of a service, or `namespace/pod:port`; of a gateway, as clients outside ask for it. */
  readonly to: string;
  readonly method: string;
  /** Path with its query. */
  readonly path: string;
  /** Lower-case names. */
  readonly headers: ReadonlyMap<string, string>;
}

export interface Explanation {
  /** The pod that asks. */
  readonly client: string;
  /** Empty: it is not enrolled, and proves nothing. */
  readonly identity: string;
  readonly to: string;
  readonly protocol: 'http' | 'tcp';
  /** Where the route was written; empty where there is none to take. */
  readonly route: string;
  /** What the route does, when it does not forward: `redirect 301`, `404 NR: no route takes it`. */
  readonly answer: string;
  readonly targets: readonly TargetExplanation[];
}

export interface TargetExplanation {
  readonly cluster: string;
  /** Of the requests, in percent. */
  readonly share: number;
  readonly endpoints: readonly EndpointExplanation[];
}

export interface EndpointExplanation {
  /** `10.244.1.4:9080` */
  readonly address: string;
  /** `ns/name` of the pod; empty for a stranger. */
  readonly workload: string;
  readonly kind: UpstreamKind;
  /** What its server demands; undefined: nothing of the mesh is there to demand it. */
  readonly server: ServerExplanation | undefined;
  readonly allowed: boolean;
}

export interface ServerExplanation {
  readonly mtls: MtlsMode;
  readonly mtlsOrigin: string;
  readonly mtlsMet: boolean;
  /** Path as policies see it. */
  readonly path: string;
  readonly reason: Verdict['reason'];
  readonly policy: string;
  readonly rule: number;
  /** The rule that decided, on one line. */
  readonly ruleText: string;
  /** The external authorizer that has the last word. */
  readonly provider: string;
  /** Some rule asks for tokens that the request does not have. */
  readonly tokenRequired: boolean;
}

/** Answer, or a sentence that says what is wrong with the question. */
export function explain(snapshot: Snapshot, question: Question): Explanation | string {
  if (isGatewayName(question.from)) return explainGateway(snapshot, question);
  const client = findClient(snapshot, question.from);
  if (typeof client === 'string') return client;
  const table = compile(snapshot, client);
  const identity = client.enrolled ? identityOf(snapshot, client) : '';
  const target = findTarget(snapshot, table, client, question.to);
  if (typeof target === 'string') return target;
  const taken = client.enrolled ? takeRoute(table, target, question) : unrouted(target);
  return explanationOf({ snapshot, client, identity, question, authority: target.authority }, taken);
}

/** A request from outside, which the gateway sends on as a client of its own. */
function explainGateway(snapshot: Snapshot, question: Question): Explanation | string {
  const gateway = findGateway(snapshot, question.from);
  if (typeof gateway === 'string') return gateway;
  const { table, identity } = gateway;
  const step = stepAt(gateway, question.to, requestOf(question, question.to));
  if (typeof step === 'string') return step;
  const taken: Taken = step.kind === 'answer'
    ? { protocol: 'http', route: '', answer: step.answer, clusters: [] }
    : step.kind === 'connection'
      ? { protocol: 'tcp', route: step.route.origin, answer: '', clusters: shares(table, step.route.clusters, step.route.weightTotal, undefined) }
      : takeAction(table, step.route, step.request);
  return explanationOf({ snapshot, client: { id: question.from, node: '', enrolled: true, addresses: [] }, identity, question, authority: question.to }, taken);
}

function explanationOf(asking: Asking, { protocol, route, answer, clusters }: Taken): Explanation {
  return {
    client: asking.client.id,
    identity: asking.identity,
    to: asking.authority,
    protocol,
    route,
    answer,
    targets: clusters.map(({ spec, share, request }) => ({
      cluster: spec.key,
      share,
      endpoints: spec.endpoints.map((endpoint) => explainEndpoint(asking, spec, endpoint, request)),
    })),
  };
}

function findClient({ workloads }: Snapshot, from: string): Workload | string {
  const [namespace = '', name = ''] = from.split('/', 2);
  if (name === '') return `"${from}" is no client; name a pod or a service account as NAMESPACE/NAME`;
  const found = workloads.find(({ id }) => id === from) ?? workloads.find((one) => one.namespace === namespace && one.serviceAccount === name);
  if (found !== undefined) return found;
  const near = workloads.filter((one) => one.namespace === namespace).map(({ id }) => id);
  return `there is neither a pod nor a service account with a pod called ${from}; there ${near.length === 1 ? 'is' : 'are'} ${near.slice(0, 10).join(', ') || 'no pods in that namespace'}`;
}

interface Target {
  readonly authority: string;
  readonly port: number;
  /** An address that the client would connect to, when it has one. */
  readonly address: string;
  /** Of the service, or the pod itself where it is called directly. */
  readonly cluster: ClusterSpec | undefined;
}

function findTarget(snapshot: Snapshot, table: Table, client: Workload, to: string): Target | string {
  const [, name = to, portText] = /^(.*?)(?::(\d+))?$/.exec(to) ?? [];
  if (name.includes('/')) return findPod(snapshot, name, Number(portText ?? 0));
  const host = name.split('.').length === 2 && snapshot.services.some((service) => service.host === `${name}.svc.cluster.local`) ? `${name}.svc.cluster.local` : qualify(name, client.namespace);
  const clusters = [...table.clusters.values()].filter(({ service, subset }) => service.host === host && subset === '');
  if (clusters.length === 0) {
    // A host that only a VirtualService knows.
    return portText === undefined ? `there is no service "${host}" for clients in ${client.namespace}; name one as HOST:PORT, or a pod as NAMESPACE/POD:PORT` : { authority: to, port: Number(portText), address: '', cluster: undefined };
  }
  const cluster = portText === undefined ? (clusters.length === 1 ? clusters[0] : undefined) : clusters.find(({ port }) => port === Number(portText));
  if (cluster === undefined) return `${host} has the ports ${clusters.map(({ port }) => port).join(', ')}; add one of them: ${name}:${clusters[0]?.port ?? 0}`;
  const service = snapshot.services.find((one) => one.host === host);
  return { authority: `${name}:${cluster.port}`, port: cluster.port, address: service?.clusterIPs[0] ?? '', cluster };
}

function findPod({ workloads, mesh }: Snapshot, id: string, port: number): Target | string {
  const pod = workloads.find((one) => one.id === id);
  const [address] = pod?.addresses ?? [];
  if (pod === undefined || address === undefined) return `there is no pod ${id} with an address`;
  if (port === 0) return `say which port of ${id}: ${id}:8080`;
  const { namespace, serviceAccount, node, enrolled } = pod;
  const identity = formatSpiffeId({ trustDomain: mesh.trustDomain, namespace, serviceAccount });
  const endpoint: EndpointSpec = { address, port, weight: 1, workload: id, node, enrolled, identity };
  return { authority: `${address}:${port}`, port, address, cluster: passthrough(endpoint) };
}

/** A pod that is called by its own address. */
function passthrough(endpoint: EndpointSpec): ClusterSpec {
  return {
    key: 'PassthroughCluster', service: { host: 'unknown', name: 'PassthroughCluster', namespace: 'unknown' }, subset: '', port: endpoint.port, protocol: 'sniff', discovery: 'original',
    endpoints: [endpoint], balancer: 'PASSTHROUGH', limits: UNLIMITED, outlier: undefined, tls: undefined, subjectAltNames: [],
  };
}

const UNLIMITED: ClusterSpec['limits'] = {
  maxConnections: Infinity, connectTimeoutMs: 0, tcpIdleTimeoutMs: 0, maxConnectionDurationMs: 0, keepalive: undefined, maxPendingRequests: Infinity, maxRequests: Infinity,
  maxRequestsPerConnection: 0, maxRetries: Infinity, httpIdleTimeoutMs: 0,
};

interface Taken {
  readonly protocol: 'http' | 'tcp';
  readonly route: string;
  readonly answer: string;
  readonly clusters: readonly { readonly spec: ClusterSpec; readonly share: number; readonly request: RequestView | undefined }[];
}

/** The client is not in the mesh: the Service's own balancing, and no route of ours. */
function unrouted({ cluster }: Target): Taken {
  const clusters = cluster === undefined ? [] : [{ spec: cluster, share: 100, request: undefined }];
  return { protocol: 'http', route: 'none: the client is not enrolled', answer: cluster === undefined ? 'nothing of the mesh knows this host' : '', clusters };
}

function takeRoute(table: Table, target: Target, question: Question): Taken {
  const { port, address, cluster, authority } = target;
  const destination = address === '' ? undefined : findDestination(table, address, port);
  const request = requestOf(question, authority);
  if (destination !== undefined && !carriesHttp(destination.protocol)) {
    const route = findTcpRoute(destination.tcpRoutes, address);
    return { protocol: 'tcp', route: route?.origin ?? '', answer: route === undefined ? 'no route takes it' : '', clusters: shares(table, route?.clusters ?? [], route?.weightTotal ?? 1, undefined) };
  }
  const host = findVirtualHost(table, port, destination, authority);
  if (host === undefined) {
    if (cluster === undefined) return { protocol: 'http', route: '', answer: table.outbound.mode === 'ALLOW_ANY' ? 'outside the registry: it goes where the client connects to' : '502: outside the registry, and outboundTrafficPolicy is REGISTRY_ONLY', clusters: [] };
    return { protocol: 'http', route: 'none: the pod is called by its own address', answer: '', clusters: [{ spec: cluster, share: 100, request }] };
  }
  const route = findRoute(host, request);
  if (route === undefined) return { protocol: 'http', route: '', answer: `404 NR: no route of ${host.name} takes it`, clusters: [] };
  return takeAction(table, route, request);
}

function takeAction(table: Table, { action, origin }: Route, request: RequestView): Taken {
  switch (action.kind) {
    case 'forward':
      return { protocol: 'http', route: origin, answer: invalidShares(action), clusters: shares(table, action.clusters, action.weightTotal, rewritten(request, action)) };
    case 'redirect':
    case 'direct':
      return { protocol: 'http', route: origin, answer: `${action.kind === 'redirect' ? 'redirect' : 'answer of the route'} ${action.status}`, clusters: [] };
    case 'passthrough':
      return { protocol: 'http', route: origin, answer: 'it goes where the client connects to', clusters: [] };
  }
}

/** Backends of a Gateway API route that cannot be used. */
function invalidShares({ clusters, weightTotal }: ForwardAction): string {
  return clusters.flatMap(({ invalid, weight }) => (invalid === undefined ? [] : [`500 for ${Math.round((1000 * weight) / weightTotal) / 10} %: ${invalid}`])).join('; ');
}

function shares(table: Table, clusters: readonly WeightedCluster[], total: number, request: RequestView | undefined): Taken['clusters'] {
  return clusters.flatMap(({ cluster, weight }) => {
    const spec = table.clusters.get(cluster);
    return spec === undefined ? [] : [{ spec, share: (100 * weight) / total, request }];
  });
}

function requestOf({ method, path: target, headers }: Question, authority: string): RequestView {
  const [path = '', ...rest] = target.split('?');
  return { method, path, query: rest.join('?'), scheme: 'http', authority, header: (name) => (name === 'host' ? authority : headers.get(name)) };
}

function rewritten(request: RequestView, { rewrite }: ForwardAction): RequestView {
  if (rewrite === undefined) return request;
  const [path = ''] = applyRewrite(rewrite, request.path).split('?');
  return { ...request, path, authority: rewrite.authority ?? request.authority };
}

interface Asking {
  readonly snapshot: Snapshot;
  readonly client: Pick<Workload, 'id' | 'node' | 'enrolled' | 'addresses'>;
  readonly identity: string;
  readonly question: Question;
  readonly authority: string;
}

function explainEndpoint(asking: Asking, cluster: ClusterSpec, endpoint: EndpointSpec, request: RequestView | undefined): EndpointExplanation {
  const { client, snapshot } = asking;
  const kind = client.enrolled ? upstreamKind(cluster, endpoint, endpoint.enrolled && endpoint.node === client.node) : 'plain';
  const pod = endpoint.workload === undefined ? undefined : snapshot.workloads.find(({ id }) => id === endpoint.workload);
  const server = pod === undefined || !pod.enrolled ? undefined : explainServer(asking, pod, endpoint, kind, request);
  const allowed = server === undefined || (server.mtlsMet && !server.tokenRequired && ['open', 'allowed'].includes(server.reason));
  return { address: `${endpoint.address}:${endpoint.port}`, workload: endpoint.workload ?? '', kind, server, allowed };
}

function explainServer({ client, identity, snapshot, question, authority }: Asking, pod: Workload, { address, port }: EndpointSpec, kind: UpstreamKind, routed: RequestView | undefined): ServerExplanation {
  const { security, inbound } = compile(snapshot, pod);
  const { mtls, authorization, jwtRules, pathNormalization } = security;
  const secure = kind === 'local' || kind === 'hbone';
  const mode = mtls.ports.get(port) ?? mtls.default;
  const protocol = inbound.get(port)?.protocol ?? 'sniff';
  const sent = routed ?? requestOf(question, authority);
  const http = protocol === 'tcp' || protocol === 'tls' ? undefined : { ...sent, path: normalizePath(sent.path, pathNormalization) };
  const sourceAddress = client.addresses.find((one) => one.includes(':') === address.includes(':')) ?? client.addresses[0] ?? '';
  const verdict = authorize(authorization, { identity: secure ? identity : '', sourceAddress, remoteAddress: sourceAddress, destinationAddress: address, destinationPort: port, sni: '', http, authentication: undefined });
  const { reason, policy, rule, custom } = verdict;
  const all = [...authorization.custom, ...authorization.deny, ...authorization.allow];
  return {
    mtls: mode,
    mtlsOrigin: mtls.portOrigins.get(port) ?? mtls.defaultOrigin,
    mtlsMet: secure || mode !== 'STRICT',
    path: http?.path ?? '',
    reason,
    policy,
    rule,
    ruleText: all.find(({ origin }) => origin === policy)?.rules.find(({ index }) => index === rule)?.text ?? '',
    provider: custom?.provider.name ?? '',
    tokenRequired: http !== undefined && jwtRules.some(({ required }) => required),
  };
}

function identityOf({ mesh: { trustDomain } }: Snapshot, { namespace, serviceAccount }: Workload): string {
  return formatSpiffeId({ trustDomain, namespace, serviceAccount });
}
