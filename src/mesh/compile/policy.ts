/** DestinationRules: which one a client gets for a host, and what its parts add up to for one port of one subset. */
import { CONNECT_TIMEOUT_MS, PENDING_REQUESTS_MAX, TCP_IDLE_TIMEOUT_MS, UPSTREAM_IDLE_TIMEOUT_MS } from '../../core/limits.ts';
import { durationMs } from '../duration.ts';
import { bySpecificity, covers, qualify } from '../host.ts';
import type { ClientTls, ConnectionPool, DestinationRuleSpec, OutlierDetection, PortTrafficPolicy, Resource, Subset, TrafficPolicy } from '../resources.ts';
import type { Snapshot } from '../snapshot.ts';
import type { ClusterSpec, ConnectionLimits, OutlierPolicy, UpstreamTls } from '../table.ts';
import { hasLabels, isExported } from './registry.ts';
import type { RegistryService } from './registry.ts';

/** The rules of one host, as one. */
export interface HostPolicy {
  readonly trafficPolicy: TrafficPolicy | undefined;
  readonly subsets: readonly Subset[];
}

const NO_POLICY: HostPolicy = { trafficPolicy: undefined, subsets: [] };

/** Looks up the policy of a host as seen by workloads of one namespace with these labels. */
export class Policies {
  readonly #byNamespace: Map<string, Resource<DestinationRuleSpec>[]>;
  readonly #root: string;
  readonly #namespace: string;
  readonly #labels: Readonly<Record<string, string>>;

  constructor(snapshot: Snapshot, namespace: string, labels: Readonly<Record<string, string>>) {
    this.#byNamespace = Map.groupBy(snapshot.destinationRules, (rule) => rule.namespace);
    this.#root = snapshot.mesh.rootNamespace;
    this.#namespace = namespace;
    this.#labels = labels;
  }

