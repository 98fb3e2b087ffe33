/** The fields of Istio's traffic resources (istio.io/api, networking): honoured, or named as not honoured yet. */
import { any, boolean, duration, int, later, list, map, number, object, oneOf, regex, regexOrStar, string } from './schema.ts';
import type { Schema } from './schema.ts';
import { backendTlsPolicy, gateway, gatewayClass, grpcRoute, httpRoute as gatewayHttpRoute, listenerSet, referenceGrant, tcpRoute, tlsRoute } from './gateway-schemas.ts';
import { authorizationPolicy, peerAuthentication, requestAuthentication } from './security-schemas.ts';

const PORT = int(1, 65_535);
const FULL_SHARE = 'new endpoints get their full share at once';
const HTTP1 = 'upstreams are spoken to in HTTP/1.1';

const stringMatch = object({ exact: string, prefix: string, regex });
const valueMatch = object({ exact: string, prefix: string, regex: regexOrStar });
const labels = map(string);
const percent = object({ value: number(0, 100) });
const destination = object({ host: string, subset: string, port: object({ number: PORT }) }, ['host']);
const headerOps = object({ set: map(string), add: map(string), remove: list(string) });
const headers = object({ request: headerOps, response: headerOps });

const httpMatch = object({
  name: string, uri: stringMatch, scheme: stringMatch, method: stringMatch, authority: stringMatch,
  headers: map(valueMatch), withoutHeaders: map(valueMatch), queryParams: map(valueMatch),
  port: PORT, ignoreUriCase: boolean, gateways: list(string), sourceLabels: labels, sourceNamespace: string,
  statPrefix: later('statistics have Istio\'s standard names'),
});

const httpRoute = object({
  name: string,
  match: list(httpMatch),
  route: list(object({ destination, weight: int(0, 2_147_483_647), headers }, ['destination'])),
  redirect: object({
    uri: string, prefixRewrite: string, authority: string, port: PORT,
    derivePort: oneOf(['FROM_PROTOCOL_DEFAULT', 'FROM_REQUEST_PORT']), scheme: string, redirectCode: int(300, 399),
  }),
  directResponse: object({ status: int(200, 599), body: object({ string, bytes: string }) }, ['status']),
  delegate: object({ name: string, namespace: string }),
  rewrite: object({ uri: string, authority: string, uriRegexRewrite: object({ match: regex, rewrite: string }) }),
  timeout: duration,
  retries: object({
    attempts: int(0, 1000), perTryTimeout: duration, retryOn: string, backoff: duration, retryIgnorePreviousHosts: boolean,
    retryRemoteLocalities: later('there is no locality balancing yet'),
  }),
  fault: object({
    delay: object({ fixedDelay: duration, percentage: percent, percent: int(0, 100), exponentialDelay: later('Istio does not honour it either') }),
    abort: object({ httpStatus: int(200, 599), grpcStatus: string, percentage: percent, percent: int(0, 100), http2Error: later('Istio does not honour it either') }),
  }),
  mirror: destination,
  mirrors: list(object({ destination, percentage: percent }, ['destination'])),
  mirrorPercentage: percent,
  mirrorPercent: int(0, 100),
  mirror_percent: later('use mirrorPercentage'),
  corsPolicy: object({
    allowOrigins: list(stringMatch), allowOrigin: list(string), allowMethods: list(string), allowHeaders: list(string), exposeHeaders: list(string),
    maxAge: duration, allowCredentials: boolean, unmatchedPreflights: oneOf(['UNSPECIFIED', 'FORWARD', 'IGNORE']),
  }),
  headers,
});

const l4Fields = { destinationSubnets: list(string), port: PORT, sourceLabels: labels, sourceNamespace: string, gateways: list(string), sourceSubnet: later('a hidden field of Istio') };
const l4Route = list(object({ destination, weight: int(0, 2_147_483_647) }, ['destination']));

const virtualService = object({
  hosts: list(string), gateways: list(string), http: list(httpRoute),
  tls: list(object({ match: list(object({ ...l4Fields, sniHosts: list(string) }, ['sniHosts'])), route: l4Route }, ['match'])),
  tcp: list(object({ match: list(object(l4Fields)), route: l4Route })),
  exportTo: list(string),
});

