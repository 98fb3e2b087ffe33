/**
 * What a snapshot compiles to for one workload: everything the data plane needs to decide, and nothing it has to parse.
 * A table is made once, frozen, and only read; a new configuration makes a new table. It names clusters by key; their live
 * state (connections, ejections) belongs to the data plane and outlives the table.
 *
 *   connection to 10.96.0.7:9080
 *     └─ OutboundTable.destinations['10.96.0.7:9080'] ─→ Destination (service port, protocol)
 *          ├─ opaque: Destination.tcpRoutes ─→ WeightedCluster ─→ clusters['outbound|9080|v1|reviews.bookinfo.svc.cluster.local']
 *          └─ HTTP:   OutboundTable.hosts(port)['reviews'] ─→ VirtualHost.routes (first match) ─→ RouteAction
 */
import type { Matcher } from './match.ts';
import type { InboundSecurity } from './security.ts';

/** How the bytes of a port are to be read. `sniff`: undeclared, look at the first bytes. `http` covers HTTP/1 and, later, h2. */
export type Protocol = 'http' | 'http2' | 'grpc' | 'tcp' | 'tls' | 'sniff';

export interface Table {
  /** The snapshot this was compiled from. */
  readonly version: number;
  /** The workload class: workloads with the same class share one table. */
  readonly workloadClass: string;
  readonly outbound: OutboundTable;
  /** What the workload's own ports are for, by container port. A port that is not here is sniffed and has no service. */
  readonly inbound: ReadonlyMap<number, InboundPort>;
  /** What it demands of its callers. */
  readonly security: InboundSecurity;
  readonly clusters: ReadonlyMap<string, ClusterSpec>;
  /** The enrolled pod that has this address: clients may call it by that, and it may demand mutual TLS. */
  readonly podAt: (address: string) => PodIdentity | undefined;
}

/** A port of the workload that some Service leads to (the oldest one, where several do). */
export interface InboundPort {
  readonly protocol: Protocol;
  readonly service: ServiceRef;
}

export interface OutboundTable {
  readonly mode: 'ALLOW_ANY' | 'REGISTRY_ONLY';
  /** `address:port` (IPv6 in brackets, shortest form) of every service VIP, pod of a headless service and addressed ServiceEntry. */
  readonly destinations: ReadonlyMap<string, Destination>;
  /** ServiceEntries with CIDR addresses, longest prefix first. */
  readonly ranges: readonly DestinationRange[];
  /** Ports of ServiceEntries without address: any destination address on this port (Istio opens 0.0.0.0:port). */
  readonly anyAddress: ReadonlyMap<number, Destination>;
  /** HTTP virtual hosts of a port: exact names first, then wildcard suffixes, longest first. */
  readonly httpPorts: ReadonlyMap<number, HostTable>;
  /** SNI routes of TLS ports: same order of preference. */
  readonly tlsPorts: ReadonlyMap<number, SniTable>;
}

export interface Destination {
  readonly service: ServiceRef;
  readonly port: number;
  readonly protocol: Protocol;
  /** Taken, first match wins, when the connection is opaque (declared, or sniffed as neither HTTP nor TLS with a route). */
  readonly tcpRoutes: readonly TcpRoute[];
  /** The virtual host used when the Host header names no host of this port: the service the client dialled. */
  readonly virtualHost: VirtualHost | undefined;
}

export interface DestinationRange {
  /** Network in ipaddr.js' CIDR text. */
  readonly cidr: string;
  readonly port: number;
  readonly destination: Destination;
}

/** Names for metrics and logs. */
export interface ServiceRef {
  /** FQDN: `destination_service`. */
  readonly host: string;
  /** `destination_service_name`. */
  readonly name: string;
  readonly namespace: string;
}

export interface HostTable {
  /** Lower-case host, without port. `reviews`, `reviews.bookinfo`, …, the FQDN, and the VIPs. */
  readonly exact: ReadonlyMap<string, VirtualHost>;
  /** Suffixes with their leading dot (`.example.com`), longest first; `''` stands for `*`. */
  readonly wildcards: readonly { readonly suffix: string; readonly host: VirtualHost }[];
}

export interface VirtualHost {
  readonly name: string;
  /** The first route whose matcher accepts wins. */
  readonly routes: readonly Route[];
  readonly service: ServiceRef | undefined;
  /** Of the Gateway API: whoever connects to the service takes these routes, whatever the Host says, and nobody else (GEP-1426). */
  readonly byAddress?: boolean;
}

export interface Route {
  /** Istio's route name (`name.matchName`), `default` for the route of a service without VirtualService. */
  readonly name: string;
  /** Where it was written, for `explain` and error texts: `VirtualService bookinfo/reviews http[0]`. */
  readonly origin: string;
  readonly match: Matcher;
  readonly action: RouteAction;
  readonly fault: Fault | undefined;
  readonly cors: CorsPolicy | undefined;
  readonly headers: HeaderOperations | undefined;
}

export type RouteAction = ForwardAction | RedirectAction | DirectAction | PassthroughAction;

