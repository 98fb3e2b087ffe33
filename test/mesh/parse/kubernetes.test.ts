/** Pods, Services and EndpointSlices: what they are called, where a Service leads. */
import { describe, expect, it } from 'vitest';
import type { Workload } from '../../../src/mesh/snapshot.ts';
import { application, snapshotOf, tableOf } from '../world.ts';

function pod(meta: string, spec = '{containers: []}', namespaceMeta = ''): Workload {
  const snapshot = snapshotOf({
    'a.yaml': `apiVersion: v1\nkind: Namespace\nmetadata: {name: shop${namespaceMeta}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: cart-7d9f8b6c5-x2x4z, namespace: shop${meta}}\nspec: ${spec}\n`,
  });
  return snapshot.workloads[0] as Workload;
}

const owned = (kind: string, name: string, labels = ''): Workload => pod(`, labels: {${labels}}, ownerReferences: [{kind: ${kind}, name: ${name}, controller: true}]`);

const slice = (endpoints: string, name = 'cart-1'): string => `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ${name}, namespace: shop, labels: {kubernetes.io/service-name: cart}}
ports: [{name: http, port: 8080}]
endpoints: ${endpoints}
`;

describe('names of a workload', () => {
  it('a ReplicaSet stands for its Deployment', () => {
    expect(owned('ReplicaSet', 'cart-7d9f8b6c5', 'pod-template-hash: 7d9f8b6c5').workloadName).toBe('cart');
    expect(owned('ReplicaSet', 'cart-7d9f8b6c5').workloadName).toBe('cart');
    expect(owned('StatefulSet', 'cart-db').workloadName).toBe('cart-db');
    expect(pod('').workloadName).toBe('cart-7d9f8b6c5-x2x4z');
  });

  it('canonical names come from labels in Istio\'s order', () => {
    expect(pod(', labels: {app: a, version: v3}')).toMatchObject({ canonicalName: 'a', canonicalRevision: 'v3', app: 'a', version: 'v3' });
    expect(pod(', labels: {app: a, app.kubernetes.io/name: b}')).toMatchObject({ canonicalName: 'b', canonicalRevision: 'latest', app: 'a' });
    expect(pod(', labels: {app: a, app.kubernetes.io/name: b, service.istio.io/canonical-name: c, service.istio.io/canonical-revision: r}')).toMatchObject({ canonicalName: 'c', canonicalRevision: 'r' });
    expect(owned('ReplicaSet', 'cart-7d9f8b6c5').canonicalName).toBe('cart');
  });

  it('the service account is default unless it is said', () => {
    expect(pod('').serviceAccount).toBe('default');
    expect(pod('', '{serviceAccountName: till}').serviceAccount).toBe('till');
  });
});

describe('where a Service leads', () => {
  const cluster = 'outbound|9080||cart.shop.svc.cluster.local';
  const addresses = (yaml: string): unknown => tableOf(snapshotOf({ 'a.yaml': yaml }), 'shop/cart-v1').clusters.get(cluster)?.endpoints.map(({ address, port, workload }) => [address, port, workload]);
  const app = application('shop', ['cart'], ['v1', 'v2']);

  it('to the ready pods that it selects', () => {
    expect(addresses(app)).toEqual([['10.244.4.1', 9080, 'shop/cart-v1'], ['10.244.4.2', 9080, 'shop/cart-v2']]);
    expect(addresses(app.replace('status: "True"', 'status: "False"'))).toEqual([['10.244.4.2', 9080, 'shop/cart-v2']]);
  });

  it('to its EndpointSlices when there are any, whatever it selects', () => {
    const endpoints = '[{addresses: [10.0.0.1], targetRef: {kind: Pod, name: cart-v2}}, {addresses: [10.0.0.2], conditions: {ready: false}}, {addresses: [10.0.0.3], conditions: {ready: true}}]';
    expect(addresses(app + slice(endpoints))).toEqual([['10.0.0.1', 8080, 'shop/cart-v2'], ['10.0.0.3', 8080, undefined]]);
    expect(addresses(app + slice(endpoints) + slice('[{addresses: [10.0.0.4]}]', 'cart-2'))).toHaveLength(3);
    expect(addresses(app + slice('[]'))).toEqual([]);
  });

  it('to those that end and still answer only while none is ready', () => {
    const leaving = '{addresses: [10.0.0.1], conditions: {ready: false, serving: true, terminating: true}}';
    const ended = '{addresses: [10.0.0.2], conditions: {ready: false, serving: false, terminating: true}}';
    const starting = '{addresses: [10.0.0.3], conditions: {ready: false, serving: false, terminating: false}}';
    const ready = '{addresses: [10.0.0.4], conditions: {ready: true, serving: true, terminating: false}}';
    expect(addresses(app + slice(`[${leaving}, ${ended}, ${starting}]`))).toEqual([['10.0.0.1', 8080, undefined]]);
    expect(addresses(app + slice(`[${leaving}, ${ended}]`) + slice(`[${ready}]`, 'cart-2'))).toEqual([['10.0.0.4', 8080, undefined]]);
  });
});
