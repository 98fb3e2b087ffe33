/** The status of BackendTLSPolicies: one entry for each Gateway whose routes send to what the policy is for (PolicyStatus.ancestors). */
import type { Json } from '../parse/json.ts';
import { objectName } from '../resources.ts';
import type { Snapshot } from '../snapshot.ts';
import { attachments } from './attachment.ts';
import { isService, readPolicy } from './backend-tls.ts';
import type { BackendTlsPolicy } from './backend-tls.ts';
import type { Complaint, GatewayResource } from './listeners.ts';
import { ownGateways, parentOf } from './listeners.ts';
import { byRouteAge } from './order.ts';
import { GATEWAY_GROUP } from './resources.ts';
import { backendsOf } from './route-status.ts';
import type { GatewayFacts } from './status.ts';
import type { Condition, PlaceStatus } from './status-content.ts';

/** PolicyStatus.ancestors has no room for more. */
const ANCESTORS_MAX = 16;

export function policyStatus(policy: BackendTlsPolicy, snapshot: Snapshot, facts: GatewayFacts): PlaceStatus[] {
  const conditions = conditionsOf(policy, snapshot, facts);
  return ancestorsOf(policy.namespace, policy.spec.targetRefs, snapshot).map((ref) => ({ ref, conditions }));
}

/** References to the Gateways whose routes send to any of `targets` in a namespace. */
export function ancestorsOf(namespace: string, targets: BackendTlsPolicy['spec']['targetRefs'], snapshot: Snapshot): Json[] {
  const services = new Set(targets.filter(isService).map(({ name }) => name));
  const gateways = ownGateways(snapshot).filter((gateway) => sendsTo(gateway, namespace, services, snapshot));
  return gateways.slice(0, ANCESTORS_MAX).map((gateway) => ({ group: GATEWAY_GROUP, kind: 'Gateway', namespace: gateway.namespace, name: gateway.name }));
}

function sendsTo(gateway: GatewayResource, namespace: string, services: ReadonlySet<string>, snapshot: Snapshot): boolean {
  return attachments(snapshot).some(({ route, listeners }) =>
    listeners.some(({ listener: { owner } }) => owner === gateway || snapshot.gatewayApi.listenerSets.some((set) => set === owner && parentOf(set, snapshot) === gateway))
    && backendsOf(route).some((ref) => (ref.namespace ?? route.namespace) === namespace && services.has(ref.name)));
}

function conditionsOf(policy: BackendTlsPolicy, snapshot: Snapshot, { fault }: GatewayFacts): Condition[] {
  const { tls, complaints } = readPolicy(policy, undefined);
  const faults = (tls?.authorities ?? []).flatMap((ref): Complaint[] => {
    const message = fault(ref, 'authority');
    return message === undefined ? [] : [{ reason: 'InvalidCACertificateRef', message: `${ref.kind} ${ref.namespace}/${ref.name}: ${message}` }];
  });
  const unresolved = [...complaints, ...faults];
  const trustsNobody = tls === undefined || (tls.authorities !== undefined && faults.length === tls.authorities.length);
  const winner = olderFor(policy, snapshot);
  const accepted: Condition = winner !== undefined
    ? { type: 'Accepted', status: 'False', reason: 'Conflicted', message: `${objectName(winner)} is older and for the same target` }
    : trustsNobody
      ? { type: 'Accepted', status: 'False', reason: 'NoValidCACertificate', message: `${unresolved[0]?.message ?? 'there is no authority'}; requests for what it is for are refused` }
      : { type: 'Accepted', status: 'True', reason: 'Accepted', message: '' };
  const [first] = unresolved;
  return [accepted, first === undefined ? { type: 'ResolvedRefs', status: 'True', reason: 'ResolvedRefs', message: '' } : { type: 'ResolvedRefs', status: 'False', reason: first.reason, message: unresolved.map(({ message }) => message).join('; ') }];
}

/** A policy that has all of this one's targets before it. */
function olderFor(policy: BackendTlsPolicy, { gatewayApi }: Snapshot): BackendTlsPolicy | undefined {
  const rivals = gatewayApi.backendTlsPolicies.filter((other) => other !== policy && other.namespace === policy.namespace && byRouteAge(other, policy) < 0);
  const winners = policy.spec.targetRefs.map((target) => rivals.find(({ spec }) => spec.targetRefs.some((one) => one.kind === target.kind && one.name === target.name && one.sectionName === target.sectionName)));
  return winners.every((winner) => winner !== undefined) ? winners[0] : undefined;
}
