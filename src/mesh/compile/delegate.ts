/** Delegation: a root's route hands over to the routes of a VirtualService without hosts (one level, as in Istio). */
import type { HttpMatch, HttpRoute, Resource, StringMatch, VirtualServiceSpec } from '../resources.ts';
import type { Snapshot } from '../snapshot.ts';
import { isExported } from './registry.ts';

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
  if (child === undefined || !isExported(child.spec.exportTo ?? ['*'], child.namespace, rule.namespace)) return [];
  return (child.spec.http ?? []).flatMap((own) => {
    const match = mergeMatches(route.match, own.match);
    return match === undefined ? [] : [{ rule: child, route: merge(route, own, match) }];
  });
}

/** What the child says itself wins; what it leaves open is the root's. */
function merge(root: HttpRoute, child: HttpRoute, match: readonly HttpMatch[]): HttpRoute {
  const { delegate: _, ...inherited } = root;
  return { ...inherited, ...child, name: joined(root.name, child.name), match };
}

function joined(root: string | undefined, child: string | undefined): string {
  return [root, child].filter((part) => part !== undefined && part !== '').join('-');
}

/** The blocks of the child, each narrowed to the blocks of the root it lies in; undefined when one of them lies in none. */
function mergeMatches(root: readonly HttpMatch[] | undefined, child: readonly HttpMatch[] | undefined): HttpMatch[] | undefined {
  if (root === undefined || root.length === 0) return [...(child ?? [])];
  if (child === undefined || child.length === 0) return [...root];
  const merged = child.map((inner) => root.filter((outer) => isWithin(inner, outer)).map((outer) => both(outer, inner)));
  return merged.some((blocks) => blocks.length === 0) ? undefined : merged.flat();
}

function both(outer: HttpMatch, inner: HttpMatch): HttpMatch {
  const name = joined(outer.name, inner.name);
  return {
    ...outer,
    ...inner,
    ...(name === '' ? {} : { name }),
    headers: { ...outer.headers, ...inner.headers },
    withoutHeaders: { ...outer.withoutHeaders, ...inner.withoutHeaders },
    queryParams: { ...outer.queryParams, ...inner.queryParams },
    ...(outer.sourceLabels === undefined ? {} : { sourceLabels: { ...outer.sourceLabels, ...inner.sourceLabels } }),
  };
}

/** Istio asks that the child's match be part of the root's: what both name, the child may only narrow. */
function isWithin(inner: HttpMatch, outer: HttpMatch): boolean {
  for (const field of ['uri', 'scheme', 'method', 'authority'] as const) if (!narrows(inner[field], outer[field])) return false;
  for (const field of ['headers', 'withoutHeaders', 'queryParams'] as const) {
    for (const [key, match] of Object.entries(inner[field] ?? {})) if (!narrows(match, outer[field]?.[key])) return false;
  }
  for (const [key, value] of Object.entries(inner.sourceLabels ?? {})) if ((outer.sourceLabels?.[key] ?? value) !== value) return false;
  if ((inner.ignoreUriCase ?? false) !== (outer.ignoreUriCase ?? false)) return false;
  if (!(inner.gateways ?? []).every((gateway) => outer.gateways?.includes(gateway) ?? true)) return false;
  return agree(inner.port, outer.port) && agree(inner.sourceNamespace, outer.sourceNamespace);
}

/** What a regular expression takes cannot be compared, so none may stand on either side. */
function narrows(inner: StringMatch | undefined, outer: StringMatch | undefined): boolean {
  if (inner === undefined || outer === undefined) return true;
  if (inner.regex !== undefined || outer.regex !== undefined) return false;
  if (outer.exact !== undefined) return inner.exact === outer.exact;
  if (outer.prefix !== undefined) return (inner.exact ?? inner.prefix ?? '').startsWith(outer.prefix);
  // Presence is narrowed by anything.
  return true;
}

function agree<T>(inner: T | undefined, outer: T | undefined): boolean {
  return inner === undefined || outer === undefined || inner === outer;
}
