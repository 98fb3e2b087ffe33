/**
 * The listeners of a Gateway: its own, and those that ListenerSets add to it. Of each what it is for, whether it gets on with the others, and
 * which objects it names; what opens ports, and what is written to the status, both follow from this.
 */
import { objectName } from '../resources.ts';
import type { Resource } from '../resources.ts';
import type { Snapshot } from '../snapshot.ts';
import type { ObjectRef } from '../table.ts';
import { byRouteAge } from './order.ts';
import { isPermitted } from './grants.ts';
import { ANY_HOST } from './hostname.ts';
import { CONTROLLER_NAME, GATEWAY_GROUP, ROUTE_KINDS } from './resources.ts';
import type { FrontendTls, GatewayClassSpec, GatewaySpec, ListenerSetSpec, ListenerSpec, RouteKind, SecretObjectReference } from './resources.ts';
import { choosesNamespace } from './selector.ts';
import type { ClientValidation } from './table.ts';

export type GatewayResource = Resource<GatewaySpec>;
export type ListenerSetResource = Resource<ListenerSetSpec>;

/** What is wrong, in the words of a condition. */
export interface Complaint {
  readonly reason: string;
  readonly message: string;
}

export interface Listener {
  /** The Gateway, or the ListenerSet, that has it. */
  readonly owner: Resource<GatewaySpec | ListenerSetSpec>;
  readonly spec: ListenerSpec;
  /** Lower case; `*` where it has none. */
  readonly hostname: string;
  readonly family: Family | undefined;
  /** Kinds of routes that may attach. */
  readonly kinds: readonly RouteKind[];
  /** Reason `HostnameConflict` or `ProtocolConflict`. */
  readonly conflict: Complaint | undefined;
  /** Why it is not accepted, apart from conflicts. */
  readonly refusal: Complaint | undefined;
  /** References that are not let, or of kinds that nothing is known of; whether the others exist is for others to say. */
  readonly unresolved: readonly Complaint[];
  readonly certificates: readonly ObjectRef[];
  readonly clients: ClientValidation | undefined;
}

/** Listeners of one port must speak the same: TLS is told apart by server names, HTTP by hosts, bytes by nothing. */
type Family = 'http' | 'tls' | 'tcp';

const FAMILIES: Readonly<Record<string, Family>> = { HTTP: 'http', HTTPS: 'tls', TLS: 'tls', TCP: 'tcp' };
const KINDS_OF: Readonly<Record<string, readonly RouteKind[]>> = { HTTP: ['HTTPRoute', 'GRPCRoute'], HTTPS: ['HTTPRoute', 'GRPCRoute'], TLS: ['TLSRoute'], TCP: ['TCPRoute'] };

/** The class that makes a Gateway Orlop's; undefined: it is somebody else's. */
export function classOf({ spec }: { readonly spec: Pick<GatewaySpec, 'gatewayClassName'> }, { gatewayApi }: Snapshot): Resource<GatewayClassSpec> | undefined {
  return gatewayApi.classes.find((one) => one.name === spec.gatewayClassName && one.spec.controllerName === CONTROLLER_NAME);
}

/** The Gateways that are Orlop's. */
export function ownGateways(snapshot: Snapshot): GatewayResource[] {
  return snapshot.gatewayApi.gateways.filter((gateway) => classOf(gateway, snapshot) !== undefined);
}

/** The Gateway that a ListenerSet adds to; undefined where it does not exist, or is none of Orlop's. */
export function parentOf({ namespace, spec }: { readonly namespace: string; readonly spec: Pick<ListenerSetSpec, 'parentRef'> }, snapshot: Snapshot): GatewayResource | undefined {
  const { group = GATEWAY_GROUP, kind = 'Gateway', name, namespace: of = namespace } = spec.parentRef;
  if (group !== GATEWAY_GROUP || kind !== 'Gateway') return undefined;
  return ownGateways(snapshot).find((gateway) => gateway.name === name && gateway.namespace === of);
}

export function isAllowedBy(set: ListenerSetResource, gateway: GatewayResource, snapshot: Snapshot): boolean {
  return choosesNamespace(gateway.spec.allowedListeners?.namespaces, gateway.namespace, set.namespace, 'None', snapshot);
}

const known = new WeakMap<Snapshot, Map<string, readonly Listener[]>>();