export interface ForwardAction {
  readonly kind: 'forward';
  readonly clusters: readonly WeightedCluster[];
  /** Sum of the weights, at least 1. */
  readonly weightTotal: number;
  readonly rewrite: Rewrite | undefined;
  /** Whole request with its retries, in ms; 0 = none. */
  readonly timeoutMs: number;
  readonly retry: RetryPolicy;
  readonly mirrors: readonly Mirror[];
}

export interface WeightedCluster {
  /** Key into {@link Table.clusters}. A key that is not there answers 503 NC. */
  readonly cluster: string;
  readonly weight: number;
  readonly headers: HeaderOperations | undefined;
  /** Why its share is answered 500: a backend of a Gateway API route that does not exist, or may not be named. */
  readonly invalid?: string;
  /** What its share is answered, instead of being sent anywhere. */
  readonly redirect?: RedirectAction;
  /** In place of the route's own. */
  readonly rewrite?: Rewrite;
  /** Besides the route's own. */
  readonly mirrors?: readonly Mirror[];
}

export interface RedirectAction {
  readonly kind: 'redirect';
  readonly status: number;
  readonly scheme: string | undefined;
  readonly authority: string | undefined;
  /** A number, or `request` to keep the port of the request, or `default` for the scheme's own. */
  readonly port: number | 'request' | 'default';
  /** Full replacement of the path, or of the matched prefix. */
  readonly path: { readonly kind: 'full' | 'prefix'; readonly value: string; readonly matchedPrefix: string } | undefined;
}

export interface DirectAction {
  readonly kind: 'direct';
  readonly status: number;
  readonly body: Uint8Array;
}

/** To wherever the client meant to go (ALLOW_ANY), or refused (REGISTRY_ONLY): destinations outside the registry. */
export interface PassthroughAction {
  readonly kind: 'passthrough';
}

export interface TcpRoute {
  readonly name: string;
  readonly origin: string;
  /** Destination networks in CIDR text; empty = any. */
  readonly destinationSubnets: readonly string[];
  readonly clusters: readonly WeightedCluster[];
  readonly weightTotal: number;
}

export interface SniTable {
  readonly exact: ReadonlyMap<string, readonly TcpRoute[]>;
  readonly wildcards: readonly { readonly suffix: string; readonly routes: readonly TcpRoute[] }[];
}

export interface Rewrite {
  readonly authority: string | undefined;
  readonly path:
    | { readonly kind: 'full'; readonly value: string }
    | { readonly kind: 'prefix'; readonly matchedPrefix: string; readonly value: string }
    | { readonly kind: 'regex'; readonly replace: (path: string) => string }
    | undefined;
}

/** Applied as remove, then set, then add. */
export interface HeaderOperations {
  readonly request: HeaderEdits;
  readonly response: HeaderEdits;
}

export interface HeaderEdits {
  /** Lower-case names. */
  readonly remove: readonly string[];
  readonly set: readonly HeaderValue[];
  readonly add: readonly HeaderValue[];
}

export interface HeaderValue {
  readonly name: string;
  /** Literal text and Envoy substitution operators, parsed: `%REQ(x-id)%` is `{ operator: 'REQ', argument: 'x-id' }`. */
  readonly parts: readonly (string | { readonly operator: string; readonly argument: string })[];
}

export interface Fault {
  readonly delay: { readonly percent: number; readonly delayMs: number } | undefined;
  readonly abort: { readonly percent: number; readonly status: number; readonly grpcStatus: number | undefined } | undefined;
}

export interface CorsPolicy {
  readonly allowsOrigin: (origin: string) => boolean;
  /** Ready to send; undefined = header not sent. */
  readonly allowMethods: string | undefined;
  readonly allowHeaders: string | undefined;
  readonly exposeHeaders: string | undefined;
  readonly maxAgeSeconds: number | undefined;
  readonly allowCredentials: boolean | undefined;
  /** What to do with a preflight whose origin is not allowed: pass it on, or answer it without CORS headers. */
  readonly unmatchedPreflights: 'FORWARD' | 'IGNORE';
  /** Gateway API: where methods or headers are `*`, a preflight is told the ones that it asks for; and which headers answers expose. */
  readonly explicitPreflights?: boolean;
}

export interface RetryPolicy {
  /** Retries after the first try; 0 = none. */
  readonly attempts: number;
  /** 0 = none of its own (the route's timeout still holds). */
  readonly perTryTimeoutMs: number;
  readonly on: RetryConditions;
  readonly backoffBaseMs: number;
  readonly backoffMaxMs: number;
  /** Prefer endpoints not tried yet. */
  readonly avoidPreviousHosts: boolean;
}

