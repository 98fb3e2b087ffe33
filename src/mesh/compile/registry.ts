/** Kubernetes Services and ServiceEntries as one kind of thing: what can be called, by which addresses, with which endpoints. */
import { formatSpiffeId } from '../../core/spiffe.ts';
import { qualify } from '../host.ts';
import type { Resource, ServiceEntrySpec, WorkloadEntrySpec } from '../resources.ts';
import type { Service, ServicePort, Snapshot, Workload } from '../snapshot.ts';
import type { ClusterSpec, EndpointSpec, Protocol, ServiceRef } from '../table.ts';
import { workloadIndexOf } from '../workload-index.ts';
import type { WorkloadIndex } from '../workload-index.ts';
import { entryProtocol, serviceProtocol } from './protocol.ts';

export interface RegistryPort {
  readonly port: number;
  readonly protocol: Protocol;
  /** What is balanced over: a pod is one endpoint, whichever families it has. */
  readonly endpoints: readonly RegistryEndpoint[];
  /** Every address with its port. */
  readonly addresses: readonly RegistryEndpoint[];
}

export interface RegistryEndpoint extends EndpointSpec {
  /** What subsets select by. */
  readonly labels: Readonly<Record<string, string>>;
}

export interface RegistryService {
  readonly host: string;
  readonly ref: ServiceRef;
  /** Addresses that clients dial: VIPs, or the pods' own where the service is headless. */
  readonly addresses: readonly string[];
  /** Every endpoint's own address leads to it. */
  readonly headless: boolean;
  readonly discovery: ClusterSpec['discovery'];
  readonly ports: readonly RegistryPort[];
  readonly exportTo: readonly string[];
  /** Names that its certificates may have besides. */
  readonly subjectAltNames: readonly string[];
  readonly kubernetes: boolean;
}

const registries = new WeakMap<Snapshot, readonly RegistryService[]>();

/**
 * Everything that can be called, Services before ServiceEntries: an entry for a Service's host does not replace it. Several
 * entries may have one host: which of them count depends on who asks.
 */
export function registryOf(snapshot: Snapshot): readonly RegistryService[] {
  const known = registries.get(snapshot);
  if (known !== undefined) return known;
  const made = read(snapshot);
  registries.set(snapshot, made);
  return made;
}

function read(snapshot: Snapshot): RegistryService[] {
  const workloads = workloadIndexOf(snapshot);
  const services = snapshot.services.map((service) => kubernetesService(service, snapshot, workloads));
  const known = new Set(services.map(({ host }) => host));
  for (const entry of snapshot.serviceEntries) {
    for (const host of entry.spec.hosts) {
      if (known.has(host.toLowerCase())) continue;
      services.push(fromEntry(entry, host.toLowerCase(), snapshot));
    }
  }
  return services;
}

/** A pod with addresses of both families would otherwise get twice its share, and two ejections; its IPv4 address is used. */
function registryPort(port: number, protocol: Protocol, addresses: readonly RegistryEndpoint[]): RegistryPort {
  const byPod = new Map<string, RegistryEndpoint>();
  for (const one of addresses) {
    const key = one.workload ?? one.address;
    const known = byPod.get(key);
    if (known === undefined || (known.address.includes(':') && !one.address.includes(':'))) byPod.set(key, one);
  }
  return { port, protocol, endpoints: [...byPod.values()], addresses };
}

interface Made {
  readonly pods: readonly (Workload | undefined)[];
  readonly trustDomain: string;
  readonly service: RegistryService;
}

/** What was made of a Service, which stays the same for as long as it, the pods behind it and their trust domain do. */
const made = new WeakMap<Service, Made>();

function kubernetesService(service: Service, snapshot: Snapshot, workloads: WorkloadIndex): RegistryService {
  const { trustDomain } = snapshot.mesh;
  const pods = service.endpoints === undefined ? selected(service, snapshot) : service.endpoints.map(({ workload }) => (workload === undefined ? undefined : workloads.get(workload)));
  const known = made.get(service);
  if (known !== undefined && known.trustDomain === trustDomain && known.pods.length === pods.length && pods.every((pod, i) => pod === known.pods[i])) return known.service;
  const fresh = fromService(service, snapshot, workloads);
  made.set(service, { pods, trustDomain, service: fresh });
  return fresh;
}

