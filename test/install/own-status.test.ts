/** What of a status is taken back, and what of others' stays. */
import { expect, it } from 'vitest';
import type { Manifest } from '../../src/install/manifest.ts';
import { withoutOurs } from '../../src/install/own-status.ts';

const condition = (type: string): object => ({ type, status: 'True', reason: type, message: '', observedGeneration: 1 });
const OURS = ['Accepted', 'ResolvedRefs', 'Honored', 'Programmed'].map(condition);
const RECONCILED = condition('Reconciled');

function managed(...managers: readonly string[]): Manifest['metadata'] {
  return { name: 'a', namespace: 'shop', managedFields: managers.map((manager) => ({ manager, operation: 'Update', fieldsV1: { 'f:status': { 'f:observedGeneration': {} } } })) };
}

function istio(status: object, ...managers: readonly string[]): Manifest {
  return { apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata: managed(...managers), status };
}

function gatewayApi(kind: string, status: object, ...managers: readonly string[]): Manifest {
  return { apiVersion: 'gateway.networking.k8s.io/v1', kind, metadata: managed(...managers), status };
}

it.each([
  ['all of it is ours', { conditions: OURS, observedGeneration: 1 }, ['orlop-control'], null],
  ['a condition of Istio', { conditions: [RECONCILED, ...OURS], observedGeneration: 1 }, ['orlop-control'], { conditions: [RECONCILED], observedGeneration: null }],
  ['a generation that Istio counts too', { conditions: OURS, observedGeneration: 1, validationMessages: [{}] }, ['orlop-control', 'pilot-discovery'], { conditions: null }],
  ['conditions of others only, of names that we use too', { conditions: [condition('Accepted'), RECONCILED], observedGeneration: 1 }, ['other'], undefined],
  ['none', {}, [], undefined],
])('an object of Istio: %s', (_, status, managers, expected) => {
  expect(withoutOurs(istio(status, ...managers))).toEqual(expected);
});

const entry = (controllerName: string): object => ({ parentRef: { name: 'web' }, controllerName, conditions: [condition('Accepted')] });
const US = entry('orlop.io/gateway-controller');
const OTHER = entry('example.com/controller');

it.each([
  ['HTTPRoute', { parents: [OTHER, US] }, { parents: [OTHER] }],
  ['HTTPRoute', { parents: [US, US] }, null],
  ['HTTPRoute', { parents: [OTHER] }, undefined],
  ['BackendTLSPolicy', { ancestors: [US, OTHER] }, { ancestors: [OTHER] }],
])('of %s %j the entries of others stay', (kind, status, expected) => {
  expect(withoutOurs(gatewayApi(kind, status, 'orlop-control', 'other'))).toEqual(expected);
});

it('of a Gateway that we served, conditions of others stay', () => {
  const status = { conditions: [condition('Programmed'), condition('example.com/Audited')], listeners: [{ name: 'web' }], addresses: [], attachedListenerSets: 0 };
  expect(withoutOurs(gatewayApi('Gateway', status, 'orlop-control'))).toEqual({ conditions: [condition('example.com/Audited')], listeners: null, addresses: null, attachedListenerSets: null });
  expect(withoutOurs(gatewayApi('GatewayClass', { conditions: [condition('Accepted')], supportedFeatures: [{ name: 'HTTPRoute' }] }, 'orlop-control'))).toBeNull();
  expect(withoutOurs(gatewayApi('Gateway', status, 'other'))).toBeUndefined();
  const pending = { type: 'Accepted', status: 'Unknown', reason: 'Pending', message: 'Waiting for controller' };
  expect(withoutOurs(gatewayApi('Gateway', { conditions: [pending] }, 'orlop-control'))).toBeUndefined();
});
