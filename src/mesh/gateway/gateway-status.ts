/** The status of Gateways and ListenerSets (GatewayStatus, ListenerSetStatus). */
import type { Snapshot } from '../snapshot.ts';
import { routesOf } from './attachment.ts';
import { frontendOf, isAllowedBy, isValid, listenersOf, parentOf, secretOf, terminates } from './listeners.ts';
import type { Complaint, GatewayResource, Listener, ListenerSetResource } from './listeners.ts';
import { GATEWAY_GROUP } from './resources.ts';
import type { GatewayAddress, GatewayFacts } from './status.ts';
import type { Condition, ListenerStatus, StatusContent } from './status-content.ts';
import { GATEWAY } from './table.ts';
import type { GatewayId } from './table.ts';

/** A listener with what is known of the objects that it names. */
interface Judged {
  readonly listener: Listener;
  readonly refusal: Complaint | undefined;
  readonly unresolved: readonly Complaint[];
  /** Can a handshake be done, where one is needed? */
  readonly usable: boolean;
}

export function gatewayStatus(gateway: GatewayResource, snapshot: Snapshot, facts: GatewayFacts): StatusContent {
  const all = listenersOf(gateway, snapshot).map((listener) => judge(listener, facts));
  const own = all.filter(({ listener }) => listener.owner === gateway);
  const accepted = acceptedOf(gateway, own);
  const addresses = facts.addresses(idOf(gateway));
  const programmed = programmedOf(gateway, accepted, all, addresses, facts);
  const sets = snapshot.gatewayApi.listenerSets.filter((set) => parentOf(set, snapshot) === gateway && isAllowedBy(set, gateway, snapshot) && all.some((one) => one.listener.owner === set && isServable(one)));
  return {
    conditions: [accepted, programmed, resolvedOf(gateway, own, snapshot, facts), ...insecureOf(gateway)],
    listeners: own.map((one) => listenerStatus(one, programmed, snapshot)),
    values: { addresses: addresses.map(({ type, value }) => ({ type, value })), attachedListenerSets: sets.length },
  };
}

export function listenerSetStatus(set: ListenerSetResource, gateway: GatewayResource, snapshot: Snapshot, facts: GatewayFacts): StatusContent {
  if (!isAllowedBy(set, gateway, snapshot)) {
    const why = { reason: 'NotAllowed', message: `allowedListeners of Gateway ${gateway.namespace}/${gateway.name} does not let it` };
    return { conditions: [no('Accepted', why), no('Programmed', why)], listeners: [] };
  }
  const all = listenersOf(gateway, snapshot).map((listener) => judge(listener, facts));
  // A set of listeners that cannot be served is no use to the Gateway.
  const own = all.filter(({ listener }) => listener.owner === set).map((one) => (isServable(one) ? one : { ...one, refusal: one.refusal ?? one.unresolved[0] }));
  const accepted = acceptedOf(gateway, all.filter(({ listener }) => listener.owner === gateway));
  const programmed = programmedOf(gateway, accepted, all, facts.addresses(idOf(gateway)), facts);
  const parent = `Gateway ${gateway.namespace}/${gateway.name}`;
  const conditions = accepted.status === 'False'
    ? [no('Accepted', { reason: 'ParentNotAccepted', message: `${parent}: ${accepted.message}` }), no('Programmed', { reason: 'ParentNotProgrammed', message: `${parent}: ${accepted.message}` })]
    : own.some(isAccepted)
      ? [listenersAccepted(own), programmed.status === 'True' ? yes('Programmed') : no('Programmed', { reason: 'ParentNotProgrammed', message: `${parent}: ${programmed.message}` })]
      : [listenersAccepted(own), no('Programmed', { reason: 'ListenersNotValid', message: 'none of its listeners is valid' })];
  return { conditions, listeners: all.filter(({ listener }) => listener.owner === set).map((one) => listenerStatus(one, programmed, snapshot)) };
}

export function idOf({ namespace, name }: GatewayResource): GatewayId {
  return { kind: GATEWAY, namespace, name };
}

function judge(listener: Listener, { fault }: GatewayFacts): Judged {
  const { spec, certificates, clients } = listener;
  const faults = (refs: Listener['certificates'], use: 'certificate' | 'authority', reason: string): Complaint[] =>
    refs.flatMap((ref) => {
      const message = fault(ref, use);
      return message === undefined ? [] : [{ reason, message: `${ref.kind} ${ref.namespace}/${ref.name}: ${message}` }];
    });
  const authorities = (clients?.authorities ?? []).filter((one) => one.kind !== 'file');
  const badCertificates = faults(certificates, 'certificate', 'InvalidCertificateRef');
  const badAuthorities = faults(authorities, 'authority', 'InvalidCACertificateRef');
  const nobody = clients !== undefined && badAuthorities.length === authorities.length;
  return {
    listener,
    refusal: listener.refusal ?? (nobody ? { reason: 'NoValidCACertificate', message: badAuthorities[0]?.message ?? 'there is no authority to tell clients by' } : undefined),
    unresolved: [...listener.unresolved, ...badCertificates, ...badAuthorities],
    usable: !terminates(spec) || certificates.length > badCertificates.length,
  };
}

function isAccepted({ listener, refusal }: Judged): boolean {
  return isValid(listener) && refusal === undefined;
}

function isServable(judged: Judged): boolean {
  return isAccepted(judged) && judged.usable;
}

