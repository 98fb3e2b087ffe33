/** The status of routes: one entry for each parent that is Orlop's (RouteStatus.parents). */
import { record } from '../parse/json.ts';
import type { Snapshot } from '../snapshot.ts';
import { attachmentOf } from './attachment.ts';
import { resolveBackend } from './backends.ts';
import { unsupportedFilter } from './filters.ts';
import type { Complaint } from './listeners.ts';
import type { BackendReference, GatewayRoute, ParentReference, RouteFilter } from './resources.ts';
import { isServiceParent, serviceRefusal } from './service-routes.ts';
import type { Condition, PlaceStatus } from './status-content.ts';

export function routeStatus(route: GatewayRoute, snapshot: Snapshot): PlaceStatus[] {
  const rules = rulesOf(route);
  const unsupported = rules.flatMap(({ filters }, i) => (filters === undefined ? [] : [{ rule: i, filter: filters }]));
  return (route.spec.parentRefs ?? []).flatMap((parent) => {
    const refusal = refusalOf(route, parent, snapshot);
    if (refusal === 'foreign') return [];
    return [{ ref: record(parent), conditions: [...acceptedOf(refusal, unsupported, rules.length), resolvedOf(route, parent, snapshot)] }];
  });
}

/** `foreign`: the parent is none of Orlop's, or nothing that there is. */
function refusalOf(route: GatewayRoute, parent: ParentReference, snapshot: Snapshot): Complaint | 'foreign' | undefined {
  if (isServiceParent(parent)) return serviceRefusal(route, parent, snapshot);
  const attachment = attachmentOf(route, parent, snapshot);
  return attachment === undefined ? 'foreign' : attachment.refusal;
}

interface RuleFilters {
  /** The type of a filter that is not honoured. */
  readonly filters: string | undefined;
}

function rulesOf(route: GatewayRoute): RuleFilters[] {
  if (route.kind === 'TLSRoute' || route.kind === 'TCPRoute') return [];
  return (route.spec.rules ?? []).map(({ filters = [] }) => ({ filters: unsupportedFilter(filters) }));
}

/** A rule whose filters are not honoured answers 500; the others do their work. */
function acceptedOf(refusal: Complaint | undefined, unsupported: readonly { readonly rule: number; readonly filter: string }[], rules: number): Condition[] {
  if (refusal !== undefined) return [{ type: 'Accepted', status: 'False', ...refusal }];
  if (unsupported.length === 0) return [{ type: 'Accepted', status: 'True', reason: 'Accepted', message: '' }];
  const message = unsupported.map(({ rule, filter }) => `rules[${rule}] has a filter of type ${filter}, which is not honoured: its requests are answered 500`).join('; ');
  if (unsupported.length === rules) return [{ type: 'Accepted', status: 'False', reason: 'UnsupportedValue', message }];
  return [{ type: 'Accepted', status: 'True', reason: 'Accepted', message: '' }, { type: 'PartiallyInvalid', status: 'True', reason: 'UnsupportedValue', message: `Dropped Rule: ${message}` }];
}

function resolvedOf(route: GatewayRoute, parent: ParentReference, snapshot: Snapshot): Condition {
  const service = isServiceParent(parent) ? `${parent.namespace ?? route.namespace}/${parent.name}` : undefined;
  const faults = backendsOf(route).flatMap((ref) => {
    const backend = resolveBackend(ref, route, snapshot, service);
    return backend.fault === undefined ? [] : [backend];
  });
  const [first] = faults;
  if (first === undefined) return { type: 'ResolvedRefs', status: 'True', reason: 'ResolvedRefs', message: '' };
  return { type: 'ResolvedRefs', status: 'False', reason: first.fault, message: [...new Set(faults.map(({ message }) => message))].join('; ') };
}

/** Everything that a route sends to, mirrors included. */
export function backendsOf(route: GatewayRoute): BackendReference[] {
  if (route.kind === 'TLSRoute' || route.kind === 'TCPRoute') return route.spec.rules.flatMap(({ backendRefs }) => [...backendRefs]);
  return (route.spec.rules ?? []).flatMap(({ filters = [], backendRefs = [] }) => [...backendRefs, ...mirrorsOf(filters), ...backendRefs.flatMap((backend) => mirrorsOf(backend.filters ?? []))]);
}

function mirrorsOf(filters: readonly RouteFilter[]): BackendReference[] {
  return filters.flatMap(({ requestMirror }) => (requestMirror === undefined ? [] : [requestMirror.backendRef]));
}
