/** Snapshot and gateway to the gateway's table. Pure: the same snapshot gives the same table. */
import { formatSpiffeId } from '../../core/spiffe.ts';
import { podsByAddress } from '../compile/compile.ts';
import { covers } from '../host.ts';
import type { Snapshot } from '../snapshot.ts';
import type { HostTable, ObjectRef, Route, Table, TcpRoute } from '../table.ts';
import { routesOf } from './attachment.ts';
import { listenerRules } from './backend-tls.ts';
import { clusterKeys, clustersFor } from './clusters.ts';
import { hostTableOf, listenerHosts } from './host-tables.ts';
import { ISTIO_GATEWAY_LABELS, istioGatewayId, istioPorts } from './istio.ts';
import { serversOf } from './istio-servers.ts';
import { isServed, listenersOf, ownGateways, secretOf, terminates } from './listeners.ts';
import type { GatewayResource, Listener } from './listeners.ts';
import type { TlsRouteResource } from './resources.ts';
import { connectionRoutes } from './rules.ts';
import { authorizerClusters, gatewaySecurity, labelsOfGateway } from './security.ts';
import { serverNameTable } from './server-names.ts';
import { GATEWAY, ISTIO_GATEWAY } from './table.ts';
import type { GatewayId, GatewayPort, GatewayTable, TlsServer, TlsTermination } from './table.ts';

/** The gateways of a cluster: each Gateway of a class of Orlop's, and the one that Istio's Gateways are together, where there are any to serve. */
export function gatewaysOf(snapshot: Snapshot): GatewayId[] {
  const own = ownGateways(snapshot).map(({ namespace, name }): GatewayId => ({ kind: GATEWAY, namespace, name }));
  return serversOf(snapshot).ports.size === 0 ? own : [...own, istioGatewayId(snapshot.mesh)];
}

/** Undefined: there is no such gateway, or it is not Orlop's. */
export function compileGateway(snapshot: Snapshot, id: GatewayId): GatewayTable | undefined {
  if (id.kind === ISTIO_GATEWAY) return serversOf(snapshot).ports.size === 0 ? undefined : tableOf(snapshot, id, istioPorts(snapshot), ISTIO_GATEWAY_LABELS, undefined);
  const gateway = ownGateways(snapshot).find(({ namespace, name }) => namespace === id.namespace && name === id.name);
  if (gateway === undefined) return undefined;
  return tableOf(snapshot, id, portsOf(gateway, snapshot), labelsOfGateway(gateway), credentialOf(gateway, snapshot));
}

/** What the gateway shows to backends that ask for a certificate; undefined: none, or none that it may name. */
export function credentialOf(gateway: GatewayResource, snapshot: Snapshot): ObjectRef | undefined {
  const ref = gateway.spec.tls?.backend?.clientCertificateRef;
  const found = ref === undefined ? undefined : secretOf(ref, gateway, snapshot, 'InvalidClientCertificateRef');
  return found !== undefined && 'kind' in found ? found : undefined;
}

function tableOf(snapshot: Snapshot, id: GatewayId, ports: ReadonlyMap<number, GatewayPort>, labels: Readonly<Record<string, string>>, credential: ObjectRef | undefined): GatewayTable {
  const serviceAccount = `${id.name}-orlop`;
  const { requests, connections } = routesIn(ports.values());
  const clusters = clustersFor(new Set([...clusterKeys(requests, connections), ...authorizerClusters(snapshot)]), id.namespace, credential, snapshot);
  const table: Table = {
    version: snapshot.version,
    workloadClass: `${id.kind} ${id.namespace}/${id.name}`,
    outbound: NOTHING,
    inbound: new Map(),
    security: gatewaySecurity(snapshot, id, labels, clusters),
    clusters,
    podAt: podsByAddress(snapshot),
  };
  return Object.freeze({ gateway: id, serviceAccount, identity: formatSpiffeId({ trustDomain: snapshot.mesh.trustDomain, namespace: id.namespace, serviceAccount }), table: Object.freeze(table), ports });
}