  /** The client's namespace decides before the service's, and that before the root's; in each the most specific host. */
  find(service: RegistryService): HostPolicy {
    const order = [this.#namespace === this.#root ? '' : this.#namespace, service.ref.namespace, this.#root];
    for (const namespace of new Set(order)) {
      const rules = (this.#byNamespace.get(namespace) ?? []).filter((rule) => this.#sees(rule) && covers(qualify(rule.spec.host, rule.namespace), service.host));
      if (rules.length > 0) return merge(rules);
    }
    return NO_POLICY;
  }

  #sees({ spec, namespace }: Resource<DestinationRuleSpec>): boolean {
    if (!isExported(spec.exportTo ?? ['*'], namespace, this.#namespace)) return false;
    const { workloadSelector } = spec;
    return workloadSelector === undefined || (namespace === this.#namespace && hasLabels(this.#labels, workloadSelector.matchLabels ?? {}));
  }
}

/** Rules of the most specific host: subsets are united (the first of a name wins), the first trafficPolicy holds. */
function merge(rules: readonly Resource<DestinationRuleSpec>[]): HostPolicy {
  const hosts = rules.map((rule) => qualify(rule.spec.host, rule.namespace)).sort(bySpecificity);
  const best = rules.filter((rule) => qualify(rule.spec.host, rule.namespace) === hosts[0]);
  // A rule that selects its clients is meant for them more than one for everybody.
  best.sort((a, b) => Number(b.spec.workloadSelector !== undefined) - Number(a.spec.workloadSelector !== undefined));
  const subsets = new Map<string, Subset>();
  for (const { spec } of best) for (const subset of spec.subsets ?? []) if (!subsets.has(subset.name)) subsets.set(subset.name, subset);
  return { trafficPolicy: best.find(({ spec }) => spec.trafficPolicy !== undefined)?.spec.trafficPolicy, subsets: [...subsets.values()] };
}

export interface ClusterPolicy {
  readonly balancer: ClusterSpec['balancer'];
  readonly limits: ConnectionLimits;
  readonly outlier: OutlierPolicy | undefined;
  readonly tls: UpstreamTls | undefined;
}

/**
 * Subset over host, block by block; the settings of a port replace all blocks at once (Istio: omitted ones are defaults).
 * `subjectAltNames`: the service's own, which hold where the rule names none.
 */
export function clusterPolicy(host: HostPolicy, subset: Subset | undefined, port: number, connectTimeoutMs: number, subjectAltNames: readonly string[]): ClusterPolicy {
  const top = forPort(host.trafficPolicy, port);
  const own = forPort(subset?.trafficPolicy, port);
  const base = hasPort(subset?.trafficPolicy, port) ? undefined : top;
  const loadBalancer = own?.loadBalancer ?? base?.loadBalancer;
  const connectionPool = own?.connectionPool ?? base?.connectionPool;
  const outlierDetection = own?.outlierDetection ?? base?.outlierDetection;
  const tls = own?.tls ?? base?.tls;
  return {
    balancer: balancerOf(loadBalancer?.simple),
    limits: limitsOf(connectionPool, connectTimeoutMs),
    outlier: outlierDetection === undefined ? undefined : outlierOf(outlierDetection),
    tls: tls === undefined ? undefined : tlsOf(tls, subjectAltNames),
  };
}

function forPort(policy: TrafficPolicy | undefined, port: number): PortTrafficPolicy | undefined {
  return policy?.portLevelSettings?.find((settings) => settings.port?.number === port) ?? policy;
}

function hasPort(policy: TrafficPolicy | undefined, port: number): boolean {
  return policy?.portLevelSettings?.some((settings) => settings.port?.number === port) === true;
}

function balancerOf(simple: string | undefined): ClusterSpec['balancer'] {
  switch (simple) {
    case 'RANDOM':
    case 'ROUND_ROBIN':
    case 'PASSTHROUGH':
      return simple;
    default:
      // UNSPECIFIED, and LEAST_CONN under its old name.
      return 'LEAST_REQUEST';
  }
}

/** Zero is the same as unset for Istio's whole numbers. */
function limitsOf(pool: ConnectionPool | undefined, connectTimeoutMs: number): ConnectionLimits {
  const { tcp, http } = pool ?? {};
  const keepalive = tcp?.tcpKeepalive;
  return {
    maxConnections: tcp?.maxConnections || Infinity,
    connectTimeoutMs: durationMs(tcp?.connectTimeout, connectTimeoutMs || CONNECT_TIMEOUT_MS),
    tcpIdleTimeoutMs: durationMs(tcp?.idleTimeout, TCP_IDLE_TIMEOUT_MS),
    maxConnectionDurationMs: durationMs(tcp?.maxConnectionDuration, 0),
    keepalive: keepalive === undefined ? undefined : { probes: keepalive.probes ?? 9, timeSeconds: durationMs(keepalive.time, 7_200_000) / 1000, intervalSeconds: durationMs(keepalive.interval, 75_000) / 1000 },
    maxPendingRequests: http?.http1MaxPendingRequests || PENDING_REQUESTS_MAX,
    maxRequests: http?.http2MaxRequests || Infinity,
    maxRequestsPerConnection: http?.maxRequestsPerConnection ?? 0,
    maxRetries: http?.maxRetries || Infinity,
    httpIdleTimeoutMs: durationMs(http?.idleTimeout, UPSTREAM_IDLE_TIMEOUT_MS),
  };
}

/** Istio's defaults of an outlierDetection block; without a block there is no ejection. */
function outlierOf(spec: OutlierDetection): OutlierPolicy {
  return {
    consecutive5xx: spec.consecutive5xxErrors ?? spec.consecutiveErrors ?? 5,
    consecutiveGatewayErrors: spec.consecutiveGatewayErrors ?? 0,
    splitLocalOrigin: spec.splitExternalLocalOriginErrors ?? false,
    consecutiveLocalOrigin: spec.consecutiveLocalOriginFailures ?? 5,
    intervalMs: durationMs(spec.interval, 10_000),
    baseEjectionMs: durationMs(spec.baseEjectionTime, 30_000),
    maxEjectionPercent: spec.maxEjectionPercent || 10,
    minHealthPercent: spec.minHealthPercent ?? 0,
  };
}

/** Without a mode it is DISABLE, the first value of Istio's enumeration. */
function tlsOf(spec: ClientTls, subjectAltNames: readonly string[]): UpstreamTls {
  return {
    mode: spec.mode ?? 'DISABLE',
    sni: spec.sni ?? '',
    subjectAltNames: spec.subjectAltNames === undefined || spec.subjectAltNames.length === 0 ? subjectAltNames : spec.subjectAltNames,
    clientCertificate: spec.clientCertificate ?? '',
    privateKey: spec.privateKey ?? '',
    caCertificates: spec.caCertificates ?? '',
    credentialName: spec.credentialName ?? '',
    insecureSkipVerify: spec.insecureSkipVerify ?? false,
  };
}
