/**
 * What is to be said of the Gateway API's objects in their status. Pure: of a snapshot, and of what only the cluster's side knows of gateways and of
 * the objects with certificates that they name.
 */
import type { Snapshot } from '../snapshot.ts';
import type { ObjectRef } from '../table.ts';
import { supportedFeatures } from './features.ts';
import { gatewayStatus, listenerSetStatus } from './gateway-status.ts';
import { ownGateways, parentOf } from './listeners.ts';
import { policyStatus } from './policy-status.ts';
import { CONTROLLER_NAME } from './resources.ts';
import { routeStatus } from './route-status.ts';
import type { Condition, StatusContent } from './status-content.ts';
import type { GatewayId } from './table.ts';

export interface GatewayFacts {
  /** What clients reach a gateway by; none: it cannot be reached (yet). */
  readonly addresses: (gateway: GatewayId) => readonly GatewayAddress[];
  /** Why it is served nowhere, in a sentence; undefined: nothing is in its way. */
  readonly obstacle: (gateway: GatewayId) => string | undefined;
  /** Why an object cannot be used as a certificate with its key, or as authorities; undefined: it can. */
  readonly fault: (ref: ObjectRef, use: 'certificate' | 'authority') => string | undefined;
  /** Of the definition of a kind; undefined: it is not installed. */
  readonly annotations: (kind: string) => Readonly<Record<string, string>> | undefined;
}

export interface GatewayAddress {
  readonly type: 'IPAddress' | 'Hostname';
  readonly value: string;
}

export interface GatewayStatus {
  /** As a snapshot calls it, with namespace and name. */
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly content: StatusContent;
}

/** Of every object that is Orlop's to speak of. A route or policy that names nothing of Orlop's has an empty list, so that what was said earlier goes. */
export function gatewayStatuses(snapshot: Snapshot, facts: GatewayFacts): GatewayStatus[] {
  const { classes, listenerSets, routes, backendTlsPolicies } = snapshot.gatewayApi;
  return [
    ...classes.filter(({ spec }) => spec.controllerName === CONTROLLER_NAME).map(({ kind, namespace, name, spec }) => ({ kind, namespace, name, content: classStatus(spec.parametersRef !== undefined, facts) })),
    ...ownGateways(snapshot).map((gateway) => ({ kind: gateway.kind, namespace: gateway.namespace, name: gateway.name, content: gatewayStatus(gateway, snapshot, facts) })),
    ...listenerSets.flatMap((set) => {
      const gateway = parentOf(set, snapshot);
      return gateway === undefined ? [] : [{ kind: set.kind, namespace: set.namespace, name: set.name, content: listenerSetStatus(set, gateway, snapshot, facts) }];
    }),
    ...routes.map((route) => ({ kind: route.kind, namespace: route.namespace, name: route.name, content: { parents: routeStatus(route, snapshot) } })),
    ...backendTlsPolicies.map((policy) => ({ kind: policy.kind, namespace: policy.namespace, name: policy.name, content: { ancestors: policyStatus(policy, snapshot, facts) } })),
  ];
}

function classStatus(hasParameters: boolean, { annotations }: GatewayFacts): StatusContent {
  const accepted: Condition = hasParameters
    ? { type: 'Accepted', status: 'False', reason: 'InvalidParameters', message: 'there are no parameters for gateways of Orlop; remove parametersRef' }
    : { type: 'Accepted', status: 'True', reason: 'Accepted', message: 'Gateways of this class are served by the nodes\' agents' };
  return { conditions: [accepted], values: { supportedFeatures: supportedFeatures(annotations).map((name) => ({ name })) } };
}
