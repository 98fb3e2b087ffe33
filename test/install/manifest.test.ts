/** Order and ownership of an installation's objects. */
import { describe, expect, it } from 'vitest';
import { inOrder, isManagedByUsAlone, isPart, nameOf, sameObject } from '../../src/install/manifest.ts';
import type { Manifest, ManagedFields } from '../../src/install/manifest.ts';

const manifest = (kind: string, apiVersion = 'v1'): Manifest => ({ apiVersion, kind, metadata: { name: 'a', namespace: 'n' } });

describe('the order', () => {
  it('has what others refer to first, what narrows rights before them, and what stands in the way of others last', () => {
    const kinds = ['ValidatingWebhookConfiguration', 'ClusterRoleBinding', 'ValidatingAdmissionPolicy', 'DaemonSet', 'PodMonitor', 'Role', 'Namespace', 'ConfigMap', 'ServiceAccount', 'CustomResourceDefinition'];
    expect(inOrder(kinds.map((kind) => manifest(kind))).map(({ kind }) => kind)).toEqual(['Namespace', 'CustomResourceDefinition', 'ValidatingAdmissionPolicy', 'ServiceAccount', 'ClusterRoleBinding', 'Role', 'ConfigMap', 'DaemonSet', 'PodMonitor', 'ValidatingWebhookConfiguration']);
  });
});

describe('an object', () => {
  it('is the same in each version of its group, and another in another group', () => {
    expect(sameObject(manifest('Gateway', 'networking.istio.io/v1'), manifest('Gateway', 'networking.istio.io/v1beta1'))).toBe(true);
    expect(sameObject(manifest('Gateway', 'networking.istio.io/v1'), manifest('Gateway', 'gateway.networking.k8s.io/v1'))).toBe(false);
    expect(nameOf(manifest('Pod'))).toBe('Pod n/a');
  });

  it.each([
    ['Service', { 'app.kubernetes.io/managed-by': 'orlop' }, true],
    ['EndpointSlice', { 'endpointslice.kubernetes.io/managed-by': 'orlop' }, true],
    ['ConfigMap', { 'app.kubernetes.io/managed-by': 'orlop' }, false],
    ['Service', { 'app.kubernetes.io/managed-by': 'Helm' }, false],
  ])('%s with %j is ours: %s', (kind, labels, expected) => {
    expect(isPart({ apiVersion: 'v1', kind, metadata: { name: 'a', labels } })).toBe(expected);
  });

  const managedBy = (...managers: string[]): Manifest => ({
    ...manifest('CustomResourceDefinition'),
    metadata: { name: 'a', labels: { 'app.kubernetes.io/part-of': 'orlop' }, managedFields: managers.map((manager): ManagedFields => ({ manager, operation: 'Apply', fieldsV1: { [manager === 'kube-apiserver' ? 'f:status' : 'f:spec']: {} } })) },
  });

  it.each([
    [['orlop'], true],
    [['orlop', 'kube-apiserver'], true],
    [['kubectl-client-side-apply'], false],
    [['orlop', 'istioctl'], false],
    [[], false],
  ])('that %j have written is ours alone: %s', (managers, expected) => {
    const object = managedBy(...managers);
    expect(isPart(object)).toBe(true);
    expect(isManagedByUsAlone(object, 'f:spec')).toBe(expected);
  });
});