function fromService(service: Service, snapshot: Snapshot, workloads: WorkloadIndex): RegistryService {
  const { origin, host, headless, externalName } = service;
  const ports = service.ports.filter(({ udp }) => !udp);
  return {
    host,
    ref: { host, name: origin.name, namespace: origin.namespace },
    addresses: service.clusterIPs,
    headless,
    discovery: externalName === '' ? (headless ? 'original' : 'static') : 'dns',
    ports: ports.map((port) => registryPort(port.port, serviceProtocol(port), endpointsOf(service, port, snapshot, workloads))),
    exportTo: service.exportTo.map((where) => (where === '.' ? origin.namespace : where)),
    subjectAltNames: [],
    kubernetes: true,
  };
}

function endpointsOf(service: Service, port: ServicePort, snapshot: Snapshot, workloads: WorkloadIndex): RegistryEndpoint[] {
  const { trustDomain } = snapshot.mesh;
  if (service.externalName !== '') return [stranger(service.externalName, typeof port.targetPort === 'number' ? port.targetPort : port.port)];
  if (service.endpoints !== undefined) {
    return service.endpoints.flatMap(({ address, ready, workload, ports }) => {
      const number = ports[port.name];
      return ready && number !== undefined ? [endpoint(address, number, workload === undefined ? undefined : workloads.get(workload), trustDomain)] : [];
    });
  }
  // No EndpointSlice: a directory of YAML has no endpoint controller, so pods are selected here as it would.
  return selected(service, snapshot).flatMap((workload) => {
    const number = targetPort(port, workload);
    return workload.ready && number !== undefined ? workload.addresses.map((address) => endpoint(address, number, workload, trustDomain)) : [];
  });
}

const podsOf = new WeakMap<Snapshot, ReadonlyMap<string, readonly Workload[]>>();

/** The pods of a Service's selector. They are looked for in its namespace only: a cluster of 10,000 Services has many of both. */
export function selected(service: Service, snapshot: Snapshot): Workload[] {
  const { selector, origin } = service;
  if (selector === undefined) return [];
  let pods = podsOf.get(snapshot);
  if (pods === undefined) {
    pods = Map.groupBy(snapshot.workloads, ({ namespace }) => namespace);
    podsOf.set(snapshot, pods);
  }
  return (pods.get(origin.namespace) ?? []).filter(({ labels }) => hasLabels(labels, selector));
}

/** The container port that a service port leads to in this pod. */
export function targetPort(port: ServicePort, workload: Workload): number | undefined {
  return typeof port.targetPort === 'number' ? port.targetPort : workload.ports.find(({ name }) => name === port.targetPort)?.port;
}

export function hasLabels(labels: Readonly<Record<string, string>>, wanted: Readonly<Record<string, string>>): boolean {
  for (const key in wanted) if (labels[key] !== wanted[key]) return false;
  return true;
}

function endpoint(address: string, port: number, workload: Workload | undefined, trustDomain: string): RegistryEndpoint {
  if (workload === undefined) return stranger(address, port);
  const { id, node, enrolled, namespace, serviceAccount, labels } = workload;
  return { address, port, weight: 1, workload: id, node, enrolled, identity: formatSpiffeId({ trustDomain, namespace, serviceAccount }), labels };
}

function stranger(address: string, port: number): RegistryEndpoint {
  return { address, port, weight: 1, workload: undefined, node: undefined, enrolled: false, identity: '', labels: {} };
}

