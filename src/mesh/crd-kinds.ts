/** The kinds for which there are definitions of ours: names, and what `kubectl get` shows. */

export interface Definition {
  readonly kind: string;
  readonly group: string;
  /** Those that are served, the newest first; undefined: all that are read. */
  readonly versions?: readonly string[];
  readonly plural: string;
  readonly shortNames: readonly string[];
  /** Shown besides name and age, as JSON paths. */
  readonly columns: Readonly<Record<string, string>>;
  readonly description: string;
}

const NETWORKING = 'networking.istio.io';
const SECURITY = 'security.istio.io';
const GATEWAY_API = 'gateway.networking.k8s.io';
/** Of the Gateway API the versions that its release 1.6 serves in the standard channel. */
const SINCE_BETA = ['v1', 'v1beta1'];
const V1 = ['v1'];

/** Names and short names are those of the kinds' own definitions, or `kubectl get vs` would change its meaning with who installed them. */
export const DEFINITIONS: readonly Definition[] = [
  {
    kind: 'VirtualService', group: NETWORKING, plural: 'virtualservices', shortNames: ['vs'], columns: { Gateways: '.spec.gateways', Hosts: '.spec.hosts' },
    description: 'Where requests for a host go: by path, header and caller, in shares, with time-outs, retries, faults and copies.',
  },
  {
    kind: 'DestinationRule', group: NETWORKING, plural: 'destinationrules', shortNames: ['dr'], columns: { Host: '.spec.host' },
    description: 'How the endpoints of a host are used: subsets, balancing, limits of connections, ejection, TLS.',
  },
  {
    kind: 'Gateway', group: NETWORKING, plural: 'gateways', shortNames: ['gw'], columns: {},
    description: 'Ports on which traffic from outside the mesh is taken in.',
  },
  {
    kind: 'ServiceEntry', group: NETWORKING, plural: 'serviceentries', shortNames: ['se'], columns: { Hosts: '.spec.hosts', Location: '.spec.location', Resolution: '.spec.resolution' },
    description: 'A host that is no Service of the cluster, as a member of the registry.',
  },
  {
    kind: 'WorkloadEntry', group: NETWORKING, plural: 'workloadentries', shortNames: ['we'], columns: { Address: '.spec.address' },
    description: 'An endpoint that is no pod.',
  },
  {
    kind: 'PeerAuthentication', group: SECURITY, plural: 'peerauthentications', shortNames: ['pa'], columns: { Mode: '.spec.mtls.mode' },
    description: 'Whether workloads take plaintext from their callers, or mutual TLS only.',
  },
  {
    kind: 'RequestAuthentication', group: SECURITY, plural: 'requestauthentications', shortNames: ['ra'], columns: {},
    description: 'Whose tokens workloads accept in requests.',
  },
  {
    kind: 'AuthorizationPolicy', group: SECURITY, plural: 'authorizationpolicies', shortNames: ['ap'], columns: { Action: '.spec.action' },
    description: 'Who may call workloads, by identity, address, path, token and more.',
  },
  {
    kind: 'GatewayClass', group: GATEWAY_API, versions: SINCE_BETA, plural: 'gatewayclasses', shortNames: ['gc'],
    columns: { Controller: '.spec.controllerName', Accepted: '.status.conditions[?(@.type=="Accepted")].status' },
    description: 'Who serves the Gateways of this class.',
  },
  {
    kind: 'Gateway', group: GATEWAY_API, versions: SINCE_BETA, plural: 'gateways', shortNames: ['gtw'],
    columns: { Class: '.spec.gatewayClassName', Address: '.status.addresses[*].value', Programmed: '.status.conditions[?(@.type=="Programmed")].status' },
    description: 'Listeners for traffic from outside the mesh: ports, hosts, certificates.',
  },
  {
    kind: 'ListenerSet', group: GATEWAY_API, versions: V1, plural: 'listenersets', shortNames: ['lset'],
    columns: { Accepted: '.status.conditions[?(@.type=="Accepted")].status', Programmed: '.status.conditions[?(@.type=="Programmed")].status' },
    description: 'More listeners for a Gateway, by others than its owner.',
  },
  {
    kind: 'HTTPRoute', group: GATEWAY_API, versions: SINCE_BETA, plural: 'httproutes', shortNames: [], columns: { Hostnames: '.spec.hostnames' },
    description: 'Where requests go that come to a Gateway or a Service: by path, header, query and method.',
  },
  {
    kind: 'GRPCRoute', group: GATEWAY_API, versions: V1, plural: 'grpcroutes', shortNames: [], columns: { Hostnames: '.spec.hostnames' },
    description: 'Where calls go that come to a Gateway or a Service: by service, method and header.',
  },
  {
    kind: 'TLSRoute', group: GATEWAY_API, versions: V1, plural: 'tlsroutes', shortNames: [], columns: { Hostnames: '.spec.hostnames' },
    description: 'Where TLS connections go, by the name of the server that the client asks for.',
  },
  {
    kind: 'TCPRoute', group: GATEWAY_API, versions: V1, plural: 'tcproutes', shortNames: [], columns: {},
    description: 'Where the connections of a listener go.',
  },
  {
    kind: 'ReferenceGrant', group: GATEWAY_API, versions: SINCE_BETA, plural: 'referencegrants', shortNames: ['refgrant'], columns: {},
    description: 'Which other namespaces may refer to objects of this one.',
  },
  {
    kind: 'BackendTLSPolicy', group: GATEWAY_API, versions: V1, plural: 'backendtlspolicies', shortNames: ['btlspolicy'], columns: {},
    description: 'By which names and roots a backend is known when it is spoken to in TLS.',
  },
];
