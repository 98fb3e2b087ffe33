/** Which routes a Gateway's listeners have: what routes ask for, and what listeners allow. */
import { objectName } from '../resources.ts';
import type { Snapshot } from '../snapshot.ts';
import { intersection, intersections } from './hostname.ts';
import { isAllowedBy, listenersOf, ownGateways, parentOf } from './listeners.ts';
import type { Complaint, GatewayResource, Listener } from './listeners.ts';
import { GATEWAY_GROUP } from './resources.ts';
import type { GatewayRoute, ParentReference } from './resources.ts';
import { choosesNamespace } from './selector.ts';

/** What became of one parentRef of a route. */
export interface Attachment {
  readonly route: GatewayRoute;
  readonly parent: ParentReference;
  /** Of those that it attaches to, the names it has there. Empty where it is refused. */
  readonly listeners: readonly AttachedListener[];
  readonly refusal: Complaint | undefined;
}

export interface AttachedListener {
  readonly listener: Listener;
  /** What listener and route have in common; `*`: every host. */
  readonly hostnames: readonly string[];
}

/** The Gateway that a parentRef leads to, itself or by a ListenerSet. */
interface ParentGateway {
  readonly gateway: GatewayResource;
  /** Of the gateway's, those that the reference can mean. */
  readonly listeners: readonly Listener[];
}

function attach(route: GatewayRoute, parent: ParentReference, snapshot: Snapshot): Attachment | undefined {
  const found = parentGateway(route, parent, snapshot);
  if (found === undefined) return undefined;
  const refused = (reason: string, message: string): Attachment => ({ route, parent, listeners: [], refusal: { reason, message } });
  const named = found.listeners.filter(({ spec }) => (parent.sectionName === undefined || spec.name === parent.sectionName) && (parent.port === undefined || spec.port === parent.port));
  if (named.length === 0) return refused('NoMatchingParent', `${objectName(found.gateway)} has no listener ${[parent.sectionName ?? '', parent.port === undefined ? '' : `on port ${parent.port}`].join(' ').trim()}`.trimEnd());
  const allowing = named.filter((listener) => listener.kinds.includes(route.kind) && choosesNamespace(listener.spec.allowedRoutes?.namespaces, listener.owner.namespace, route.namespace, 'Same', snapshot));
  if (allowing.length === 0) return refused('NotAllowedByListeners', `no listener of ${objectName(found.gateway)} that is meant allows a ${route.kind} of namespace ${route.namespace}`);
  const hosts = 'hostnames' in route.spec ? (route.spec.hostnames ?? []) : [];
  const listeners = allowing.map((listener) => ({ listener, hostnames: intersections(listener.hostname, hosts) })).filter(({ hostnames }) => hostnames.length > 0);
  if (listeners.length === 0) return refused('NoMatchingListenerHostname', `no listener of ${objectName(found.gateway)} that is meant is for ${hosts.join(', ')}`);
  return { route, parent, listeners, refusal: undefined };
}

/** Undefined: it does not exist, or is not Orlop's. */
export function parentGateway(route: Pick<GatewayRoute, 'namespace'>, { group = GATEWAY_GROUP, kind = 'Gateway', name, namespace = route.namespace }: ParentReference, snapshot: Snapshot): ParentGateway | undefined {
  if (group !== GATEWAY_GROUP) return undefined;
  if (kind === 'Gateway') {
    const gateway = ownGateways(snapshot).find((one) => one.name === name && one.namespace === namespace);
    return gateway === undefined ? undefined : { gateway, listeners: listenersOf(gateway, snapshot).filter(({ owner }) => owner === gateway) };
  }
  const set = kind === 'ListenerSet' ? snapshot.gatewayApi.listenerSets.find((one) => one.name === name && one.namespace === namespace) : undefined;
  const gateway = set === undefined ? undefined : parentOf(set, snapshot);
  if (set === undefined || gateway === undefined) return undefined;
  return { gateway, listeners: isAllowedBy(set, gateway, snapshot) ? listenersOf(gateway, snapshot).filter(({ owner }) => owner === set) : [] };
}

const known = new WeakMap<Snapshot, ReadonlyMap<GatewayRoute, readonly Attachment[]>>();

/** Of every route and every parent of it that is a Gateway of Orlop's, or a ListenerSet of one; routes in order of age. */
export function attachments(snapshot: Snapshot): Attachment[] {
  return [...byRoute(snapshot).values()].flat();
}

/** `parent` is one of the route's. Undefined: it does not exist, or is not Orlop's, so that it is not for Orlop to say anything. */
export function attachmentOf(route: GatewayRoute, parent: ParentReference, snapshot: Snapshot): Attachment | undefined {
  return byRoute(snapshot).get(route)?.find((attachment) => attachment.parent === parent);
}

function byRoute(snapshot: Snapshot): ReadonlyMap<GatewayRoute, readonly Attachment[]> {
  const made = known.get(snapshot) ?? readAttachments(snapshot);
  known.set(snapshot, made);
  return made;
}

function readAttachments(snapshot: Snapshot): Map<GatewayRoute, readonly Attachment[]> {
  const found = new Map<GatewayRoute, readonly Attachment[]>();
  const claims = new Map<Listener, AttachedRoute[]>();
  for (const route of snapshot.gatewayApi.routes) {
    const own = (route.spec.parentRefs ?? []).flatMap((parent) => attach(route, parent, snapshot) ?? []).map((attachment) => withoutClaimed(attachment, claims));
    found.set(route, own);
    for (const { listener, hostnames } of own.flatMap(({ listeners }) => listeners)) claims.set(listener, [...(claims.get(listener) ?? []), { route, hostnames }]);
  }
  return found;
}

/** A host of a listener belongs to HTTPRoutes or to GRPCRoutes, whichever was there first (GRPCRoute). */
function withoutClaimed(attachment: Attachment, claims: ReadonlyMap<Listener, readonly AttachedRoute[]>): Attachment {
  const { route, listeners } = attachment;
  const rivalOf = ({ listener, hostnames }: AttachedListener): AttachedRoute | undefined =>
    (claims.get(listener) ?? []).find((other) => other.route.kind !== route.kind && REQUESTS.has(other.route.kind) && REQUESTS.has(route.kind) && other.hostnames.some((a) => hostnames.some((b) => intersection(a, b) !== undefined)));
  const free = listeners.filter((listener) => rivalOf(listener) === undefined);
  const [first] = listeners;
  if (free.length === listeners.length || first === undefined) return attachment;
  const rival = rivalOf(listeners.find((listener) => !free.includes(listener)) ?? first);
  const refusal = { reason: 'Conflicted', message: `hosts that it is for belong to ${rival === undefined ? 'another route' : objectName(rival.route)}, which is older and of another kind` };
  return free.length > 0 ? { ...attachment, listeners: free } : { ...attachment, listeners: [], refusal };
}

const REQUESTS: ReadonlySet<string> = new Set(['HTTPRoute', 'GRPCRoute']);

interface AttachedRoute {
  readonly route: GatewayRoute;
  readonly hostnames: readonly string[];
}

/** The routes of a listener, each once, with all the names it has there. */
export function routesOf(listener: Listener, snapshot: Snapshot): AttachedRoute[] {
  const names = new Map<GatewayRoute, Set<string>>();
  for (const { route, listeners } of attachments(snapshot)) {
    for (const attached of listeners) {
      if (attached.listener !== listener) continue;
      const own = names.get(route) ?? new Set();
      names.set(route, own);
      for (const name of attached.hostnames) own.add(name);
    }
  }
  return [...names].map(([route, hostnames]) => ({ route, hostnames: [...hostnames] }));
}