/** In the order in which they may claim ports and hosts: the Gateway's own first, then those of ListenerSets by age. */
export function listenersOf(gateway: GatewayResource, snapshot: Snapshot): readonly Listener[] {
  const made = known.get(snapshot) ?? new Map<string, readonly Listener[]>();
  known.set(snapshot, made);
  const key = `${gateway.namespace}/${gateway.name}`;
  let listeners = made.get(key);
  if (listeners === undefined) {
    listeners = readListeners(gateway, snapshot);
    made.set(key, listeners);
  }
  return listeners;
}

function readListeners(gateway: GatewayResource, snapshot: Snapshot): Listener[] {
  const sets = snapshot.gatewayApi.listenerSets.filter((set) => parentOf(set, snapshot) === gateway && isAllowedBy(set, gateway, snapshot)).sort(byRouteAge);
  const listeners = [gateway, ...sets].flatMap((owner) => owner.spec.listeners.map((spec) => readListener(owner, spec, gateway, snapshot)));
  const own = listeners.filter(({ owner }) => owner === gateway);
  const settled = own.map((listener) => ({ ...listener, conflict: conflictOf(listener, own.filter((other) => other !== listener)) }));
  for (const listener of listeners.slice(own.length)) settled.push({ ...listener, conflict: conflictOf(listener, settled.filter(({ owner, conflict }) => owner === gateway || conflict === undefined)) });
  return settled;
}

/**
 * Listeners of a Gateway that cannot be told apart are all refused, since none is before the others (GatewaySpec.listeners). One of a
 * ListenerSet gives way to the Gateway's, and to those of older sets that are not refused (ListenerSetSpec.listeners).
 */
function conflictOf(listener: Listener, others: readonly Listener[]): Complaint | undefined {
  if (listener.family === undefined) return undefined;
  for (const other of others) {
    if (other.spec.port !== listener.spec.port || other.family === undefined) continue;
    const place = `${objectName(other.owner)} listener ${other.spec.name}`;
    if (other.family !== listener.family || listener.family === 'tcp') return { reason: 'ProtocolConflict', message: `port ${listener.spec.port} is ${other.spec.protocol} for ${place}, and cannot be ${listener.spec.protocol} too` };
    if (other.hostname !== listener.hostname) continue;
    if (other.spec.protocol !== listener.spec.protocol) return { reason: 'ProtocolConflict', message: `on port ${listener.spec.port} the same host is ${other.spec.protocol} for ${place}` };
    return { reason: 'HostnameConflict', message: `on port ${listener.spec.port} the same host belongs to ${place}` };
  }
  return undefined;
}

function readListener(owner: Listener['owner'], spec: ListenerSpec, gateway: GatewayResource, snapshot: Snapshot): Listener {
  const { kinds, unknown } = kindsOf(spec);
  const family = FAMILIES[spec.protocol];
  const certificates = terminates(spec) ? certificatesOf(owner, spec, snapshot) : { refs: [], complaints: [] };
  const clients = spec.protocol === 'HTTPS' ? clientsOf(gateway, spec.port, snapshot) : { validation: undefined, complaints: [], refusal: undefined };
  return {
    owner,
    spec,
    hostname: (spec.hostname ?? '') === '' ? ANY_HOST : (spec.hostname as string).toLowerCase(),
    family,
    kinds,
    conflict: undefined,
    refusal: family === undefined ? { reason: 'UnsupportedProtocol', message: `protocol ${spec.protocol} is not honoured; these are: ${Object.keys(FAMILIES).join(', ')}` } : clients.refusal,
    unresolved: [...unknown, ...certificates.complaints, ...clients.complaints],
    certificates: certificates.refs,
    clients: clients.validation,
  };
}

/** Does the gateway do the handshake itself? */
export function terminates({ protocol, tls }: ListenerSpec): boolean {
  return protocol === 'HTTPS' || (protocol === 'TLS' && (tls?.mode ?? 'Terminate') === 'Terminate');
}

