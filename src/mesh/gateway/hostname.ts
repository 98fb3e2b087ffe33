/** Host names of listeners, servers and routes: plain ones, and wildcards that stand for one label or more. */
import { covers } from '../host.ts';

/** Every name. */
export const ANY_HOST = '*';

/** What two patterns have in common; undefined: nothing. */
export function intersection(a: string, b: string): string | undefined {
  if (covers(a, b)) return b;
  return covers(b, a) ? a : undefined;
}

/** Of the names of a listener, those that the route is for: all of the listener's where the route names none. */
export function intersections(listener: string, routeHosts: readonly string[]): string[] {
  if (routeHosts.length === 0) return [listener];
  return [...new Set(routeHosts.flatMap((host) => intersection(listener, host.toLowerCase()) ?? []))];
}

/** The more specific name first: plain ones before wildcards, then by length (HTTPRouteSpec.hostnames). */
export function byHostLength(a: string, b: string): number {
  return plainLength(b) - plainLength(a) || b.length - a.length;
}

function plainLength(host: string): number {
  return host.startsWith('*') ? 0 : host.length;
}
