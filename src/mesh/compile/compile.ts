/**
 * Snapshot and workload to table. What is the same for all workloads of a class is computed once per snapshot: a class is a
 * namespace and the values of those labels that some rule asks for, so a node has few of them.
 */
import { formatSpiffeId } from '../../core/spiffe.ts';
import { qualify } from '../host.ts';
import type { InboundSecurity } from '../security.ts';
import type { Snapshot, Workload } from '../snapshot.ts';
import type { InboundPort, PodIdentity, Table } from '../table.ts';
import { OutboundCompiler } from './outbound.ts';
import { serviceProtocol } from './protocol.ts';
import { registryOf, selected, targetPort } from './registry.ts';
import type { RegistryService } from './registry.ts';
import { compileSecurity, selectSecurity } from './security.ts';
import type { Selected } from './security.ts';

/** What is computed from a snapshot alone. */
interface Index {
  readonly registry: readonly RegistryService[];
  /** Labels that decide which rules a client gets. */
  readonly labelKeys: readonly string[];
  readonly outbound: Map<string, Pick<Table, 'outbound' | 'clusters'>>;
  /** Container port → what it serves, by pod. */
  readonly inbound: ReadonlyMap<string, ReadonlyMap<number, InboundPort>>;
  /** Names of the Services of its own namespace that a pod is behind, by pod. */
  readonly services: ReadonlyMap<string, ReadonlySet<string>>;
  readonly podAt: Table['podAt'];
  /** Security resources by pod, and what they compile to by class. */
  readonly chosen: Map<string, Selected>;
  readonly security: Map<string, InboundSecurity>;
}

const indexes = new WeakMap<Snapshot, Index>();

/** The table of one workload. Pure: the same snapshot and workload give the same table. */
export function compile(snapshot: Snapshot, workload: Workload): Table {
  const index = indexOf(snapshot);
  const name = clientClass(index, workload);
  let shared = index.outbound.get(name);
  if (shared === undefined) {
    shared = new OutboundCompiler(snapshot, index.registry, workload).compile();
    index.outbound.set(name, shared);
  }
  const security = securityOf(snapshot, index, workload, name, shared.clusters);
  return Object.freeze({ version: snapshot.version, workloadClass: workloadClass(snapshot, workload), ...shared, inbound: index.inbound.get(workload.id) ?? NO_PORTS, security, podAt: index.podAt });
}

/** Workloads of the same class have the same table. */
export function workloadClass(snapshot: Snapshot, workload: Workload): string {
  const index = indexOf(snapshot);
  const ports = [...(index.inbound.get(workload.id) ?? NO_PORTS)].map(([port, { service, protocol }]) => `${port}=${protocol}:${service.host}`);
  return [clientClass(index, workload), ...ports, selectedFor(snapshot, index, workload).name].join(' ').trimEnd();
}

const NO_PORTS: ReadonlyMap<number, InboundPort> = new Map();
const NO_SERVICES: ReadonlySet<string> = new Set();

function clientClass({ labelKeys }: Index, { namespace, labels }: Workload): string {
  return [namespace, ...labelKeys.map((key) => (labels[key] === undefined ? key : `${key}=${labels[key]}`))].join(',');
}

function securityOf(snapshot: Snapshot, index: Index, workload: Workload, client: string, clusters: Table['clusters']): InboundSecurity {
  const chosen = selectedFor(snapshot, index, workload);
  const key = `${client} ${chosen.name}`;
  let security = index.security.get(key);
  if (security === undefined) {
    security = compileSecurity(snapshot, chosen, clusters);
    index.security.set(key, security);
  }
  return security;
}

function selectedFor(snapshot: Snapshot, index: Index, workload: Workload): Selected {
  let chosen = index.chosen.get(workload.id);
  if (chosen === undefined) {
    chosen = selectSecurity(snapshot, workload, index.services.get(workload.id) ?? NO_SERVICES);
    index.chosen.set(workload.id, chosen);
  }
  return chosen;
}

function indexOf(snapshot: Snapshot): Index {
  const known = indexes.get(snapshot);
  if (known !== undefined) return known;
  const index: Index = { registry: registryOf(snapshot), labelKeys: labelKeysOf(snapshot), outbound: new Map(), ...inboundOf(snapshot), podAt: podsByAddress(snapshot), chosen: new Map(), security: new Map() };
  indexes.set(snapshot, index);
  return index;
}

function podsByAddress({ workloads, mesh: { trustDomain } }: Snapshot): Table['podAt'] {
  const pods = new Map<string, PodIdentity>();
  for (const { id, addresses, node, enrolled, namespace, serviceAccount, phase } of workloads) {
    // One that has ended gives its address back while its object is still there.
    if (!enrolled || phase === 'Succeeded' || phase === 'Failed') continue;
    const pod = Object.freeze({ workload: id, node, enrolled, identity: formatSpiffeId({ trustDomain, namespace, serviceAccount }) });
    for (const address of addresses) pods.set(address, pod);
  }
  return (address) => pods.get(address);
}

function labelKeysOf(snapshot: Snapshot): string[] {
  const keys = new Set<string>();
  const note = (labels: Readonly<Record<string, string>> | undefined): void => {
    for (const key of Object.keys(labels ?? {})) keys.add(key);
  };
  for (const { spec } of snapshot.virtualServices) {
    for (const route of [...(spec.http ?? []), ...(spec.tcp ?? []), ...(spec.tls ?? [])]) for (const match of route.match ?? []) note(match.sourceLabels);
  }
  for (const { spec } of snapshot.destinationRules) note(spec.workloadSelector?.matchLabels);
  return [...keys].sort();
}

/** Services are in order of age, so the oldest one names a port that several lead to. */
function inboundOf(snapshot: Snapshot): Pick<Index, 'inbound' | 'services'> {
  const services = new Map<string, Set<string>>();
  const byPod = new Map<string, Map<number, InboundPort>>();
  const pods = new Map(snapshot.workloads.map((workload) => [workload.id, workload]));
  for (const service of snapshot.services) {
    const members = service.endpoints === undefined ? selected(service, snapshot) : [...new Set(service.endpoints.flatMap(({ workload }) => workload ?? []))].flatMap((id) => pods.get(id) ?? []);
    for (const pod of members) {
      const known = services.get(pod.id) ?? new Set();
      if (service.origin.namespace === pod.namespace) services.set(pod.id, known.add(service.origin.name));
      const ports = byPod.get(pod.id) ?? new Map<number, InboundPort>();
      byPod.set(pod.id, ports);
      for (const port of service.ports) {
        const number = targetPort(port, pod);
        if (number === undefined || port.udp || ports.has(number)) continue;
        const { name, namespace } = service.origin;
        ports.set(number, { protocol: serviceProtocol(port), service: { host: qualify(name, namespace), name, namespace } });
      }
    }
  }
  return { inbound: byPod, services };
}
