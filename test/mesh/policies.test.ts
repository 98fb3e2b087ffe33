/** Which DestinationRule a client gets for a host, and what its blocks add up to (Istio: client's namespace, service's, root's). */
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import type { ClusterSpec } from '../../src/mesh/table.ts';
import { application, snapshotOf, tableOf } from './world.ts';

const APP = `${application('shop', ['cart'], ['v1', 'v2'])}---${application('till', ['web'], ['v1', 'v2'])}`;

type Policy = 'RANDOM' | 'ROUND_ROBIN' | 'LEAST_REQUEST' | 'PASSTHROUGH';

function rule(namespace: string, simple: Policy | undefined, more: object = {}, name = 'd', created = '2026-01-01T00:00:00Z'): string {
  const trafficPolicy = simple === undefined ? {} : { trafficPolicy: { loadBalancer: { simple } } };
  return stringify({ apiVersion: 'networking.istio.io/v1', kind: 'DestinationRule', metadata: { name, namespace, creationTimestamp: created }, spec: { host: 'cart.shop.svc.cluster.local', ...trafficPolicy, ...more } });
}

function clusterOf(rules: readonly string[], client = 'till/web-v1', subset = ''): ClusterSpec {
  const { clusters } = tableOf(snapshotOf({ 'app.yaml': APP, 'rules.yaml': rules.join('---\n') }), client);
  return clusters.get(`outbound|9080|${subset}|cart.shop.svc.cluster.local`) as ClusterSpec;
}

describe('lookup', () => {
  const [client, service, root] = [rule('till', 'RANDOM'), rule('shop', 'ROUND_ROBIN'), rule('istio-system', 'PASSTHROUGH')];

  it('the client\'s namespace, then the service\'s, then the root\'s', () => {
    expect(clusterOf([client, service, root]).balancer).toBe('RANDOM');
    expect(clusterOf([service, root]).balancer).toBe('ROUND_ROBIN');
    expect(clusterOf([root]).balancer).toBe('PASSTHROUGH');
    expect(clusterOf([]).balancer).toBe('LEAST_REQUEST');
  });

  it('a rule of another client\'s namespace is not for this one', () => {
    expect(clusterOf([client], 'shop/cart-v1').balancer).toBe('LEAST_REQUEST');
  });

  it('a rule that is not exported is for its own namespace', () => {
    const own = rule('shop', 'ROUND_ROBIN', { exportTo: ['.'] });
    expect(clusterOf([own]).balancer).toBe('LEAST_REQUEST');
    expect(clusterOf([own], 'shop/cart-v1').balancer).toBe('ROUND_ROBIN');
    expect(clusterOf([rule('shop', 'ROUND_ROBIN', { exportTo: ['till'] })]).balancer).toBe('ROUND_ROBIN');
  });

  it('the most specific host of a namespace', () => {
    const wide = rule('till', 'RANDOM', { host: '*.svc.cluster.local' }, 'wide');
    const near = rule('till', 'ROUND_ROBIN', { host: '*.shop.svc.cluster.local' }, 'near');
    expect(clusterOf([wide, near]).balancer).toBe('ROUND_ROBIN');
    expect(clusterOf([wide, near, rule('till', 'PASSTHROUGH')]).balancer).toBe('PASSTHROUGH');
  });

  it('a namespace with any match decides, though another has a more specific one', () => {
    expect(clusterOf([rule('till', 'RANDOM', { host: '*' }), service]).balancer).toBe('RANDOM');
  });

  it('clients that a rule selects by labels', () => {
    const selected = rule('till', 'RANDOM', { workloadSelector: { matchLabels: { version: 'v2' } } });
    expect(clusterOf([selected, service], 'till/web-v2').balancer).toBe('RANDOM');
    expect(clusterOf([selected, service], 'till/web-v1').balancer).toBe('ROUND_ROBIN');
  });
});

describe('rules of the same host', () => {
  it('are united: subsets by name, the first trafficPolicy', () => {
    const one = rule('shop', undefined, { subsets: [{ name: 'v1', labels: { version: 'v1' } }] }, 'b', '2025-01-01T00:00:00Z');
    const two = rule('shop', 'RANDOM', { subsets: [{ name: 'v1', labels: { version: 'v2' } }, { name: 'v2', labels: { version: 'v2' } }] }, 'a');
    const endpoints = (subset: string): unknown => clusterOf([two, one], 'till/web-v1', subset).endpoints.map(({ workload }) => workload);
    expect(endpoints('v1')).toEqual(['shop/cart-v1']);
    expect(endpoints('v2')).toEqual(['shop/cart-v2']);
    expect(clusterOf([two, one]).balancer).toBe('RANDOM');
  });
});

describe('overlay', () => {
  const top = { loadBalancer: { simple: 'RANDOM' }, connectionPool: { tcp: { maxConnections: 5, connectTimeout: '1s' } }, outlierDetection: { consecutive5xxErrors: 3 } };

  it('a subset replaces whole blocks, and inherits the others', () => {
    const own = { connectionPool: { tcp: { maxConnections: 7 } } };
    const cluster = clusterOf([rule('shop', undefined, { trafficPolicy: top, subsets: [{ name: 'v1', labels: { version: 'v1' }, trafficPolicy: own }] })], 'till/web-v1', 'v1');
    expect(cluster).toMatchObject({ balancer: 'RANDOM', limits: { maxConnections: 7, connectTimeoutMs: 10_000 }, outlier: { consecutive5xx: 3 } });
  });

  it('settings of a port replace all blocks: those they leave out are the defaults', () => {
    const settings = (port: number): object => ({ ...top, portLevelSettings: [{ port: { number: port }, loadBalancer: { simple: 'ROUND_ROBIN' } }] });
    const here = clusterOf([rule('shop', undefined, { trafficPolicy: settings(9080) })]);
    expect([here.balancer, here.limits.maxConnections, here.limits.connectTimeoutMs, here.outlier]).toEqual(['ROUND_ROBIN', Infinity, 10_000, undefined]);
    expect(clusterOf([rule('shop', undefined, { trafficPolicy: settings(1) })])).toMatchObject({ balancer: 'RANDOM', limits: { maxConnections: 5 }, outlier: { consecutive5xx: 3 } });
  });

  it('defaults of an outlierDetection that says little, and its old name for the errors', () => {
    const outlier = (block: object): unknown => clusterOf([rule('shop', undefined, { trafficPolicy: { outlierDetection: block } })]).outlier;
    expect(outlier({ interval: '1s' })).toEqual({
      consecutive5xx: 5, consecutiveGatewayErrors: 0, splitLocalOrigin: false, consecutiveLocalOrigin: 5, intervalMs: 1_000, baseEjectionMs: 30_000, maxEjectionPercent: 10, minHealthPercent: 0,
    });
    expect(outlier({ consecutiveErrors: 2 })).toMatchObject({ consecutive5xx: 2 });
    expect(outlier({ consecutive5xxErrors: 0, consecutiveGatewayErrors: 4 })).toMatchObject({ consecutive5xx: 0, consecutiveGatewayErrors: 4 });
  });

  it('zero is as if it were not there, for limits', () => {
    const { limits } = clusterOf([rule('shop', undefined, { trafficPolicy: { connectionPool: { tcp: { maxConnections: 0, idleTimeout: '0s' }, http: { maxRequestsPerConnection: 0, http2MaxRequests: 0 } } } })]);
    expect([limits.maxConnections, limits.maxRequests, limits.maxRequestsPerConnection, limits.tcpIdleTimeoutMs]).toEqual([Infinity, Infinity, 0, 0]);
  });
});
