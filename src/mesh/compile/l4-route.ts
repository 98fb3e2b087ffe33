/** Entries of `tls[]` and `tcp[]` of a VirtualService as the routes of a table: one per match block. */
import { objectName } from '../resources.ts';
import type { L4Match, L4Route, Resource, VirtualServiceSpec } from '../resources.ts';
import type { TcpRoute } from '../table.ts';
import type { ClusterKeyOf } from './http-route.ts';
import { applies } from './matcher.ts';
import type { MatchContext } from './matcher.ts';

export interface L4Part {
  readonly rule: Resource<VirtualServiceSpec>;
  readonly part: 'tcp' | 'tls';
  /** Blocks that are asked for: those with a certain server name. */
  readonly wanted: (match: L4Match) => boolean;
}

/** The routes that clients of `context` take, in their order. */
export function compileL4Routes({ rule, part, wanted }: L4Part, context: MatchContext, clusterKey: ClusterKeyOf): TcpRoute[] {
  return (rule.spec[part] ?? []).flatMap((route, i) => {
    const blocks: readonly L4Match[] = (route.match ?? []).length === 0 ? (context.bound ? [{}] : []) : (route.match ?? []).filter((match) => applies(match, context) && wanted(match));
    const clusters = clustersOf(route, rule.namespace, context.port, clusterKey);
    const weightTotal = Math.max(1, clusters.reduce((sum, { weight }) => sum + weight, 0));
    const origin = `${objectName(rule)} ${part}[${i}]`;
    return blocks.map((match) => ({ name: origin, origin, destinationSubnets: (match.destinationSubnets ?? []).map(asCidr), clusters, weightTotal }));
  });
}

/** Server names that the rule routes, as they are written. */
export function sniHostsOf({ spec }: Resource<VirtualServiceSpec>): Set<string> {
  return new Set((spec.tls ?? []).flatMap(({ match }) => (match ?? []).flatMap(({ sniHosts }) => sniHosts ?? [])));
}

function clustersOf({ route: destinations = [] }: L4Route, namespace: string, port: number | undefined, clusterKey: ClusterKeyOf): TcpRoute['clusters'] {
  return destinations
    .map(({ destination, weight }) => ({ cluster: clusterKey(destination, namespace, port), weight: destinations.length === 1 ? 1 : (weight ?? 0), headers: undefined }))
    .filter(({ weight }) => weight > 0);
}

function asCidr(subnet: string): string {
  if (subnet.includes('/')) return subnet;
  return subnet.includes(':') ? `${subnet}/128` : `${subnet}/32`;
}
