/** Which of several rules of Gateway API routes is asked first: the most specific match, then the older route, then its name, then its place. */
import type { Origin } from '../resources.ts';
import type { Route } from '../table.ts';
import { byHostLength } from './hostname.ts';
import type { GrpcRouteMatch, HttpRouteMatch } from './resources.ts';

export interface RankedRoute {
  /** Name of the route's that the request's host matched; empty where hosts are not looked at (Services). */
  readonly host: string;
  /** Compared number by number; the larger one comes first. */
  readonly rank: readonly number[];
  readonly origin: Origin;
  /** Of the rule in its route, and of the match in its rule. */
  readonly place: readonly [number, number];
  readonly route: Route;
}

/** HTTPRouteRule.matches; a regular expression of a path stands between an exact path and a prefix, so that no prefix of `/` hides it. */
export function httpRank({ path, method, headers = [], queryParams = [] }: HttpRouteMatch): number[] {
  const { type = 'PathPrefix', value = '/' } = path ?? {};
  const kind = type === 'Exact' ? 2 : type === 'RegularExpression' ? 1 : 0;
  return [kind, kind === 2 ? 0 : value.length, method === undefined ? 0 : 1, headers.length, queryParams.length];
}

/** GRPCRouteRule.matches: characters of the service, then of the method, then headers. Exact ones before expressions. */
export function grpcRank({ method, headers = [] }: GrpcRouteMatch): number[] {
  const exact = method === undefined || (method.type ?? 'Exact') === 'Exact';
  return [exact && method !== undefined ? 1 : 0, method?.service?.length ?? 0, method?.method?.length ?? 0, headers.length];
}

export function byPrecedence(a: RankedRoute, b: RankedRoute): number {
  return byHostLength(a.host, b.host) || byRank(a.rank, b.rank) || byRouteAge(a.origin, b.origin) || a.place[0] - b.place[0] || a.place[1] - b.place[1];
}

function byRank(a: readonly number[], b: readonly number[]): number {
  for (const [i, value] of a.entries()) if (value !== b[i]) return (b[i] ?? 0) - value;
  return 0;
}

/** Oldest first, then by `namespace/name`: the order between routes of the Gateway API, which is not Istio's. */
export function byRouteAge(a: Origin, b: Origin): number {
  const [nameA, nameB] = [`${a.namespace}/${a.name}`, `${b.namespace}/${b.name}`];
  return a.createdMs - b.createdMs || (nameA < nameB ? -1 : nameA > nameB ? 1 : 0);
}