/** A gateway sends nothing by itself. */
const NOTHING: Table['outbound'] = Object.freeze({ mode: 'REGISTRY_ONLY', destinations: new Map(), ranges: [], anyAddress: new Map(), httpPorts: new Map(), tlsPorts: new Map() });

function routesIn(ports: Iterable<GatewayPort>): { readonly requests: readonly Route[]; readonly connections: readonly TcpRoute[] } {
  const requests: Route[] = [];
  const connections: TcpRoute[] = [];
  const note = ({ exact, wildcards }: HostTable): void => {
    for (const host of [...exact.values(), ...wildcards.map((one) => one.host)]) requests.push(...host.routes);
  };
  for (const port of ports) {
    if (port.kind === 'http') note(port.hosts);
    else if (port.kind === 'tcp') connections.push(...port.routes);
    else {
      for (const server of [...port.servers.exact.values(), ...port.servers.wildcards.map((one) => one.server)]) {
        if (server.hosts !== undefined) note(server.hosts);
        connections.push(...server.routes);
      }
    }
  }
  return { requests, connections };
}

function portsOf(gateway: GatewayResource, snapshot: Snapshot): Map<number, GatewayPort> {
  const valid = Map.groupBy(listenersOf(gateway, snapshot).filter(isServed), ({ spec }) => spec.port);
  return new Map([...valid].map(([port, listeners]) => [port, portOf(port, listeners, snapshot)]));
}

/** Valid listeners of one port are of one family. */
function portOf(port: number, listeners: readonly Listener[], snapshot: Snapshot): GatewayPort {
  const names = listeners.map(({ spec }) => spec.name);
  switch (listeners[0]?.family) {
    case 'http':
      return { kind: 'http', port, listeners: names, hosts: hostTableOf(listenerHosts(listeners, snapshot)) };
    case 'tls':
      return { kind: 'tls', port, listeners: names, servers: serverNameTable(listeners.flatMap((listener) => serversFor(listener, listeners, snapshot))) };
    default:
      return { kind: 'tcp', port, listeners: names, routes: listeners.flatMap((listener) => connectionsOf(listener, snapshot)) };
  }
}

/** The oldest of the routes that a port has: bytes cannot be told apart. */
function connectionsOf(listener: Listener, snapshot: Snapshot): TcpRoute[] {
  const [first] = routesOf(listener, snapshot).flatMap(({ route }) => (route.kind === 'TCPRoute' ? [route] : []));
  return first === undefined ? [] : connectionRoutes(first, listenerRules(listener.spec.port, snapshot));
}

/** Names of the listener's routes before its own; those that a more specific listener of the port has are left to it. */
function serversFor(listener: Listener, all: readonly Listener[], snapshot: Snapshot): [string, TlsServer][] {
  const { spec, hostname } = listener;
  const termination = terminates(spec) ? terminationOf(listener) : undefined;
  const own: TlsServer = { listener: spec.name, termination, hosts: spec.protocol === 'HTTPS' ? hostTableOf(listenerHosts([listener], snapshot)) : undefined, routes: [] };
  if (spec.protocol === 'HTTPS') return [[hostname, own]];
  const rivals = all.filter((other) => other !== listener && other.hostname !== hostname && covers(hostname, other.hostname));
  const routed = routesOf(listener, snapshot).flatMap(({ route, hostnames }) => (route.kind === 'TLSRoute' ? hostnames.map((name): [string, TlsServer] => [name, { ...own, routes: routesFor(route, listener, snapshot) }]) : []));
  return [...routed.filter(([name]) => !rivals.some((other) => covers(other.hostname, name))), [hostname, own]];
}

function routesFor(route: TlsRouteResource, listener: Listener, snapshot: Snapshot): TcpRoute[] {
  return connectionRoutes(route, listenerRules(listener.spec.port, snapshot));
}

function terminationOf({ certificates, clients }: Listener): TlsTermination {
  return { certificates, clients, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3', cipherSuites: [] };
}
