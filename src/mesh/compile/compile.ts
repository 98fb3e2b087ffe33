/**
 * Snapshot and workload to table. What is the same for all workloads of a class is computed once per snapshot: a class is a
 * namespace and the values of those labels that some rule asks for, so a node has few of them. What a snapshot has in common with
 * the one before it is not computed again, if {@link carry} says which that was.
 */
import { formatSpiffeId } from '../../core/spiffe.ts';
import { qualify } from '../host.ts';
import type { InboundSecurity } from '../security.ts';
import type { Service, Snapshot, Workload } from '../snapshot.ts';
import type { InboundPort, PodIdentity, Table } from '../table.ts';
import { carryWorkloads, workloadIndexOf } from '../workload-index.ts';
import { OutboundCompiler, renewed } from './outbound.ts';
import type { Outbound } from './outbound.ts';
import { serviceProtocol } from './protocol.ts';
import { hasLabels, registryOf, targetPort } from './registry.ts';
import type { RegistryService } from './registry.ts';
import { compileSecurity, selectSecurity } from './security.ts';
import type { Selected } from './security.ts';

/** What is computed from a snapshot alone. */
interface Index {
  readonly registry: readonly RegistryService[];
  /** Labels that decide which rules a client gets. */
  readonly labelKeys: readonly string[];
  readonly outbound: Map<string, Outbound>;
  readonly services: ReadonlyMap<string, readonly Service[]>;
  /** What callers find at a pod, by pod. */
  readonly served: Map<string, Served>;
  readonly podAt: Table['podAt'];
  /** Security resources by pod, and what they compile to by class. */
  readonly chosen: Map<string, Selected>;
  readonly security: Map<string, InboundSecurity>;
  /** Of the snapshot before, where nothing but endpoints is different. */
  readonly earlier: Earlier | undefined;
}

interface Earlier {
  readonly outbound: ReadonlyMap<string, Outbound>;
  /** Services whose endpoints are others now. */
  readonly changed: readonly RegistryService[];
}

/** What the Services of its namespace make of a pod. */
interface Served {
  /** By container port. */
  readonly ports: ReadonlyMap<number, InboundPort>;
  /** Names of the Services it is behind. */
  readonly services: ReadonlySet<string>;
}

const indexes = new WeakMap<Snapshot, Index>();

/** The table of one workload. Pure: the same snapshot and workload give the same table. */
export function compile(snapshot: Snapshot, workload: Workload): Table {
  const index = indexOf(snapshot);
  const name = clientClass(index, workload);
  let shared = index.outbound.get(name);
  if (shared === undefined) {
    const before = index.earlier?.outbound.get(name);
    shared = before === undefined ? new OutboundCompiler(snapshot, index.registry, workload).compile() : renewed(before, index.earlier?.changed ?? [], snapshot, workload);
    index.outbound.set(name, shared);
  }
  const security = securityOf(snapshot, index, workload, name, shared.clusters);
  return Object.freeze({ version: snapshot.version, workloadClass: workloadClass(snapshot, workload), ...shared, inbound: servedBy(index, workload).ports, security, podAt: index.podAt });
}

/**
 * Have `after` compiled with what was computed for `before` and still holds; the tables are the same either way. Most changes of a cluster are
 * of endpoints, and then the cost is that of what has changed, not of the cluster.
 */
export function carry(before: Snapshot, after: Snapshot): void {
  const known = indexes.get(before);
  if (known === undefined) return;
  carryWorkloads(before, after);
  const index = indexOf(after);
  if (!sameRules(before, after)) return;
  const changed = onlyEndpoints(known.registry, index.registry);
  // The same rules for the same hosts demand the same.
  if (changed !== undefined) indexes.set(after, { ...index, security: new Map(known.security), earlier: { outbound: known.outbound, changed } });
}

/** Lists are the same objects when they have the same elements (change.ts). */
function sameRules(before: Snapshot, after: Snapshot): boolean {
  return Object.entries(after).every(([key, value]) => FACTS.has(key) || value === before[key as keyof Snapshot]);
}

/** What a snapshot says of the cluster as it is, and not of how it should be. */
const FACTS: ReadonlySet<string> = new Set<keyof Snapshot>(['version', 'workloads', 'services', 'problems', 'objects']);