const policyFields = {
  loadBalancer: object({
    simple: oneOf(['UNSPECIFIED', 'LEAST_CONN', 'RANDOM', 'PASSTHROUGH', 'ROUND_ROBIN', 'LEAST_REQUEST']),
    consistentHash: later('least-request is used instead'), localityLbSetting: later('all localities are used alike'),
    zoneAwareLbSetting: later('all zones are used alike'), 
    warmup: later(FULL_SHARE, object({ duration, minimumPercent: number(0, 100), aggression: number(0, Number.MAX_VALUE) }, ['duration'])),
    warmupDurationSecs: later(FULL_SHARE, duration),
  }),
  connectionPool: object({
    tcp: object({
      maxConnections: int(), connectTimeout: duration, maxConnectionDuration: duration, idleTimeout: duration,
      tcpKeepalive: object({ probes: int(), time: duration, interval: duration }),
    }),
    http: object({
      http1MaxPendingRequests: int(), http2MaxRequests: int(), maxRequestsPerConnection: int(), maxRetries: int(), idleTimeout: duration,
      h2UpgradePolicy: later(HTTP1, oneOf(['DEFAULT', 'DO_NOT_UPGRADE', 'UPGRADE'])), useClientProtocol: later(HTTP1, boolean),
      maxConcurrentStreams: later(HTTP1, int()), http2KeepAlive: later(HTTP1, object({ interval: duration, timeout: duration }, ['interval', 'timeout'])),
    }),
  }),
  outlierDetection: object({
    consecutiveErrors: int(), consecutive5xxErrors: int(), consecutiveGatewayErrors: int(), splitExternalLocalOriginErrors: boolean,
    consecutiveLocalOriginFailures: int(), interval: duration, baseEjectionTime: duration, maxEjectionPercent: int(0, 100), minHealthPercent: int(0, 100),
    outlierDetectionHttpErrorCodes: later('5xx and gateway errors count'),
  }),
  tls: object({
    mode: oneOf(['DISABLE', 'SIMPLE', 'MUTUAL', 'ISTIO_MUTUAL']), clientCertificate: string, privateKey: string, caCertificates: string, credentialName: later('Secrets come with Kubernetes support; name files', string),
    subjectAltNames: list(string), sni: string, insecureSkipVerify: boolean, caCrl: later('certificates are not looked up in revocation lists', string),
  }),
};

const trafficPolicy = object({
  ...policyFields,
  portLevelSettings: list(object({ port: object({ number: PORT }), ...policyFields })),
  tunnel: later('there is no tunnelling yet'), proxyProtocol: later('there is no PROXY protocol yet'), retryBudget: later('use connectionPool.http.maxRetries'),
});

const destinationRule = object({
  host: string, trafficPolicy, subsets: list(object({ name: string, labels, trafficPolicy }, ['name'])), exportTo: list(string),
  workloadSelector: object({ matchLabels: labels }),
}, ['host']);

const workloadEntryFields = {
  address: string, ports: map(PORT), labels, weight: int(), network: later('there is one network'), locality: later('all localities are used alike'),
  serviceAccount: string,
};

const serviceEntry = object({
  hosts: list(string), addresses: list(string),
  ports: list(object({ number: PORT, protocol: string, name: string, targetPort: PORT }, ['number', 'name'])),
  location: oneOf(['MESH_EXTERNAL', 'MESH_INTERNAL']), resolution: oneOf(['NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN'], ['DYNAMIC_DNS']),
  endpoints: list(object(workloadEntryFields)), workloadSelector: object({ labels }), exportTo: list(string),
  subjectAltNames: list(string),
}, ['hosts']);

