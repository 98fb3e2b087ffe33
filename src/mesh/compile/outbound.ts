/** The outbound side of a table, for all workloads of one class. */
import ipaddr from 'ipaddr.js';
import { bySpecificity, covers, qualify } from '../host.ts';
import { matchAll } from '../match.ts';
import { serviceRoutes } from '../gateway/service-routes.ts';
import type { ServiceRoutes } from '../gateway/service-routes.ts';
import type { HostDestination, HttpRoute, L4Route, Resource, VirtualServiceSpec } from '../resources.ts';
import { ANY_PORT } from '../route.ts';
import type { Snapshot, Workload } from '../snapshot.ts';
import type { ClusterSpec, Destination, DestinationRange, HostTable, OutboundTable, Protocol, Route, ServiceRef, SniTable, Table, TcpRoute, VirtualHost } from '../table.ts';
import { clusterName } from './cluster-name.ts';
import { delegated } from './delegate.ts';
import { compileHttpRoute, destinationHost, retryOf } from './http-route.ts';
import { compileL4Routes, sniHostsOf } from './l4-route.ts';
import type { L4Part } from './l4-route.ts';
import type { MatchContext } from './matcher.ts';
import { clusterPolicy, Policies } from './policy.ts';
import type { HostPolicy } from './policy.ts';
import { carriesHttp } from './protocol.ts';
import { hasLabels, isExported, namesOf, visibleTo } from './registry.ts';
import type { RegistryPort, RegistryService } from './registry.ts';

type Rule = Resource<VirtualServiceSpec>;

interface HostsBuilder {
  readonly exact: Map<string, VirtualHost>;
  readonly wildcards: Map<string, VirtualHost>;
}

interface SniBuilder {
  readonly exact: Map<string, readonly TcpRoute[]>;
  readonly wildcards: Map<string, readonly TcpRoute[]>;
}

export type Outbound = Pick<Table, 'outbound' | 'clusters'>;

/** What was compiled for workloads of this class, with the endpoints that these services have now; nothing else may be different. */
export function renewed({ outbound, clusters }: Outbound, changed: readonly RegistryService[], snapshot: Snapshot, { namespace, labels }: Workload): Outbound {
  const visible = visibleTo(changed, namespace);
  if (visible.length === 0) return { outbound, clusters };
  const policies = new Policies(snapshot, namespace, labels);
  const now = new Map(clusters);
  for (const service of visible) {
    const policy = policies.find(service);
    // The first of a number is the one that counts, and so comes last here.
    for (const port of service.ports.toReversed()) for (const cluster of clustersOf(service, port, policy, snapshot)) now.set(cluster.key, cluster);
  }
  return { outbound, clusters: now };
}

export class OutboundCompiler {
  readonly #snapshot: Snapshot;
  readonly #workload: Workload;
  readonly #services: readonly RegistryService[];
  /** Ports of each host. */
  readonly #byHost = new Map<string, RegistryPort[]>();
  readonly #policies: Policies;
  /** Rules bound to the mesh and visible here, oldest first; the first for a host is the one in force. */
  readonly #rules: readonly Rule[];
  readonly #ruleByHost = new Map<string, Rule>();
  readonly #wildRules: { readonly pattern: string; readonly rule: Rule }[] = [];
  readonly #clusters = new Map<string, ClusterSpec>();
  readonly #hosts = new Map<number, HostsBuilder>();
  readonly #sni = new Map<number, SniBuilder>();
  readonly #destinations = new Map<string, Destination>();
  readonly #ranges: DestinationRange[] = [];
  readonly #anyAddress = new Map<number, Destination>();