function kindsOf({ protocol, allowedRoutes }: ListenerSpec): { readonly kinds: readonly RouteKind[]; readonly unknown: readonly Complaint[] } {
  const possible = KINDS_OF[protocol] ?? [];
  const asked = allowedRoutes?.kinds ?? [];
  if (asked.length === 0) return { kinds: possible, unknown: [] };
  const isPossible = ({ group = GATEWAY_GROUP, kind }: (typeof asked)[number]): boolean => group === GATEWAY_GROUP && possible.includes(kind as RouteKind);
  const refused = asked.filter((one) => !isPossible(one)).map(({ kind }) => kind);
  return {
    kinds: ROUTE_KINDS.filter((kind) => asked.some((one) => isPossible(one) && one.kind === kind)),
    unknown: refused.length === 0 ? [] : [{ reason: 'InvalidRouteKinds', message: `routes of kind ${refused.join(', ')} cannot attach to a listener of protocol ${protocol}` }],
  };
}

function certificatesOf(owner: Listener['owner'], { tls }: ListenerSpec, snapshot: Snapshot): { readonly refs: readonly ObjectRef[]; readonly complaints: readonly Complaint[] } {
  const found = (tls?.certificateRefs ?? []).map((ref) => secretOf(ref, owner, snapshot, 'InvalidCertificateRef'));
  const refs = found.filter((one) => 'kind' in one);
  const complaints = found.filter((one) => 'reason' in one);
  if (found.length === 0) return { refs, complaints: [{ reason: 'InvalidCertificateRef', message: 'there is no certificateRef to end TLS with' }] };
  return { refs, complaints };
}

/** A Secret with a certificate that `owner` names, if it may. */
export function secretOf({ group = '', kind = 'Secret', name, namespace }: SecretObjectReference, owner: Listener['owner'], { gatewayApi }: Snapshot, invalid: string): ObjectRef | Complaint {
  const of = namespace ?? owner.namespace;
  if (group !== '' || kind !== 'Secret') return { reason: invalid, message: `certificates of kind ${group === '' ? kind : `${kind}.${group}`} are not honoured; name a Secret` };
  if (!isPermitted(gatewayApi.referenceGrants, { from: { group: GATEWAY_GROUP, kind: owner.kind, namespace: owner.namespace }, to: { group, kind, namespace: of, name } })) {
    return { reason: 'RefNotPermitted', message: `no ReferenceGrant in ${of} lets a ${owner.kind} of ${owner.namespace} name Secret ${name}` };
  }
  return { kind: 'Secret', namespace: of, name };
}

interface Clients {
  readonly validation: ClientValidation | undefined;
  readonly complaints: readonly Complaint[];
  readonly refusal: Complaint | undefined;
}

function clientsOf(gateway: GatewayResource, port: number, { gatewayApi }: Snapshot): Clients {
  const validation = frontendOf(gateway, port)?.validation;
  if (validation === undefined) return { validation: undefined, complaints: [], refusal: undefined };
  const authorities: ObjectRef[] = [];
  const complaints: Complaint[] = [];
  for (const { group, kind, name, namespace = gateway.namespace } of validation.caCertificateRefs) {
    const to = { group, kind, namespace, name };
    if ((group !== '' && group !== 'core') || (kind !== 'ConfigMap' && kind !== 'Secret')) complaints.push({ reason: 'InvalidCACertificateKind', message: `authorities of kind ${kind} are not honoured; name a ConfigMap` });
    else if (!isPermitted(gatewayApi.referenceGrants, { from: { group: GATEWAY_GROUP, kind: 'Gateway', namespace: gateway.namespace }, to })) complaints.push({ reason: 'RefNotPermitted', message: `no ReferenceGrant in ${namespace} lets a Gateway of ${gateway.namespace} name ${kind} ${name}` });
    else authorities.push({ kind, namespace, name });
  }
  const mode = validation.mode === 'AllowInsecureFallback' ? 'insecure' : 'require';
  const refusal = authorities.length === 0 ? { reason: 'NoValidCACertificate', message: complaints[0]?.message ?? 'there is no authority to tell clients by' } : undefined;
  return { validation: { mode, authorities, subjectAltNames: [] }, complaints, refusal };
}

/** What a port has of its own replaces the default. */
export function frontendOf({ spec }: GatewayResource, port: number): FrontendTls | undefined {
  const frontend = spec.tls?.frontend;
  return frontend?.perPort?.find((one) => one.port === port)?.tls ?? frontend?.default;
}

/** May it be served at all? */
export function isValid({ conflict, refusal }: Listener): boolean {
  return conflict === undefined && refusal === undefined;
}

/** Is its port opened for it? Without a certificate that it may name, no handshake can be done. */
export function isServed(listener: Listener): boolean {
  return isValid(listener) && (!terminates(listener.spec) || listener.certificates.length > 0);
}