/** networking.istio.io Gateway. */
const istioGateway = object({
  selector: labels,
  servers: list(object({
    port: object({ number: PORT, protocol: string, name: string, targetPort: later('Istio does not honour it either') }, ['number', 'protocol']),
    bind: later('listeners are on every address of a gateway', string),
    hosts: list(string),
    tls: object({
      httpsRedirect: boolean, mode: oneOf(['PASSTHROUGH', 'SIMPLE', 'MUTUAL', 'OPTIONAL_MUTUAL'], ['AUTO_PASSTHROUGH', 'ISTIO_MUTUAL']),
      serverCertificate: string, privateKey: string, caCertificates: string, caCrl: later('certificates are not looked up in revocation lists', string),
      credentialName: string, credentialNames: list(string), caCertCredentialName: string,
      tlsCertificates: list(object({ serverCertificate: string, privateKey: string, caCertificates: string })),
      subjectAltNames: list(string),
      verifyCertificateSpki: later('clients are told by their names', list(string)), verifyCertificateHash: later('clients are told by their names', list(string)),
      minProtocolVersion: oneOf(['TLS_AUTO', 'TLSV1_2', 'TLSV1_3'], ['TLSV1_0', 'TLSV1_1']), maxProtocolVersion: oneOf(['TLS_AUTO', 'TLSV1_2', 'TLSV1_3'], ['TLSV1_0', 'TLSV1_1']),
      cipherSuites: list(string), insecureSkipVerify: boolean,
    }),
    defaultEndpoint: later('Istio does not honour it either', string),
    name: string,
  }, ['port', 'hosts'])),
}, ['servers']);

/** core/v1 ServiceSpec: the part that names no field of its own is for others than a mesh, and passed over on purpose. */
const service = object({
  ports: list(object({ name: string, protocol: oneOf(['TCP', 'UDP', 'SCTP']), appProtocol: string, port: PORT, targetPort: any, nodePort: any }, ['port'])),
  selector: labels, type: oneOf(['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName']), clusterIP: string, clusterIPs: list(string), externalName: string,
  sessionAffinity: oneOf(['None'], ['ClientIP']), internalTrafficPolicy: oneOf(['Cluster'], ['Local']), trafficDistribution: later('all localities are used alike', string),
  publishNotReadyAddresses: later('pods get traffic when they are ready', boolean), sessionAffinityConfig: any, ipFamilies: any, ipFamilyPolicy: any, externalIPs: any,
  externalTrafficPolicy: any, healthCheckNodePort: any, loadBalancerIP: any, loadBalancerSourceRanges: any, loadBalancerClass: any, allocateLoadBalancerNodePorts: any,
});

/** What an object has around its spec. */
export const ENVELOPE = object({ apiVersion: string, kind: string, metadata: any, spec: any, status: any });

/** How far a kind is supported. */
export interface Kind {
  readonly groups: readonly string[];
  readonly support: 'honoured' | 'kubernetes' | 'ignored' | 'later';
  /** Of `spec`. */
  readonly schema?: Schema;
  readonly clusterScoped?: boolean;
  /** Why it is not honoured. */
  readonly why?: string;
}

const NETWORKING = ['networking.istio.io/v1', 'networking.istio.io/v1beta1', 'networking.istio.io/v1alpha3'];
const SECURITY = ['security.istio.io/v1', 'security.istio.io/v1beta1'];
const TELEMETRY = ['telemetry.istio.io/v1', 'telemetry.istio.io/v1alpha1'];
/** Every version that some release has served; where several are, the newest is read. */
const GATEWAY_API = ['gateway.networking.k8s.io/v1', 'gateway.networking.k8s.io/v1beta1', 'gateway.networking.k8s.io/v1alpha3', 'gateway.networking.k8s.io/v1alpha2'];
const NATIVE = 'there is no Envoy in Orlop';

/**
 * Every kind that may stand in a configuration. Anything else is an error that names the nearest of these. Of two kinds with one name, that of
 * the group which is told by its name is meant with it: `Gateway.networking.istio.io`, as kubectl has it.
 */
