/** What a DestinationRule's parts add up to. */
import { describe, expect, it } from 'vitest';
import type { ClusterSpec } from '../../../src/mesh/table.ts';
import { application, snapshotOf, tableOf } from '../world.ts';
import { istio } from './istio.ts';

function cluster(spec: string, subset = ''): ClusterSpec | undefined {
  return tableOf(snapshotOf({ 'a.yaml': application('shop', ['cart']) + istio('DestinationRule', 'd', spec) }), 'shop/cart-v1').clusters.get(`outbound|9080|${subset}|cart.shop.svc.cluster.local`);
}

describe('settings of a port of a subset', () => {
  it('replace the blocks of the host too: those they leave out are the defaults', () => {
    const own = 'trafficPolicy: {portLevelSettings: [{port: {number: 9080}, outlierDetection: {}}]}';
    const found = cluster(`{host: cart, trafficPolicy: {loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {maxConnections: 7}}}, subsets: [{name: v1, labels: {version: v1}, ${own}}]}`, 'v1');
    expect([found?.balancer, found?.limits.maxConnections, found?.outlier?.consecutive5xx]).toEqual(['LEAST_REQUEST', Infinity, 5]);
  });
});

describe('maxEjectionPercent', () => {
  it('of 0 is as if it were not there, as in Istio', () => {
    expect(cluster('{host: cart, trafficPolicy: {outlierDetection: {maxEjectionPercent: 0}}}')?.outlier?.maxEjectionPercent).toBe(10);
  });
});
