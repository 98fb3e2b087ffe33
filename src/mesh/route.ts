/**
 * The decisions that a table answers, as pure functions: the data plane asks them once per connection or request, `config`
 * commands ask the same ones offline. They look up and compare; nothing is parsed, and no garbage is made on the way.
 */
import ipaddr from 'ipaddr.js';
import { hostPort } from '../core/address.ts';
import { hostOf } from './host.ts';
import type { RequestView } from './match.ts';
import type { Destination, HostTable, RedirectAction, Rewrite, Route, Table, TcpRoute, VirtualHost } from './table.ts';

/** Port of {@link OutboundTable.httpPorts} that stands for every port: hosts of VirtualServices that are no service. */
export const ANY_PORT = 0;

/** What a connection to `address:port` is for; undefined when that is outside the registry. */
export function findDestination(table: Table, address: string, port: number): Destination | undefined {
  const { destinations, ranges, anyAddress } = table.outbound;
  const exact = destinations.get(hostPort(address, port));
  if (exact !== undefined) return exact;
  if (ranges.length > 0) {
    const parsed = ipaddr.parse(address);
    for (const range of ranges) if (range.port === port && inSubnet(parsed, range.cidr)) return range.destination;
  }
  return anyAddress.get(port);
}

/**
 * The virtual host of a request: by its Host first, as Istio's listeners of a port do; by the service the client dialled when
 * the Host is not known on this port, or where routes of the Gateway API are for one of the two.
 */
export function findVirtualHost(table: Table, port: number, destination: Destination | undefined, authority: string): VirtualHost | undefined {
  const named = namedHost(table, port, hostOf(authority));
  const dialled = destination?.virtualHost;
  if (named === undefined || (dialled !== undefined && named !== dialled && (named.byAddress === true || dialled.byAddress === true))) return dialled;
  return named;
}

function namedHost(table: Table, port: number, host: string): VirtualHost | undefined {
  const { httpPorts } = table.outbound;
  const ofPort = httpPorts.get(port);
  const ofAny = httpPorts.get(ANY_PORT);
  return ofPort?.exact.get(host) ?? ofAny?.exact.get(host) ?? longest(wildcardOf(ofPort, host), wildcardOf(ofAny, host));
}

/** The virtual host of a lower-case name in one table: exact names before wildcards, longer ones first. */
export function findHost(hosts: HostTable, host: string): VirtualHost | undefined {
  return hosts.exact.get(host) ?? wildcardOf(hosts, host)?.host;
}

type Wildcard = HostTable['wildcards'][number];

function wildcardOf(hosts: HostTable | undefined, host: string): Wildcard | undefined {
  if (hosts === undefined) return undefined;
  for (const wildcard of hosts.wildcards) if (host.length > wildcard.suffix.length && host.endsWith(wildcard.suffix)) return wildcard;
  return undefined;
}

/** The more specific wildcard; that of the port where both are the same. */
function longest(ofPort: Wildcard | undefined, ofAny: Wildcard | undefined): VirtualHost | undefined {
  if (ofPort === undefined || ofAny === undefined) return (ofPort ?? ofAny)?.host;
  return (ofAny.suffix.length > ofPort.suffix.length ? ofAny : ofPort).host;
}

/** The first route that takes the request. */
export function findRoute(host: VirtualHost, request: RequestView): Route | undefined {
  for (const route of host.routes) if (route.match(request)) return route;
  return undefined;
}

/** The first TCP route for this destination address. */
export function findTcpRoute(routes: readonly TcpRoute[], address: string): TcpRoute | undefined {
  for (const route of routes) {
    if (route.destinationSubnets.length === 0) return route;
    const parsed = ipaddr.parse(address);
    if (route.destinationSubnets.some((cidr) => inSubnet(parsed, cidr))) return route;
  }
  return undefined;
}

/** The routes of a TLS connection by its server name; undefined when the port has none for it. */
export function findSniRoutes(table: Table, port: number, serverName: string): readonly TcpRoute[] | undefined {
  const hosts = table.outbound.tlsPorts.get(port);
  if (hosts === undefined) return undefined;
  const exact = hosts.exact.get(serverName);
  if (exact !== undefined) return exact;
  return hosts.wildcards.find(({ suffix }) => serverName.length > suffix.length && serverName.endsWith(suffix))?.routes;
}

/** The target to send upstream. `target` is the path with its query; the query is left alone. */
export function applyRewrite({ path }: Rewrite, target: string): string {
  if (path === undefined) return target;
  const mark = target.indexOf('?');
  const old = mark < 0 ? target : target.slice(0, mark);
  const query = mark < 0 ? '' : target.slice(mark);
  switch (path.kind) {
    case 'full':
      return path.value + query;
    case 'prefix':
      return rooted(path.value + old.slice(path.matchedPrefix.length)) + query;
    case 'regex':
      return rooted(path.replace(old)) + query;
  }
}

function rooted(path: string): string {
  return path.startsWith('/') ? path : `/${path}`;
}

/** Value of the Location field. `port` is the one the client connected to. */
export function redirectLocation(action: RedirectAction, request: RequestView, port: number): string {
  const scheme = action.scheme ?? request.scheme;
  const host = action.authority ?? bracketed(hostOf(request.authority));
  const shown = portText(action, request, scheme, port);
  const path = action.path === undefined ? request.path : action.path.kind === 'full' ? action.path.value : action.path.value + request.path.slice(action.path.matchedPrefix.length);
  const query = request.query === '' ? '' : `?${request.query}`;
  return `${scheme}://${host}${shown}${rooted(path)}${query}`;
}

/** An IPv6 address stands in brackets in a URI (RFC 3986 §3.2.2). */
function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

/** A port is shown unless it is the scheme's own. An authority in the rule brings its own port or none. */
function portText(action: RedirectAction, request: RequestView, scheme: string, port: number): string {
  const own = scheme === 'https' ? 443 : 80;
  if (typeof action.port === 'number') return action.port === own ? '' : `:${action.port}`;
  if (action.port === 'request') return port === own ? '' : `:${port}`;
  // Without a word about the port, a redirect that keeps scheme and host keeps the port too.
  const given = /:(\d+)$/.exec(request.authority);
  return action.authority === undefined && action.scheme === undefined && given !== null ? `:${given[1] as string}` : '';
}

function inSubnet(address: ipaddr.IPv4 | ipaddr.IPv6, cidr: string): boolean {
  const [network, bits] = ipaddr.parseCIDR(cidr);
  return network.kind() === address.kind() && address.match([network, bits] as never);
}
