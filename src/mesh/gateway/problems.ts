/** What authors of gateways and routes should know: listeners that are not served, routes that are nobody's, references that lead nowhere. */
import { qualify } from '../host.ts';
import { fieldName } from '../field-name.ts';
import type { Path } from '../parse/document.ts';
import type { Problem } from '../problem.ts';
import { objectName } from '../resources.ts';
import type { Origin, Resource, VirtualServiceSpec } from '../resources.ts';
import type { Snapshot } from '../snapshot.ts';
import { attachmentOf } from './attachment.ts';
import { readPolicy } from './backend-tls.ts';
import { resolveBackend } from './backends.ts';
import { selectedPod, serversOf } from './istio-servers.ts';
import { isAllowedBy, listenersOf, ownGateways, parentOf } from './listeners.ts';
import type { GatewayResource } from './listeners.ts';
import { CONTROLLER_NAME, GATEWAY_GROUP } from './resources.ts';
import type { BackendReference, GatewayRoute, ParentReference } from './resources.ts';
import { isServiceParent, serviceParents, serviceRefusal } from './service-routes.ts';

type Warning = (object: Origin, path: Path, code: string, message: string, remedy: string) => Problem;

/** A reference that leads nowhere. */
const MISSING = 'IST0101';
/** Another object has what this one claims. */
const CONFLICT = 'IST0109';
/** A listener, server or route that is not served as it stands. */
const NOT_SERVED = 'ORLOP026';

/** `lineOf` finds the line of a field of an object, by its key. Warnings all: what is valid of an object has its effect. */
export function gatewayProblems(snapshot: Snapshot, lineOf: (key: string, path: Path) => number): Problem[] {
  const warning: Warning = (object, path, code, message, remedy) => ({
    severity: 'warning', code, file: object.file, line: lineOf(`${object.kind} ${object.namespace}/${object.name}`, path), object: objectName(object), field: fieldName(path), message, remedy,
  });
  return [
    ...istioGateways(snapshot, warning),
    ...snapshot.gatewayApi.gateways.filter((gateway) => isOfNobody(gateway, snapshot)).map((gateway) => warning(gateway, ['spec', 'gatewayClassName'], MISSING, `there is no GatewayClass ${gateway.spec.gatewayClassName}`, `create it, with controllerName ${CONTROLLER_NAME} if Orlop is to serve it`)),
    ...ownGateways(snapshot).flatMap((gateway) => listeners(gateway, snapshot, warning)),
    ...snapshot.gatewayApi.listenerSets.flatMap((set) => {
      const gateway = parentOf(set, snapshot);
      return gateway === undefined || isAllowedBy(set, gateway, snapshot) ? [] : [warning(set, ['spec', 'parentRef'], NOT_SERVED, `${objectName(gateway)} does not let it add listeners`, 'choose its namespace in allowedListeners of the Gateway')];
    }),
    ...snapshot.gatewayApi.routes.flatMap((route) => routeProblems(route, snapshot, warning)),
    ...snapshot.gatewayApi.backendTlsPolicies.flatMap((policy) => readPolicy(policy, undefined).complaints.map(({ message }) => warning(policy, ['spec', 'validation'], NOT_SERVED, message, 'until then gateways refuse requests for what it is for'))),
    ...overruled(snapshot, warning),
  ];
}

function isOfNobody({ spec }: GatewayResource, { gatewayApi }: Snapshot): boolean {
  return !gatewayApi.classes.some(({ name }) => name === spec.gatewayClassName);
}

function istioGateways(snapshot: Snapshot, warning: Warning): Problem[] {
  const elsewhere = snapshot.istioGateways.flatMap((gateway) => {
    const pod = selectedPod(gateway, snapshot);
    return pod === undefined ? [] : [warning(gateway, ['spec', 'selector'], NOT_SERVED, `it selects pods (${pod.id} is one), so they are to serve it, and the nodes do not`, 'select labels that no pod has, if Orlop is to serve it')];
  });
  return [...elsewhere, ...serversOf(snapshot).conflicts.map(({ gateway, index, host, message }) => warning(gateway, ['spec', 'servers', index, ...(host === undefined ? [] : ['hosts', host])], CONFLICT, message, 'use another port, or another host'))];
}

function listeners(gateway: GatewayResource, snapshot: Snapshot, warning: Warning): Problem[] {
  return listenersOf(gateway, snapshot).flatMap(({ owner, spec, conflict, refusal, unresolved }) => {
    const path = ['spec', 'listeners', owner.spec.listeners.indexOf(spec)];
    return [
      ...(conflict === undefined ? [] : [warning(owner, path, CONFLICT, `${conflict.message} (${conflict.reason})`, 'use another port, or another host')]),
      ...(refusal === undefined ? [] : [warning(owner, path, NOT_SERVED, `${refusal.message} (${refusal.reason})`, 'the listener is not served as it stands')]),
      ...unresolved.map(({ reason, message }) => warning(owner, path, MISSING, `${message} (${reason})`, 'correct the reference, or add a ReferenceGrant where it points')),
    ];
  });
}

