/** All resources of a moment, as plain data: it crosses threads by structured clone, and everything else is computed from it. */
import type { GatewayResources } from './gateway/resources.ts';
import type { Problem } from './problem.ts';
import type { PathNormalization } from './path.ts';
import type { DestinationRuleSpec, IstioGatewaySpec, Origin, Resource, ServiceEntrySpec, VirtualServiceSpec, WorkloadEntrySpec } from './resources.ts';
import type { Probe } from './security.ts';
import type { AuthorizationPolicyResource, ExtensionProvider, PeerAuthenticationSpec, RequestAuthenticationSpec } from './security-resources.ts';

export interface Snapshot {
  /** Grows with every snapshot of a process. */
  readonly version: number;
  readonly mesh: MeshConfig;
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  readonly virtualServices: readonly Resource<VirtualServiceSpec>[];
  readonly destinationRules: readonly Resource<DestinationRuleSpec>[];
  readonly serviceEntries: readonly Resource<ServiceEntrySpec>[];
  readonly workloadEntries: readonly Resource<WorkloadEntrySpec>[];
  readonly peerAuthentications: readonly Resource<PeerAuthenticationSpec>[];
  readonly requestAuthentications: readonly Resource<RequestAuthenticationSpec>[];
  readonly authorizationPolicies: readonly AuthorizationPolicyResource[];
  readonly istioGateways: readonly Resource<IstioGatewaySpec>[];
  readonly gatewayApi: GatewayResources;
  /** Of namespaces whose objects are known. */
  readonly namespaceLabels: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** Of nodes whose objects are known: an agent knows its own. */
  readonly nodeLabels: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly problems: readonly Problem[];
  /** Every object as last found good, by `kind ns/name`: what an object that becomes invalid falls back to. */
  readonly objects: Readonly<Record<string, GoodObject>>;
}

/** One object as it was last good. */
export interface GoodObject {
  readonly origin: Origin;
  readonly value: Readonly<Record<string, unknown>>;
}

/** The parts of Istio's MeshConfig that are honoured. */
export interface MeshConfig {
  readonly rootNamespace: string;
  readonly trustDomain: string;
  /** Trust domains whose principals mean the same as the mesh's own. */
  readonly trustDomainAliases: readonly string[];
  readonly extensionProviders: readonly ExtensionProvider[];
  /** Proxies in front of the mesh whose X-Forwarded-For is believed (defaultConfig.gatewayTopology); 0 = none. */
  readonly numTrustedProxies: number;
  readonly pathNormalization: PathNormalization;
  readonly outboundTrafficPolicy: 'ALLOW_ANY' | 'REGISTRY_ONLY';
  readonly connectTimeoutMs: number;
  /** Empty = off. */
  readonly accessLogFile: string;
  readonly accessLogEncoding: 'TEXT' | 'JSON';
  /** Empty = Istio's default. */
  readonly accessLogFormat: string;
  /** Is the label `istio.io/dataplane-mode` understood beside `orlop.io/mesh`? Orlop's own setting, the same for all nodes. */
  readonly istioDataplaneMode: 'honoured' | 'ignored';
}

export const DEFAULT_MESH_CONFIG: MeshConfig = Object.freeze({
  rootNamespace: 'istio-system',
  trustDomain: 'cluster.local',
  trustDomainAliases: [],
  extensionProviders: [],
  numTrustedProxies: 0,
  pathNormalization: 'BASE',
  outboundTrafficPolicy: 'ALLOW_ANY',
  connectTimeoutMs: 10_000,
  accessLogFile: '',
  accessLogEncoding: 'TEXT',
  accessLogFormat: '',
  istioDataplaneMode: 'honoured',
});

export interface ContainerPort {
  readonly name: string;
  readonly port: number;
}

/** A pod, of any node. */
export interface Workload {
  /** `ns/name`. */
  readonly id: string;
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly node: string;
  readonly addresses: readonly string[];
  readonly phase: string;
  readonly ready: boolean;
  readonly hostNetwork: boolean;
  /** Whoever owns it wants it in the mesh, whether or not it can be. */
  readonly asked: boolean;
  readonly enrolled: boolean;
  /** Why it is, or is not, enrolled. */
  readonly enrolReason: string;
  readonly ports: readonly ContainerPort[];
  /** What the kubelet asks of it: liveness, readiness and startup of its containers. */
  readonly probes: readonly Probe[];
  /** How a standalone agent finds its network namespace (annotation orlop.io/netns). */
  readonly netnsPath: string | undefined;
  /** Name of the Deployment (or other owner) behind it: `source_workload`. */
  readonly workloadName: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly app: string;
  readonly version: string;
}

export interface ServicePort {
  readonly name: string;
  readonly port: number;
  readonly targetPort: number | string;
  readonly appProtocol: string;
  readonly udp: boolean;
}

export interface Service {
  readonly origin: Origin;
  readonly host: string;
  readonly clusterIPs: readonly string[];
  readonly headless: boolean;
  readonly externalName: string;
  readonly ports: readonly ServicePort[];
  readonly selector: Readonly<Record<string, string>> | undefined;
  readonly exportTo: readonly string[];
  /** From EndpointSlices; undefined when there are none, and pods are selected instead. */
  readonly endpoints: readonly SliceEndpoint[] | undefined;
}

/** One address of an EndpointSlice, with the port numbers by port name. */
export interface SliceEndpoint {
  readonly address: string;
  readonly ready: boolean;
  readonly workload: string | undefined;
  readonly ports: Readonly<Record<string, number>>;
}