/** Services of which nothing but endpoints is different; undefined when anything else is. */
function onlyEndpoints(before: readonly RegistryService[], after: readonly RegistryService[]): RegistryService[] | undefined {
  if (before.length !== after.length) return undefined;
  const changed: RegistryService[] = [];
  for (const [i, service] of after.entries()) {
    const earlier = before[i];
    if (earlier === service) continue;
    if (earlier === undefined || !service.kubernetes || service.headless || faceOf(earlier) !== faceOf(service)) return undefined;
    changed.push(service);
  }
  return changed;
}

/** All of a service but its endpoints. */
function faceOf(service: RegistryService): string {
  return JSON.stringify({ ...service, ports: service.ports.map(({ port, protocol }) => ({ port, protocol })) });
}

/** Workloads of the same class have the same table. */
export function workloadClass(snapshot: Snapshot, workload: Workload): string {
  const index = indexOf(snapshot);
  const ports = [...servedBy(index, workload).ports].map(([port, { service, protocol }]) => `${port}=${protocol}:${service.host}`);
  return [clientClass(index, workload), ...ports, selectedFor(snapshot, index, workload).name].join(' ').trimEnd();
}

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
    chosen = selectSecurity(snapshot, workload, servedBy(index, workload).services);
    index.chosen.set(workload.id, chosen);
  }
  return chosen;
}

function indexOf(snapshot: Snapshot): Index {
  const known = indexes.get(snapshot);
  if (known !== undefined) return known;
  const index: Index = {
    registry: registryOf(snapshot),
    labelKeys: labelKeysOf(snapshot),
    outbound: new Map(),
    services: Map.groupBy(snapshot.services, ({ origin }) => origin.namespace),
    served: new Map(),
    podAt: podsByAddress(snapshot),
    chosen: new Map(),
    security: new Map(),
    earlier: undefined,
  };
  indexes.set(snapshot, index);
  return index;
}

export function podsByAddress(snapshot: Snapshot): Table['podAt'] {
  const workloads = workloadIndexOf(snapshot);
  const { trustDomain } = snapshot.mesh;
  return (address) => {
    const workload = workloads.at(address);
    return workload?.enrolled === true ? podIdentity(workload, trustDomain) : undefined;
  };
}

const podIdentities = new WeakMap<Workload, PodIdentity>();

function podIdentity(workload: Workload, trustDomain: string): PodIdentity {
  const { id, node, enrolled, namespace, serviceAccount } = workload;
  const identity = formatSpiffeId({ trustDomain, namespace, serviceAccount });
  const known = podIdentities.get(workload);
  if (known?.identity === identity) return known;
  const pod = Object.freeze({ workload: id, node, enrolled, identity });
  podIdentities.set(workload, pod);
  return pod;
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

/**
 * Services are in order of age, so the oldest one names a port that several lead to. Only those of the pod's own namespace count: whoever may
 * write EndpointSlices in another must not decide how its ports are read.
 */
function servedBy({ services, served }: Index, workload: Workload): Served {
  const known = served.get(workload.id);
  if (known !== undefined) return known;
  const ports = new Map<number, InboundPort>();
  const names = new Set<string>();
  for (const service of services.get(workload.namespace) ?? []) {
    if (!leadsTo(service, workload)) continue;
    const { name, namespace } = service.origin;
    names.add(name);
    for (const port of service.ports) {
      const number = targetPort(port, workload);
      if (number === undefined || port.udp || ports.has(number)) continue;
      ports.set(number, { protocol: serviceProtocol(port), service: { host: qualify(name, namespace), name, namespace } });
    }
  }
  const own = { ports, services: names };
  served.set(workload.id, own);
  return own;
}

/** Names of the pods behind a Service that has EndpointSlices. */
const members = new WeakMap<Service, ReadonlySet<string>>();

function leadsTo(service: Service, workload: Workload): boolean {
  const { endpoints, selector } = service;
  if (endpoints === undefined) return selector !== undefined && hasLabels(workload.labels, selector);
  const known = members.get(service) ?? new Set(endpoints.flatMap((endpoint) => endpoint.workload ?? []));
  members.set(service, known);
  return known.has(workload.id);
}