function acceptedOf({ spec }: GatewayResource, own: readonly Judged[]): Condition {
  const foreign = (spec.addresses ?? []).find(({ type = 'IPAddress' }) => type !== 'IPAddress');
  if (foreign !== undefined) return no('Accepted', { reason: 'UnsupportedAddress', message: `addresses of type ${foreign.type ?? ''} cannot be asked for; ask for an IPAddress, or for none` });
  const parameters = spec.infrastructure?.parametersRef;
  if (parameters !== undefined) return no('Accepted', { reason: 'InvalidParameters', message: `there are no parameters for gateways of Orlop; remove parametersRef (${parameters.kind} ${parameters.name})` });
  return listenersAccepted(own);
}

/** As long as one listener is valid, so is the whole. */
function listenersAccepted(own: readonly Judged[]): Condition {
  const bad = own.filter((one) => !isAccepted(one));
  if (bad.length === 0) return yes('Accepted');
  const message = `not valid: ${bad.map(({ listener, refusal }) => `${listener.spec.name} (${(listener.conflict ?? refusal)?.message ?? ''})`).join('; ')}`;
  return { type: 'Accepted', status: bad.length === own.length ? 'False' : 'True', reason: 'ListenersNotValid', message };
}

function programmedOf(gateway: GatewayResource, accepted: Condition, all: readonly Judged[], addresses: readonly GatewayAddress[], facts: GatewayFacts): Condition {
  if (accepted.status === 'False') return no('Programmed', { reason: 'Invalid', message: accepted.message });
  const obstacle = facts.obstacle(idOf(gateway));
  if (obstacle !== undefined) return no('Programmed', { reason: 'NoResources', message: obstacle });
  const unmet = (gateway.spec.addresses ?? []).find(({ value = '' }) => value !== '' && !addresses.some((one) => one.value === value));
  if (unmet !== undefined) return no('Programmed', { reason: 'AddressNotUsable', message: `${unmet.value ?? ''} is not an address that the gateway has or can get` });
  if (addresses.length === 0) return no('Programmed', { reason: 'AddressNotAssigned', message: 'it has no address yet' });
  return all.some(isServable) ? yes('Programmed') : no('Programmed', { reason: 'Invalid', message: 'none of its listeners can be served' });
}

/** The gateway's own certificate for backends, and the listeners' references in sum. */
function resolvedOf(gateway: GatewayResource, own: readonly Judged[], snapshot: Snapshot, { fault }: GatewayFacts): Condition {
  const ref = gateway.spec.tls?.backend?.clientCertificateRef;
  const found = ref === undefined ? undefined : secretOf(ref, gateway, snapshot, 'InvalidClientCertificateRef');
  if (found !== undefined && 'reason' in found) return no('ResolvedRefs', found);
  const why = found === undefined ? undefined : fault(found, 'certificate');
  if (found !== undefined && why !== undefined) return no('ResolvedRefs', { reason: 'InvalidClientCertificateRef', message: `Secret ${found.namespace}/${found.name}: ${why}` });
  const unresolved = own.filter((one) => one.unresolved.length > 0).map(({ listener }) => listener.spec.name);
  return unresolved.length === 0 ? yes('ResolvedRefs') : no('ResolvedRefs', { reason: 'ListenersNotResolved', message: `see the listeners ${unresolved.join(', ')}` });
}

function insecureOf(gateway: GatewayResource): Condition[] {
  const { frontend } = gateway.spec.tls ?? {};
  const ports = [...new Set(gateway.spec.listeners.map(({ port }) => port))];
  const insecure = frontend !== undefined && ports.some((port) => frontendOf(gateway, port)?.validation?.mode === 'AllowInsecureFallback');
  return insecure ? [{ type: 'InsecureFrontendValidationMode', status: 'True', reason: 'ConfigurationChanged', message: 'clients with a certificate that is not valid, or with none, are let in; applications must tell them apart' }] : [];
}

function listenerStatus(judged: Judged, gateway: Condition, snapshot: Snapshot): ListenerStatus {
  const { listener, refusal, unresolved } = judged;
  const { conflict, kinds, spec } = listener;
  const refused = conflict ?? refusal;
  const [missing] = unresolved;
  return {
    name: spec.name,
    supportedKinds: kinds.map((kind) => ({ group: GATEWAY_GROUP, kind })),
    attachedRoutes: routesOf(listener, snapshot).length,
    conditions: [
      refused === undefined ? yes('Accepted') : no('Accepted', refused),
      listenerProgrammed(judged, gateway),
      missing === undefined ? yes('ResolvedRefs') : no('ResolvedRefs', { reason: missing.reason, message: unresolved.map(({ message }) => message).join('; ') }),
      conflict === undefined ? { type: 'Conflicted', status: 'False', reason: 'NoConflicts', message: '' } : { type: 'Conflicted', status: 'True', ...conflict },
    ],
  };
}

function listenerProgrammed({ listener, refusal, unresolved, usable }: Judged, gateway: Condition): Condition {
  if (listener.conflict !== undefined) return no('Programmed', listener.conflict);
  if (refusal !== undefined) return no('Programmed', { reason: 'Invalid', message: refusal.message });
  if (!usable) return no('Programmed', { reason: 'Invalid', message: unresolved[0]?.message ?? 'there is no certificate' });
  return gateway.status === 'True' ? yes('Programmed') : no('Programmed', { reason: 'Pending', message: gateway.message });
}

function yes(type: string): Condition {
  return { type, status: 'True', reason: type, message: '' };
}

function no(type: string, { reason, message }: Complaint): Condition {
  return { type, status: 'False', reason, message };
}