export interface RetryConditions {
  readonly fiveHundreds: boolean;
  readonly gatewayError: boolean;
  readonly reset: boolean;
  readonly resetBeforeRequest: boolean;
  readonly connectFailure: boolean;
  readonly refusedStream: boolean;
  readonly retriable4xx: boolean;
  /** Statuses of `retriable-status-codes` written as numbers. */
  readonly statuses: ReadonlySet<number>;
  /** gRPC status numbers (cancelled 1, deadline-exceeded 4, resource-exhausted 8, internal 13, unavailable 14). */
  readonly grpcStatuses: ReadonlySet<number>;
}

export interface Mirror {
  readonly cluster: string;
  readonly percent: number;
}

/** The endpoints of a service or subset, with limits and health. */
export interface ClusterSpec {
  /** Istio's name: `outbound|9080|v1|reviews.bookinfo.svc.cluster.local`. */
  readonly key: string;
  readonly service: ServiceRef;
  readonly subset: string;
  readonly port: number;
  readonly protocol: Protocol;
  /** `static`: the endpoints below. `dns`: resolve each endpoint's address (a name). `original`: where the client meant to go. */
  readonly discovery: 'static' | 'dns' | 'original';
  readonly endpoints: readonly EndpointSpec[];
  readonly balancer: 'LEAST_REQUEST' | 'ROUND_ROBIN' | 'RANDOM' | 'PASSTHROUGH';
  readonly limits: ConnectionLimits;
  readonly outlier: OutlierPolicy | undefined;
  /** As the DestinationRule says; undefined: mutual TLS to endpoints of the mesh, plaintext to others. */
  readonly tls: UpstreamTls | undefined;
  /** Names that an endpoint's certificate may have besides its own identity (ServiceEntry.subjectAltNames). */
  readonly subjectAltNames: readonly string[];
}

/** Istio's ClientTLSSettings, defaults filled in. Paths are of the client's file system, as there. */
export interface UpstreamTls {
  /** `ISTIO_MUTUAL`: with the workload's own certificate. `DISABLE`: plaintext, whatever the endpoint could do. */
  readonly mode: 'DISABLE' | 'SIMPLE' | 'MUTUAL' | 'ISTIO_MUTUAL';
  /** Empty: the Host of the request. */
  readonly sni: string;
  /** One of them must be in the server's certificate (the ServiceEntry's, where the rule has none). Empty: the server name is checked. */
  readonly subjectAltNames: readonly string[];
  /** Path; empty = none. */
  readonly clientCertificate: string;
  readonly privateKey: string;
  /** Path; empty = the roots of the operating system. */
  readonly caCertificates: string;
  /** Name of a Secret; empty = none. */
  readonly credentialName: string;
  readonly insecureSkipVerify: boolean;
  /** Only the names above count, or else `sni`: not the identity that the endpoint would have in the mesh (BackendTLSPolicy). */
  readonly onlyNames?: boolean;
  /** In place of caCertificates, for gateways: all of them together are trusted. */
  readonly authorities?: readonly ObjectRef[];
  /** In place of clientCertificate and privateKey, for gateways: a Secret of type kubernetes.io/tls. */
  readonly credential?: ObjectRef;
}

/** An object that holds certificates, and that may be named where it is: of the same namespace, or let by a ReferenceGrant. */
export interface ObjectRef {
  readonly kind: 'Secret' | 'ConfigMap';
  readonly namespace: string;
  readonly name: string;
}

export interface EndpointSpec {
  /** IP address (or DNS name in a `dns` cluster). */
  readonly address: string;
  readonly port: number;
  readonly weight: number;
  /** `ns/name` of the pod behind it, when it is one. */
  readonly workload: string | undefined;
  /** The pod's node, to know whether it is ours. */
  readonly node: string | undefined;
  /** The pod takes part in the mesh: `local` on this node (and, with identity, `hbone` elsewhere). */
  readonly enrolled: boolean;
  /** SPIFFE id of what runs there; empty for strangers. */
  readonly identity: string;
}

/** Of an endpoint, what its pod decides. */
export type PodIdentity = Pick<EndpointSpec, 'workload' | 'node' | 'enrolled' | 'identity'>;

export interface ConnectionLimits {
  readonly maxConnections: number;
  readonly connectTimeoutMs: number;
  /** 0 = off. */
  readonly tcpIdleTimeoutMs: number;
  /** 0 = none. */
  readonly maxConnectionDurationMs: number;
  readonly keepalive: { readonly probes: number; readonly timeSeconds: number; readonly intervalSeconds: number } | undefined;
  readonly maxPendingRequests: number;
  readonly maxRequests: number;
  /** 0 = unlimited, 1 = no keep-alive. */
  readonly maxRequestsPerConnection: number;
  readonly maxRetries: number;
  /** 0 = off. */
  readonly httpIdleTimeoutMs: number;
}

export interface OutlierPolicy {
  /** 0 = off. */
  readonly consecutive5xx: number;
  /** 0 = off. */
  readonly consecutiveGatewayErrors: number;
  readonly splitLocalOrigin: boolean;
  readonly consecutiveLocalOrigin: number;
  readonly intervalMs: number;
  readonly baseEjectionMs: number;
  readonly maxEjectionPercent: number;
  readonly minHealthPercent: number;
}