export const KINDS: Readonly<Record<string, Kind>> = {
  VirtualService: { groups: NETWORKING, support: 'honoured', schema: virtualService },
  DestinationRule: { groups: NETWORKING, support: 'honoured', schema: destinationRule },
  ServiceEntry: { groups: NETWORKING, support: 'honoured', schema: serviceEntry },
  WorkloadEntry: { groups: NETWORKING, support: 'honoured', schema: object(workloadEntryFields) },
  'Gateway.networking.istio.io': { groups: NETWORKING, support: 'honoured', schema: istioGateway },
  Sidecar: { groups: NETWORKING, support: 'later', why: 'every workload sees every exported service' },
  WorkloadGroup: { groups: NETWORKING, support: 'later', why: 'there is no registration of virtual machines yet' },
  ProxyConfig: { groups: ['networking.istio.io/v1beta1'], support: 'later', why: 'the agent is set by its own flags' },
  EnvoyFilter: { groups: ['networking.istio.io/v1alpha3'], support: 'later', why: NATIVE },
  PeerAuthentication: { groups: SECURITY, support: 'honoured', schema: peerAuthentication },
  RequestAuthentication: { groups: SECURITY, support: 'honoured', schema: requestAuthentication },
  AuthorizationPolicy: { groups: SECURITY, support: 'honoured', schema: authorizationPolicy },
  Telemetry: { groups: TELEMETRY, support: 'later', why: 'metrics are on; the access log follows MeshConfig' },
  WasmPlugin: { groups: ['extensions.istio.io/v1alpha1'], support: 'later', why: NATIVE },
  TrafficExtension: { groups: ['extensions.istio.io/v1alpha1'], support: 'later', why: NATIVE },
  Gateway: { groups: GATEWAY_API, support: 'honoured', schema: gateway },
  GatewayClass: { groups: GATEWAY_API, support: 'honoured', schema: gatewayClass, clusterScoped: true },
  ListenerSet: { groups: GATEWAY_API, support: 'honoured', schema: listenerSet },
  HTTPRoute: { groups: GATEWAY_API, support: 'honoured', schema: gatewayHttpRoute },
  GRPCRoute: { groups: GATEWAY_API, support: 'honoured', schema: grpcRoute },
  TLSRoute: { groups: GATEWAY_API, support: 'honoured', schema: tlsRoute },
  TCPRoute: { groups: GATEWAY_API, support: 'honoured', schema: tcpRoute },
  ReferenceGrant: { groups: GATEWAY_API, support: 'honoured', schema: referenceGrant },
  BackendTLSPolicy: { groups: GATEWAY_API, support: 'honoured', schema: backendTlsPolicy },
  UDPRoute: { groups: GATEWAY_API, support: 'later', why: 'datagrams are not routed' },
  Namespace: { groups: ['v1'], support: 'kubernetes', clusterScoped: true },
  Node: { groups: ['v1'], support: 'kubernetes', clusterScoped: true },
  Pod: { groups: ['v1'], support: 'kubernetes' },
  Service: { groups: ['v1'], support: 'kubernetes', schema: service },
  EndpointSlice: { groups: ['discovery.k8s.io/v1'], support: 'kubernetes' },
  ConfigMap: { groups: ['v1'], support: 'kubernetes' },
  ...Object.fromEntries(
    [
      ['ServiceAccount', 'v1'], ['Endpoints', 'v1'], ['Secret', 'v1'], ['Event', 'v1'], ['PersistentVolumeClaim', 'v1'], ['ReplicationController', 'v1'],
      ['Deployment', 'apps/v1'], ['ReplicaSet', 'apps/v1'], ['StatefulSet', 'apps/v1'], ['DaemonSet', 'apps/v1'], ['Job', 'batch/v1'], ['CronJob', 'batch/v1'],
      ['Ingress', 'networking.k8s.io/v1'], ['NetworkPolicy', 'networking.k8s.io/v1'], ['HorizontalPodAutoscaler', 'autoscaling/v2'], ['PodDisruptionBudget', 'policy/v1'],
      ['Role', 'rbac.authorization.k8s.io/v1'], ['RoleBinding', 'rbac.authorization.k8s.io/v1'], ['ClusterRole', 'rbac.authorization.k8s.io/v1'],
      ['ClusterRoleBinding', 'rbac.authorization.k8s.io/v1'], ['CustomResourceDefinition', 'apiextensions.k8s.io/v1'], ['Lab', 'lab.orlop.io/v1'],
    ].map(([kind, group]) => [kind, { groups: [group as string], support: 'ignored' } satisfies Kind]),
  ),
};

/** The name under which a kind is known here, and what it is. */
export function kindOf(kind: string, apiVersion: string): { readonly name: string; readonly kind: Kind | undefined } {
  const qualified = `${kind}.${apiVersion.split('/')[0] ?? ''}`;
  const name = Object.hasOwn(KINDS, qualified) ? qualified : kind;
  return { name, kind: Object.hasOwn(KINDS, name) ? KINDS[name] : undefined };
}
