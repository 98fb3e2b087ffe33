/** Delegation: a root's route hands over to the routes of a VirtualService without hosts (one level, as in Istio). */
import type { HttpMatch, HttpRoute, Resource, VirtualServiceSpec } from '../resources.ts';
import type { Snapshot } from '../snapshot.ts';

type Rule = Resource<VirtualServiceSpec>;

export interface OwnedRoute {
  /** Short names of the route are read in its namespace. */
  readonly rule: Rule;
  readonly route: HttpRoute;
}

/** The route itself, or what its delegate makes of it. */
export function delegated(route: HttpRoute, rule: Rule, snapshot: Snapshot): OwnedRoute[] {
  const { delegate } = route;
  if (delegate === undefined) return [{ rule, route }];
  const namespace = delegate.namespace ?? rule.namespace;
  const child = snapshot.virtualServices.find((one) => one.name === delegate.name && one.namespace === namespace && (one.spec.hosts ?? []).length === 0);
  return (child?.spec.http ?? []).flatMap((own) => {
    const match = mergeMatches(route.match, own.match);
    return match === undefined ? [] : [{ rule: child as Rule, route: merge(route, own, match) }];
  });
}

/** What the child says itself wins; what it leaves open is the root's. */
function merge(root: HttpRoute, child: HttpRoute, match: readonly HttpMatch[]): HttpRoute {
  const { delegate: _, ...inherited } = root;
  const name = [root.name, child.name].filter((part) => part !== undefined && part !== '').join('-');
  return { ...inherited, ...child, name, match };
}

/** Every block of the child within a block of the root that it does not contradict; undefined when there is none. */
function mergeMatches(root: readonly HttpMatch[] | undefined, child: readonly HttpMatch[] | undefined): HttpMatch[] | undefined {
  if (root === undefined || root.length === 0) return [...(child ?? [])];
  if (child === undefined || child.length === 0) return [...root];
  const merged = root.flatMap((outer) => child.filter((inner) => isWithin(inner, outer)).map((inner) => both(outer, inner)));
  return merged.length === 0 ? undefined : merged;
}

function both(outer: HttpMatch, inner: HttpMatch): HttpMatch {
  return {
    ...outer,
    ...inner,
    headers: { ...outer.headers, ...inner.headers },
    withoutHeaders: { ...outer.withoutHeaders, ...inner.withoutHeaders },
    queryParams: { ...outer.queryParams, ...inner.queryParams },
  };
}

/** Istio asks that the child's match be part of the root's; a regular expression on both sides cannot be compared. */
function isWithin(inner: HttpMatch, outer: HttpMatch): boolean {
  for (const field of ['uri', 'scheme', 'method', 'authority'] as const) {
    const a = outer[field];
    const b = inner[field];
    if (a === undefined || b === undefined) continue;
    if (a.regex !== undefined || b.regex !== undefined) return false;
    if (a.exact !== undefined && b.exact !== a.exact) return false;
    if (a.prefix !== undefined && !(b.exact ?? b.prefix ?? '').startsWith(a.prefix)) return false;
  }
  return (outer.port === undefined || inner.port === undefined || outer.port === inner.port) && (outer.sourceNamespace === undefined || inner.sourceNamespace === undefined || outer.sourceNamespace === inner.sourceNamespace);
}