function routeProblems(route: GatewayRoute, snapshot: Snapshot, warning: Warning): Problem[] {
  const parents = route.spec.parentRefs ?? [];
  const nobodys = parents.length === 0 ? [warning(route, ['spec'], NOT_SERVED, 'there are no parentRefs, so nothing takes the route', 'name a Gateway, or a Service')] : [];
  const refused = parents.flatMap((parent, i) => parentProblems(route, parent, ['spec', 'parentRefs', i], snapshot, warning));
  const services = parents.filter(isServiceParent).map((parent) => `${parent.namespace ?? route.namespace}/${parent.name}`);
  const backends = backendPaths(route).flatMap(([ref, path]) => {
    const found = resolveBackend(ref, route, snapshot, services[0]);
    return found.fault === undefined ? [] : [warning(route, path, MISSING, `${found.message} (${found.fault})`, 'until it can be used, its share of the traffic is answered 500, or closed')];
  });
  return [...nobodys, ...refused, ...backends];
}

function parentProblems(route: GatewayRoute, parent: ParentReference, path: Path, snapshot: Snapshot, warning: Warning): Problem[] {
  if (isServiceParent(parent)) {
    const refusal = serviceRefusal(route, parent, snapshot);
    const hosts = 'hostnames' in route.spec && route.kind !== 'TLSRoute' && (route.spec.hostnames ?? []).length > 0;
    return [
      ...(refusal === undefined ? [] : [warning(route, path, MISSING, `${refusal.message} (${refusal.reason})`, 'create it, or correct the reference')]),
      ...(hosts ? [warning(route, ['spec', 'hostnames'], NOT_SERVED, 'whoever calls the Service takes the route, whatever host is asked for', 'remove hostnames, or the parentRef of the Service')] : []),
    ];
  }
  const attachment = attachmentOf(route, parent, snapshot);
  if (attachment?.refusal !== undefined) return [warning(route, path, NOT_SERVED, `${attachment.refusal.message} (${attachment.refusal.reason})`, 'until then it takes no traffic there')];
  return attachment === undefined && isMissing(route, parent, snapshot) ? [warning(route, path, MISSING, `there is no ${parent.kind ?? 'Gateway'} ${parent.namespace ?? route.namespace}/${parent.name}`, 'create it, or correct the reference')] : [];
}

/** Others' parents are none of Orlop's business. */
function isMissing(route: GatewayRoute, { group = GATEWAY_GROUP, kind = 'Gateway', name, namespace = route.namespace }: ParentReference, { gatewayApi }: Snapshot): boolean {
  if (group !== GATEWAY_GROUP || (kind !== 'Gateway' && kind !== 'ListenerSet')) return false;
  const known: readonly Origin[] = kind === 'Gateway' ? gatewayApi.gateways : gatewayApi.listenerSets;
  return !known.some((one) => one.name === name && one.namespace === namespace);
}

function backendPaths(route: GatewayRoute): [BackendReference, Path][] {
  return (route.spec.rules ?? []).flatMap((rule, i) => {
    const refs = (rule.backendRefs ?? []).map((ref, j): [BackendReference, Path] => [ref, ['spec', 'rules', i, 'backendRefs', j]]);
    const filters = 'filters' in rule ? (rule.filters ?? []) : [];
    return [...refs, ...filters.flatMap(({ requestMirror }, j): [BackendReference, Path][] => (requestMirror === undefined ? [] : [[requestMirror.backendRef, ['spec', 'rules', i, 'filters', j, 'requestMirror', 'backendRef']]]))];
  });
}

/** VirtualServices of the mesh whose host has routes of the Gateway API. */
function overruled(snapshot: Snapshot, warning: Warning): Problem[] {
  const attached = serviceParents(snapshot);
  return snapshot.virtualServices.flatMap((rule: Resource<VirtualServiceSpec>) => {
    if (rule.spec.http === undefined || !(rule.spec.gateways ?? ['mesh']).includes('mesh')) return [];
    return (rule.spec.hosts ?? []).flatMap((host, i) => {
      const [name = '', namespace = '', kind] = qualify(host, rule.namespace).split('.');
      const routes = kind === 'svc' ? (attached.get(`${namespace}/${name}`) ?? []).filter(({ route }) => route.namespace === namespace && (route.kind === 'HTTPRoute' || route.kind === 'GRPCRoute')) : [];
      const [first] = routes;
      return first === undefined ? [] : [warning(rule, ['spec', 'hosts', i], CONFLICT, `${objectName(first.route)} is for the Service "${host}" too, and on its ports these routes get no traffic from the mesh`, 'keep one of the two')];
    });
  });
}
