/** Hosts of listeners as tables: of all HTTP listeners of a port together, or of one HTTPS listener. */
import { covers } from '../host.ts';
import type { Snapshot } from '../snapshot.ts';
import type { HostTable, Route, VirtualHost } from '../table.ts';
import { routesOf } from './attachment.ts';
import { listenerRules } from './backend-tls.ts';
import { byHostLength } from './hostname.ts';
import type { Listener } from './listeners.ts';
import { byPrecedence } from './order.ts';
import type { RankedRoute } from './order.ts';
import { requestRoutes } from './rules.ts';

/** A virtual host by its name, which may begin with `*`. */
export type NamedHosts = ReadonlyMap<string, VirtualHost>;

/**
 * A request belongs to the most specific listener that has its host, and takes routes of that listener only (listener isolation): of a less
 * specific one, hosts that lie within another's name are left out.
 */
export function listenerHosts(listeners: readonly Listener[], snapshot: Snapshot): NamedHosts {
  const hosts = new Map<string, VirtualHost>();
  for (const listener of listeners) {
    const rivals = listeners.filter((other) => other !== listener && other.hostname !== listener.hostname && covers(listener.hostname, other.hostname));
    for (const [name, routes] of routesByHost(listener, snapshot)) {
      if (!rivals.some((other) => covers(other.hostname, name))) hosts.set(name, { name: `${name}:${listener.spec.port}`, routes, service: undefined });
    }
  }
  return hosts;
}

/** Names of the listener's routes, and its own: what none of its routes has is answered 404 there, not by another listener. */
function routesByHost(listener: Listener, snapshot: Snapshot): Map<string, readonly Route[]> {
  const attachment = listenerRules(listener.spec.port, snapshot);
  const compiled = routesOf(listener, snapshot).flatMap(({ route, hostnames }) => (route.kind === 'HTTPRoute' || route.kind === 'GRPCRoute' ? [{ hostnames, routes: requestRoutes(route, attachment) }] : []));
  const names = new Set([listener.hostname, ...compiled.flatMap(({ hostnames }) => hostnames)]);
  return new Map([...names].map((name) => [name, compiled.flatMap(({ hostnames, routes }) => ranked(routes, hostnames, name)).sort(byPrecedence).map(({ route }) => route)]));
}

/** The rules of a route that has the host, ranked by the most specific of its names that covers it. */
function ranked(routes: readonly RankedRoute[], hostnames: readonly string[], name: string): RankedRoute[] {
  const [host] = hostnames.filter((one) => covers(one, name)).sort(byHostLength);
  return host === undefined ? [] : routes.map((route) => ({ ...route, host }));
}

export function hostTableOf(hosts: NamedHosts): HostTable {
  const wildcards = [...hosts].filter(([name]) => name.startsWith('*')).map(([name, host]) => ({ suffix: name.slice(1), host }));
  return { exact: new Map([...hosts].filter(([name]) => !name.startsWith('*'))), wildcards: wildcards.sort((a, b) => b.suffix.length - a.suffix.length) };
}