function fromEntry(entry: Resource<ServiceEntrySpec>, host: string, snapshot: Snapshot): RegistryService {
  const { spec, namespace } = entry;
  const { resolution = 'NONE', addresses = [] } = spec;
  return {
    host,
    ref: { host, name: host, namespace },
    addresses,
    headless: false,
    discovery: resolution === 'NONE' ? 'original' : resolution === 'STATIC' ? 'static' : 'dns',
    ports: (spec.ports ?? []).map((port) => registryPort(port.number, entryProtocol(port.protocol ?? ''), entryEndpoints(entry, host, port, snapshot))),
    exportTo: (spec.exportTo ?? ['*']).map((where) => (where === '.' ? namespace : where)),
    subjectAltNames: spec.subjectAltNames ?? [],
    kubernetes: false,
  };
}

type EntryPort = NonNullable<ServiceEntrySpec['ports']>[number];

function entryEndpoints(entry: Resource<ServiceEntrySpec>, host: string, port: EntryPort, snapshot: Snapshot): RegistryEndpoint[] {
  const { spec, namespace } = entry;
  const { resolution = 'NONE', workloadSelector } = spec;
  if (resolution === 'NONE') return [];
  const number = port.targetPort ?? port.number;
  if (workloadSelector !== undefined) return selectedByEntry(workloadSelector.labels ?? {}, namespace, port, number, snapshot);
  const endpoints = (spec.endpoints ?? []).flatMap((one) => fromWorkloadEntry(one, namespace, port.name, number, snapshot));
  // DNS without endpoints means the host itself.
  return endpoints.length === 0 && resolution !== 'STATIC' ? [stranger(host, number)] : endpoints;
}

function selectedByEntry(labels: Readonly<Record<string, string>>, namespace: string, port: EntryPort, number: number, snapshot: Snapshot): RegistryEndpoint[] {
  const pods = snapshot.workloads.filter((workload) => workload.namespace === namespace && workload.ready && hasLabels(workload.labels, labels));
  const entries = snapshot.workloadEntries.filter((one) => one.namespace === namespace && hasLabels(one.spec.labels ?? {}, labels));
  return [
    ...pods.flatMap((workload) => (workload.addresses[0] === undefined ? [] : [endpoint(workload.addresses[0], number, workload, snapshot.mesh.trustDomain)])),
    ...entries.flatMap(({ spec }) => fromWorkloadEntry(spec, namespace, port.name, number, snapshot)),
  ];
}

function fromWorkloadEntry(spec: WorkloadEntrySpec, namespace: string, portName: string, number: number, { mesh: { trustDomain } }: Snapshot): RegistryEndpoint[] {
  const { address = '', ports = {}, labels = {}, weight = 1, serviceAccount = '' } = spec;
  if (address === '' || address.startsWith('unix:')) return [];
  const identity = serviceAccount === '' ? '' : formatSpiffeId({ trustDomain, namespace, serviceAccount });
  return [{ ...stranger(address, ports[portName] ?? number), weight: Math.max(1, weight), identity, labels }];
}

/** Is the service (or rule) with this `exportTo` visible to workloads of `namespace`? */
export function isExported(exportTo: readonly string[], own: string, namespace: string): boolean {
  return exportTo.some((where) => where === '*' || where === namespace || (where === '.' && own === namespace));
}

/** Of several entries with one host those of the client's namespace count, else those of the namespace of the oldest. */
export function visibleTo(registry: readonly RegistryService[], namespace: string): RegistryService[] {
  const visible = registry.filter(({ exportTo, ref }) => isExported(exportTo, ref.namespace, namespace));
  const owners = new Map<string, string>();
  for (const { host, ref } of visible) if (ref.namespace === namespace || !owners.has(host)) owners.set(host, ref.namespace);
  return visible.filter(({ host, ref }) => owners.get(host) === ref.namespace);
}

/** Names by which clients of `namespace` may call a service in the Host header, besides its addresses. */
export function namesOf(service: RegistryService, namespace: string): string[] {
  if (!service.kubernetes) return [service.host];
  const { name, namespace: own } = service.ref;
  const names = [`${name}.${own}`, `${name}.${own}.svc`, qualify(name, own)];
  return own === namespace ? [name, ...names] : names;
}
