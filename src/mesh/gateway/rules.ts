/** Rules of HTTPRoutes and GRPCRoutes as routes of a table: one for each match, with the rank that decides which is asked first. */
import { retryOf } from '../compile/http-route.ts';
import { durationMs } from '../duration.ts';
import type { Matcher } from '../match.ts';
import { objectName } from '../resources.ts';
import type { Snapshot } from '../snapshot.ts';
import type { ForwardAction, RetryPolicy, Route, RouteAction, TcpRoute, WeightedCluster } from '../table.ts';
import { resolveBackend } from './backends.ts';
import type { ResolvedBackend } from './backends.ts';
import { filtersOf } from './filters.ts';
import type { FilterContext, Filters } from './filters.ts';
import { grpcRank, httpRank } from './order.ts';
import type { RankedRoute } from './order.ts';
import type { FilteredBackend, GrpcRouteResource, HttpRouteMatch, HttpRouteResource, HttpRouteRule, TcpRouteResource, TlsRouteResource, WeightedBackend } from './resources.ts';
import { grpcMatcher, httpMatcher } from './route-match.ts';

type RequestRoute = HttpRouteResource | GrpcRouteResource;

/** Where the rules take effect. */
export interface Attachment {
  readonly snapshot: Snapshot;
  /** Of the listener, or of the Service. */
  readonly port: number;
  /** `ns/name` of the Service that is the parent; undefined: the parent is a gateway. */
  readonly parent?: string;
  /** Why a backend that exists cannot be used from there. */
  readonly objection?: (backend: ResolvedBackend) => string | undefined;
}

/** Of a rule, what both kinds have. */
type Rule = Omit<HttpRouteRule, 'matches'>;

interface Match {
  readonly rank: readonly number[];
  readonly matcher: Matcher;
  /** For filters that replace the matched prefix; a GRPCRoute has none. */
  readonly path: HttpRouteMatch;
}

/** Not ranked by host: where hosts count, whoever asks fills them in. */
export function requestRoutes(resource: RequestRoute, attachment: Attachment): RankedRoute[] {
  return rulesOf(resource).flatMap(({ rule, matches }, i) =>
    matches.map(({ rank, matcher, path }, j) => ({ host: '', rank, origin: resource, place: [i, j] as const, route: routeOf(resource, rule, i, path, matcher, attachment) })));
}

function rulesOf(resource: RequestRoute): { readonly rule: Rule; readonly matches: readonly Match[] }[] {
  if (resource.kind === 'HTTPRoute') {
    return (resource.spec.rules ?? [{}]).map((rule) => ({ rule, matches: orEvery(rule.matches).map((match) => ({ rank: httpRank(match), matcher: httpMatcher(match), path: match })) }));
  }
  return (resource.spec.rules ?? []).map((rule) => ({ rule, matches: orEvery(rule.matches).map((match) => ({ rank: grpcRank(match), matcher: grpcMatcher(match), path: {} })) }));
}

/** Without a match a rule takes every request. */
function orEvery<M extends object>(matches: readonly M[] = []): readonly (M | Record<string, never>)[] {
  return matches.length === 0 ? [{}] : matches;
}

function routeOf(resource: RequestRoute, rule: Rule, index: number, match: HttpRouteMatch, matcher: Matcher, attachment: Attachment): Route {
  const context: FilterContext = {
    match,
    port: attachment.port,
    mirrorCluster: ({ backendRef }) => {
      const backend = resolveBackend(backendRef, resource, attachment.snapshot, attachment.parent);
      return backend.fault === undefined ? backend.cluster : undefined;
    },
  };
  const filters = filtersOf(rule.filters, context);
  return {
    name: `${resource.namespace}.${resource.name}.${rule.name ?? index}`,
    origin: `${objectName(resource)} rules[${index}]`,
    match: matcher,
    action: actionOf(resource, rule, filters, context, attachment),
    fault: undefined,
    cors: filters.cors,
    headers: filters.headers,
  };
}

