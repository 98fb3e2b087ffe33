/**
 * Routes whose parent is a Service (GAMMA): what clients of the mesh take when they call it. Routes of the Service's own namespace are for all
 * clients; one of another namespace is for clients of that namespace, and there in place of the others (GEP-1426).
 */
import type { RegistryPort, RegistryService } from '../compile/registry.ts';
import type { Service, Snapshot } from '../snapshot.ts';
import type { Route, TcpRoute } from '../table.ts';
import type { Complaint } from './listeners.ts';
import { byPrecedence, byRouteAge } from './order.ts';
import { GATEWAY_GROUP } from './resources.ts';
import type { GatewayRoute, ParentReference, TcpRouteResource, TlsRouteResource } from './resources.ts';
import { connectionRoutes, requestRoutes } from './rules.ts';

export interface ServiceRoutes {
  /** In the order in which they are asked; undefined: no route is for requests. */
  readonly requests: readonly Route[] | undefined;
  /** By server name, which may begin with `*`. */
  readonly serverNames: readonly { readonly name: string; readonly routes: readonly TcpRoute[] }[];
  /** Undefined: no route is for the port's connections. */
  readonly connections: readonly TcpRoute[] | undefined;
}

interface Attached {
  readonly route: GatewayRoute;
  readonly parent: ParentReference;
}

const NONE: ServiceRoutes = Object.freeze({ requests: undefined, serverNames: [], connections: undefined });
const byService = new WeakMap<Snapshot, ReadonlyMap<string, readonly Attached[]>>();

/** What is attached to one port of a Service, as clients of `namespace` see it. */
export function serviceRoutes(snapshot: Snapshot, { kubernetes, ref }: RegistryService, { port }: Pick<RegistryPort, 'port'>, namespace: string): ServiceRoutes {
  const all = kubernetes ? serviceParents(snapshot).get(`${ref.namespace}/${ref.name}`) : undefined;
  if (all === undefined) return NONE;
  const service = snapshot.services.find(({ origin }) => origin.namespace === ref.namespace && origin.name === ref.name);
  const here = all.filter(({ parent }) => isForPort(parent, port, service));
  const consumers = here.filter(({ route }) => route.namespace === namespace && route.namespace !== ref.namespace);
  const routes = (consumers.length > 0 ? consumers : here.filter((one) => one.route.namespace === ref.namespace)).map(({ route }) => route);
  const attachment = { snapshot, port, parent: `${ref.namespace}/${ref.name}` };
  // Whoever looks deepest into a request claims them all.
  const grpc = routes.filter((route) => route.kind === 'GRPCRoute');
  const requests = grpc.length > 0 ? grpc : routes.filter((route) => route.kind === 'HTTPRoute');
  const tls = routes.filter((route): route is TlsRouteResource => route.kind === 'TLSRoute');
  const tcp = routes.filter((route): route is TcpRouteResource => route.kind === 'TCPRoute').sort(byRouteAge);
  return {
    requests: requests.length === 0 ? undefined : requests.flatMap((route) => requestRoutes(route, attachment)).sort(byPrecedence).map(({ route }) => route),
    serverNames: tls.sort(byRouteAge).flatMap((route) => (route.spec.hostnames ?? []).map((name) => ({ name: name.toLowerCase(), routes: connectionRoutes(route, attachment) }))),
    connections: tcp[0] === undefined ? undefined : connectionRoutes(tcp[0], attachment),
  };
}

/** Is the parent a Service? Its group must then be written: it is empty. */
export function isServiceParent({ group = GATEWAY_GROUP, kind = 'Gateway' }: ParentReference): boolean {
  return (group === '' || group === 'core') && kind === 'Service';
}

/** Does the reference mean this port of the Service? `sectionName` is the name of a port. */
export function isForPort({ port: wanted, sectionName }: ParentReference, port: number, service: Service | undefined): boolean {
  if (wanted !== undefined && wanted !== port) return false;
  return sectionName === undefined || service?.ports.some((one) => one.name === sectionName && one.port === port) === true;
}

/** Why a route cannot attach to a Service; undefined: it can. */
export function serviceRefusal(route: GatewayRoute, parent: ParentReference, { services }: Snapshot): Complaint | undefined {
  const namespace = parent.namespace ?? route.namespace;
  const service = services.find(({ origin }) => origin.namespace === namespace && origin.name === parent.name);
  if (service === undefined) return { reason: 'NoMatchingParent', message: `there is no Service ${namespace}/${parent.name}` };
  if (service.ports.some(({ port, udp }) => !udp && isForPort(parent, port, service))) return undefined;
  return { reason: 'NoMatchingParent', message: `Service ${namespace}/${parent.name} has no TCP port ${[parent.sectionName ?? '', parent.port ?? ''].join(' ').trim()}` };
}

/** By `ns/name` of the Service, what names it as a parent. */
export function serviceParents(snapshot: Snapshot): ReadonlyMap<string, readonly Attached[]> {
  const known = byService.get(snapshot);
  if (known !== undefined) return known;
  const attached = new Map<string, Attached[]>();
  for (const route of snapshot.gatewayApi.routes) {
    for (const parent of route.spec.parentRefs ?? []) {
      if (!isServiceParent(parent)) continue;
      const key = `${parent.namespace ?? route.namespace}/${parent.name}`;
      attached.set(key, [...(attached.get(key) ?? []), { route, parent }]);
    }
  }
  byService.set(snapshot, attached);
  return attached;
}