  constructor(snapshot: Snapshot, registry: readonly RegistryService[], workload: Workload) {
    this.#snapshot = snapshot;
    this.#workload = workload;
    this.#services = visibleTo(registry, workload.namespace);
    for (const { host, ports } of this.#services) this.#byHost.set(host, [...(this.#byHost.get(host) ?? []), ...ports]);
    this.#policies = new Policies(snapshot, workload.namespace, workload.labels);
    this.#rules = snapshot.virtualServices.filter((rule) => this.#isForMesh(rule));
    for (const rule of this.#rules) {
      for (const host of rule.spec.hosts ?? []) {
        const name = qualify(host, rule.namespace);
        if (name.startsWith('*')) this.#wildRules.push({ pattern: name, rule });
        else if (!this.#ruleByHost.has(name)) this.#ruleByHost.set(name, rule);
      }
    }
    this.#wildRules.sort((a, b) => bySpecificity(a.pattern, b.pattern));
  }

  compile(): Outbound {
    for (const service of this.#services) this.#addService(service);
    this.#addHostsWithoutService();
    this.#addServerNamesOfWildcards();
    this.#ranges.sort((a, b) => prefixOf(b.cidr) - prefixOf(a.cidr));
    const outbound: OutboundTable = Object.freeze({
      mode: this.#snapshot.mesh.outboundTrafficPolicy,
      destinations: this.#destinations,
      ranges: this.#ranges,
      anyAddress: this.#anyAddress,
      httpPorts: new Map([...this.#hosts].map(([port, builder]) => [port, hostTable(builder)])),
      tlsPorts: new Map([...this.#sni].map(([port, builder]) => [port, sniTable(builder)])),
    });
    return { outbound, clusters: this.#clusters };
  }

  #isForMesh({ spec, namespace }: Rule): boolean {
    if ((spec.hosts ?? []).length === 0 || !isExported(spec.exportTo ?? ['*'], namespace, this.#workload.namespace)) return false;
    const gateways = spec.gateways ?? ['mesh'];
    // A match block may name the mesh even where the rule as a whole does not.
    const routes: readonly Pick<HttpRoute | L4Route, 'match'>[] = [...(spec.http ?? []), ...(spec.tls ?? []), ...(spec.tcp ?? [])];
    return gateways.includes('mesh') || routes.some((route) => (route.match ?? []).some((match) => match.gateways?.includes('mesh') === true));
  }

  #ruleFor(host: string): Rule | undefined {
    return this.#ruleByHost.get(host) ?? this.#wildRules.find(({ pattern }) => covers(pattern, host))?.rule;
  }

  #addService(service: RegistryService): void {
    const rule = this.#ruleFor(service.host);
    const policy = this.#policies.find(service);
    for (const port of service.ports) {
      // An older entry of the same host has the port.
      if (this.#clusters.has(clusterName(port.port, '', service.host))) continue;
      for (const cluster of clustersOf(service, port, policy, this.#snapshot)) this.#clusters.set(cluster.key, cluster);
      const attached = serviceRoutes(this.#snapshot, service, port, this.#workload.namespace);
      const protocol = protocolOf(port, attached);
      const virtualHost = carriesHttp(protocol) ? this.#attachedHost(service, port, attached) ?? this.#virtualHost(service.host, service.ref, rule, port.port) : undefined;
      if (virtualHost !== undefined) this.#addHost(port.port, [...namesOf(service, this.#workload.namespace), ...service.addresses.filter((address) => !address.includes('/'))], virtualHost);
      const destination: Destination = { service: service.ref, port: port.port, protocol, tcpRoutes: attached.connections ?? this.#tcpRoutes(service, rule, port.port), virtualHost };
      this.#addDestination(service, port, destination);
      if (protocol === 'tls' || protocol === 'sniff') this.#addSni(port.port, service.host, rule, destination, attached);
    }
  }

  #addDestination(service: RegistryService, port: RegistryPort, destination: Destination): void {
    const addresses = service.headless ? port.addresses.map(({ address }) => address) : service.addresses;
    for (const address of addresses) {
      if (address.includes('/')) this.#ranges.push({ cidr: address, port: port.port, destination });
      else setOnce(this.#destinations, `${normal(address)}:${service.headless ? endpointPort(port, address) : port.port}`, destination);
    }
    // A ServiceEntry without address takes every connection to its port that nothing else claims, where only the port can tell.
    if (!service.kubernetes && addresses.length === 0 && port.protocol === 'tcp') setOnce(this.#anyAddress, port.port, destination);
  }

  /** Routes of the Gateway API decide alone: VirtualServices of the host have no say on the port (as in Istio). */
  #attachedHost({ host, ref }: RegistryService, { port }: RegistryPort, { requests }: ServiceRoutes): VirtualHost | undefined {
    return requests === undefined ? undefined : { name: `${host}:${port}`, routes: requests, service: ref, byAddress: true };
  }

  #virtualHost(name: string, service: ServiceRef | undefined, rule: Rule | undefined, port: number | undefined): VirtualHost | undefined {
    const routes = rule === undefined || rule.spec.http === undefined ? [] : this.#httpRoutes(rule, rule.spec.http, port);
    // A rule with http routes decides alone: what none of them takes is answered 404 NR.
    if (routes.length > 0 || rule?.spec.http !== undefined) return { name: port === undefined ? name : `${name}:${port}`, routes, service };
    return service === undefined || port === undefined ? undefined : { name: `${name}:${port}`, routes: [defaultRoute(clusterName(port, '', service.host))], service };
  }

  #httpRoutes(rule: Rule, routes: readonly HttpRoute[], port: number | undefined): Route[] {
    const context = this.#context(rule, port);
    const compiled: Route[] = [];
    for (const [i, route] of routes.entries()) {
      for (const own of delegated(route, rule, this.#snapshot)) compiled.push(...compileHttpRoute(own.rule, own.route, i, context, (destination, namespace, from) => this.#clusterKey(destination, namespace, from)));
      // Nothing behind a route that takes everything can ever be reached.
      if (compiled.at(-1)?.match === matchAll) break;
    }
    return compiled;
  }

  #context({ spec }: Rule, port: number | undefined): MatchContext {
    return { namespace: this.#workload.namespace, labels: this.#workload.labels, port, bound: isInMesh(spec.gateways ?? ['mesh']), isAmong: isInMesh };
  }

  /** The destination's own port, else the service's only one, else the port that the client called. */
  #clusterKey(destination: HostDestination, namespace: string, from: number | undefined): string {
    const host = destinationHost(destination, namespace);
    const ports = this.#byHost.get(host) ?? [];
    const port = destination.port?.number ?? (ports.length === 1 ? ports[0]?.port : from) ?? ports[0]?.port ?? 0;
    return clusterName(port, destination.subset ?? '', host);
  }

  #tcpRoutes(service: RegistryService, rule: Rule | undefined, port: number): TcpRoute[] {
    const written = rule?.spec.tcp === undefined ? [] : this.#l4Routes(rule, 'tcp', port, () => true);
    return written.length > 0 ? written : [opaqueRoute(service.host, clusterName(port, '', service.host))];
  }

  #l4Routes(rule: Rule, part: 'tcp' | 'tls', port: number, wanted: L4Part['wanted']): TcpRoute[] {
    return compileL4Routes({ rule, part, wanted }, this.#context(rule, port), (destination, namespace, from) => this.#clusterKey(destination, namespace, from));
  }

  #addSni(port: number, host: string, rule: Rule | undefined, destination: Destination, { serverNames }: ServiceRoutes): void {
    const builder = this.#sni.get(port) ?? { exact: new Map(), wildcards: new Map() };
    this.#sni.set(port, builder);
    for (const { name, routes } of serverNames) addSniHost(builder, name, routes);
    for (const sni of rule?.spec.tls === undefined ? [] : sniHostsOf(rule)) {
      const routes = this.#l4Routes(rule as Rule, 'tls', port, (match) => match.sniHosts?.includes(sni) === true);
      if (routes.length > 0) addSniHost(builder, sni.toLowerCase(), routes);
    }
    addSniHost(builder, host, destination.tcpRoutes);
  }

  /** Hosts of rules that no service has: found by the Host header alone, on whichever port it comes in. */
  #addHostsWithoutService(): void {
    for (const rule of this.#rules) {
      for (const host of rule.spec.hosts ?? []) {
        const name = qualify(host, rule.namespace);
        if (this.#byHost.has(name) || (!name.startsWith('*') && this.#ruleByHost.get(name) !== rule)) continue;
        const names = name === qualify(host, '') || !name.endsWith('.svc.cluster.local') ? [name] : [host.toLowerCase(), name];
        for (const port of [undefined, ...portsOf(rule)]) {
          const virtualHost = this.#virtualHost(name, undefined, rule, port);
          if (virtualHost !== undefined) this.#addHost(port ?? ANY_PORT, names, virtualHost);
        }
      }
    }
  }

  /** Server names that a rule routes, and that only a wildcard ServiceEntry of the port has. */
  #addServerNamesOfWildcards(): void {
    for (const rule of this.#rules) {
      for (const sni of rule.spec.tls === undefined ? [] : sniHostsOf(rule)) {
        for (const [port, builder] of this.#sni) {
          if (![...builder.wildcards.keys()].some((suffix) => covers(`*${suffix}`, sni.toLowerCase()))) continue;
          const routes = this.#l4Routes(rule, 'tls', port, (match) => match.sniHosts?.includes(sni) === true);
          if (routes.length > 0) addSniHost(builder, sni.toLowerCase(), routes);
        }
      }
    }
  }

  #addHost(port: number, names: readonly string[], host: VirtualHost): void {
    const builder = this.#hosts.get(port) ?? { exact: new Map(), wildcards: new Map() };
    this.#hosts.set(port, builder);
    for (const name of names) setOnce(name.startsWith('*') ? builder.wildcards : builder.exact, name.startsWith('*') ? name.slice(1) : name, host);
  }
}

/** A port whose routes are for connections, and for no requests, is not looked into. */
function protocolOf({ protocol }: RegistryPort, { requests, connections }: ServiceRoutes): Protocol {
  return connections !== undefined && requests === undefined && carriesHttp(protocol) ? 'tcp' : protocol;
}

/** Of a port of a service: with all its endpoints, and those of its subsets. */
export function clustersOf(service: RegistryService, port: RegistryPort, policy: HostPolicy, { mesh: { connectTimeoutMs } }: Snapshot): ClusterSpec[] {
  const cluster = (endpoints: RegistryPort['endpoints'], subset: HostPolicy['subsets'][number] | undefined): ClusterSpec => ({
    key: clusterName(port.port, subset?.name ?? '', service.host),
    service: service.ref,
    subset: subset?.name ?? '',
    port: port.port,
    protocol: port.protocol,
    discovery: service.discovery,
    endpoints,
    subjectAltNames: service.subjectAltNames,
    ...clusterPolicy(policy, subset, port.port, connectTimeoutMs, service.subjectAltNames),
  });
  return [cluster(port.endpoints, undefined), ...policy.subsets.map((subset) => cluster(port.endpoints.filter((endpoint) => hasLabels(endpoint.labels, subset.labels ?? {})), subset))];
}

const DEFAULT_RETRY = retryOf(undefined);

/** What a service without VirtualService does: everything to its endpoints, with Istio's default retries. */
function defaultRoute(cluster: string): Route {
  const action = { kind: 'forward', clusters: [{ cluster, weight: 1, headers: undefined }], weightTotal: 1, rewrite: undefined, timeoutMs: 0, retry: DEFAULT_RETRY, mirrors: [] } as const;
  return { name: 'default', origin: 'no VirtualService', match: matchAll, action, fault: undefined, cors: undefined, headers: undefined };
}

function opaqueRoute(host: string, cluster: string): TcpRoute {
  return { name: 'default', origin: `service ${host}`, destinationSubnets: [], clusters: [{ cluster, weight: 1, headers: undefined }], weightTotal: 1 };
}

function hostTable({ exact, wildcards }: HostsBuilder): HostTable {
  return { exact, wildcards: [...wildcards].map(([suffix, host]) => ({ suffix, host })).sort((a, b) => b.suffix.length - a.suffix.length) };
}

function sniTable({ exact, wildcards }: SniBuilder): SniTable {
  return { exact, wildcards: [...wildcards].map(([suffix, routes]) => ({ suffix, routes })).sort((a, b) => b.suffix.length - a.suffix.length) };
}

/** Ports that the rule tells apart. */
function portsOf({ spec }: Rule): Set<number> {
  return new Set((spec.http ?? []).flatMap(({ match }) => (match ?? []).flatMap(({ port }) => port ?? [])));
}

function isInMesh(gateways: readonly string[]): boolean {
  return gateways.includes('mesh');
}

function addSniHost({ exact, wildcards }: SniBuilder, name: string, routes: readonly TcpRoute[]): void {
  if (name.startsWith('*')) setOnce(wildcards, name.slice(1), routes);
  else setOnce(exact, name, routes);
}

function endpointPort(port: RegistryPort, address: string): number {
  return port.addresses.find((endpoint) => endpoint.address === address)?.port ?? port.port;
}

function setOnce<K, V>(map: Map<K, V>, key: K, value: V): void {
  if (!map.has(key)) map.set(key, value);
}

/** Shortest form, IPv6 in brackets. */
function normal(address: string): string {
  return address.includes(':') ? `[${ipaddr.parse(address).toString()}]` : address;
}

function prefixOf(cidr: string): number {
  return Number(cidr.split('/')[1] ?? 0);
}