function actionOf(resource: RequestRoute, rule: Rule, filters: Filters, context: FilterContext, attachment: Attachment): RouteAction {
  if (filters.redirect !== undefined && filters.unsupported === undefined) return filters.redirect;
  const clusters = filters.unsupported === undefined ? weighted(rule.backendRefs, (backend) => clusterOf(backend, resource, filters, context, attachment)) : [];
  const why = filters.unsupported === undefined ? 'the rule has no backend with a weight above 0' : `the filter ${filters.unsupported} is not honoured`;
  return {
    kind: 'forward',
    clusters: clusters.length > 0 ? clusters : [refused(why)],
    weightTotal: Math.max(1, sumOf(clusters)),
    rewrite: filters.rewrite,
    timeoutMs: durationMs(rule.timeouts?.request, 0),
    retry: retryPolicy(rule),
    mirrors: filters.mirrors,
  } satisfies ForwardAction;
}

function weighted<B extends WeightedBackend>(backends: readonly B[] = [], toCluster: (backend: B) => WeightedCluster): WeightedCluster[] {
  return backends.filter(({ weight = 1 }) => weight > 0).map(toCluster);
}

function sumOf(clusters: readonly WeightedCluster[]): number {
  return clusters.reduce((sum, { weight }) => sum + weight, 0);
}

/** Requests for it are answered 500. */
function refused(invalid: string, weight = 1): WeightedCluster {
  return { cluster: '', weight, headers: undefined, invalid };
}

function clusterOf(backend: FilteredBackend, resource: RequestRoute, rule: Filters, context: FilterContext, { snapshot, objection, parent }: Attachment): WeightedCluster {
  const { weight = 1 } = backend;
  const found = resolveBackend(backend, resource, snapshot, parent);
  const fault = found.fault === undefined ? objection?.(found) : found.message;
  if (found.fault !== undefined || fault !== undefined) return refused(fault ?? '', weight);
  const own = filtersOf(backend.filters, context);
  const unsupported = own.unsupported ?? (own.cors === undefined ? undefined : 'CORS');
  if (unsupported !== undefined) return refused(`the filter ${unsupported} of a backend is not honoured`, weight);
  return {
    cluster: found.cluster,
    weight,
    headers: own.headers,
    ...(own.redirect === undefined ? {} : { redirect: own.redirect }),
    ...(own.rewrite === undefined ? {} : { rewrite: { authority: own.rewrite.authority ?? rule.rewrite?.authority, path: own.rewrite.path ?? rule.rewrite?.path } }),
    ...(own.mirrors.length === 0 ? {} : { mirrors: own.mirrors }),
  };
}

const DEFAULT_RETRY = retryOf(undefined);
/** Attempts of a retry stanza that does not say how many. */
const ATTEMPTS = 1;

/** A stanza repeats what failed on the way, besides the codes that it names (HTTPRouteRetry). */
function retryPolicy({ retry, timeouts }: Rule): RetryPolicy {
  const perTryTimeoutMs = durationMs(timeouts?.backendRequest, 0);
  if (retry === undefined) return { ...DEFAULT_RETRY, perTryTimeoutMs };
  const { codes = [], attempts = ATTEMPTS, backoff } = retry;
  const policy = retryOf({ attempts, retryOn: ['reset', 'connect-failure', 'refused-stream', ...codes].join(','), ...(backoff === undefined ? {} : { backoff }) });
  return { ...policy, perTryTimeoutMs };
}

/** The rules of a TLSRoute or TCPRoute. No cluster is left where none of its backends is valid: connections are closed. */
export function connectionRoutes(resource: TlsRouteResource | TcpRouteResource, { snapshot, objection, parent }: Attachment): TcpRoute[] {
  return resource.spec.rules.map(({ name, backendRefs }, i) => {
    const clusters = weighted(backendRefs, (backend) => {
      const found = resolveBackend(backend, resource, snapshot, parent);
      const fault = found.fault === undefined ? objection?.(found) : found.message;
      return found.fault === undefined && fault === undefined ? { cluster: found.cluster, weight: backend.weight ?? 1, headers: undefined } : refused(fault ?? '', backend.weight);
    });
    return {
      name: `${resource.namespace}.${resource.name}.${name ?? i}`,
      origin: `${objectName(resource)} rules[${i}]`,
      destinationSubnets: [],
      clusters: clusters.length > 0 ? clusters : [refused('the rule has no backend with a weight above 0')],
      weightTotal: Math.max(1, sumOf(clusters)),
    };
  });
}

