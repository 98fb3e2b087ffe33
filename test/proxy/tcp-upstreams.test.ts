/** Opaque connections: which endpoint they get, what happens when it cannot be reached, and what they count for. */
import { describe, expect, test } from 'vitest';
import type { MeshError } from '../../src/core/errors.ts';
import type { AuthorizationPolicies } from '../../src/mesh/security.ts';
import { NO_SECURITY } from '../../src/mesh/security.ts';
import type { Table, TcpRoute } from '../../src/mesh/table.ts';
import type { Lease, OpaqueAttempt, OpaqueOutcome } from '../../src/proxy/opaque.ts';
import { Exchange } from '../../src/proxy/record.ts';
import { TcpUpstreams } from '../../src/proxy/tcp-upstreams.ts';
import type { Transport } from '../../src/proxy/transport.ts';
import type { WorkloadHandle } from '../../src/proxy/workload.ts';
import { policiesOf, policy } from '../mesh/security-world.ts';
import { ruleOf } from './jwt/issuer.ts';
import { CLUSTER, LIMITS, OUTLIER, World, clusterOf, endpoints, tableOf } from './world.ts';

class Outcome implements OpaqueOutcome {
  transport: Transport | undefined;
  lease: Lease | undefined;
  error: MeshError | undefined;
  calls = 0;
  exchange!: Exchange;
  attempt!: OpaqueAttempt;

  dialled(transport: Transport, lease: Lease): void {
    this.calls += 1;
    this.transport = transport;
    this.lease = lease;
  }

  unreachable(error: MeshError): void {
    this.calls += 1;
    this.error = error;
  }
}

function route(...clusters: readonly (readonly [string, number])[]): TcpRoute {
  return {
    name: 'default',
    origin: 'Service default/reviews',
    destinationSubnets: [],
    clusters: clusters.map(([cluster, weight]) => ({ cluster, weight, headers: undefined })),
    weightTotal: clusters.reduce((sum, [, weight]) => sum + weight, 0),
  };
}

function connect(world: World, routes: readonly TcpRoute[] | undefined = [route([CLUSTER, 1])], run = true): Outcome {
  const outcome = new Outcome();
  outcome.exchange = new Exchange('source', world.connection, world.workload.table, world.clock.nowMs());
  outcome.attempt = new TcpUpstreams(world.clusters, world.dataplane).connect(outcome.exchange, { routes }, outcome);
  expect(outcome.calls).toBe(0);
  if (run) world.clock.advance(0);
  return outcome;
}

const connections = (world: World): number => world.clusters.get(CLUSTER)?.budget.connections ?? -1;

test('a connection counts until its lease is given back, once', () => {
  const world = new World(tableOf());
  const outcome = connect(world);
  expect(outcome.lease?.idleTimeoutMs).toBe(3_600_000);
  expect(outcome.exchange).toMatchObject({ upstreamAddress: '10.1.0.1:9080', attempts: 1 });
  expect(connections(world)).toBe(1);
  outcome.lease?.release();
  outcome.lease?.release();
  expect(connections(world)).toBe(0);
  expect(world.idle).toBe(true);
});

test('another endpoint is tried where one cannot be reached', () => {
  const world = new World(tableOf({ clusters: [clusterOf({ endpoints: endpoints('10.1.0.1', '10.1.0.2', '10.1.0.3') })] }));
  world.failDials = new Set([1, 2]);
  const outcome = connect(world);
  expect(outcome.transport).toBeDefined();
  expect(new Set(world.dials.map((target) => target.address)).size).toBe(3);
  expect(connections(world)).toBe(1);
});

test('when none can be reached the connection is refused, with URX, and nothing stays counted', () => {
  const world = new World(tableOf({ clusters: [clusterOf({ endpoints: endpoints('10.1.0.1', '10.1.0.2') })] }));
  world.failDials = 'all';
  const outcome = connect(world);
  expect(outcome.error?.code).toBe('upstream_connect_failed');
  expect(outcome.exchange.flags).toBe('UF,URX');
  expect(outcome.calls).toBe(1);
  expect(connections(world)).toBe(0);
  expect(world.idle).toBe(true);
});

test('maxConnections refuses with UO', () => {
  const world = new World(tableOf({ clusters: [clusterOf({ limits: { ...LIMITS, maxConnections: 1 } })] }));
  connect(world);
  expect(connect(world).error?.code).toBe('overflow');
});

test('a connection ends with DT when it has lasted maxConnectionDuration, and is probed as tcpKeepalive says', () => {
  const keepalive = { probes: 3, timeSeconds: 10, intervalSeconds: 5 };
  const world = new World(tableOf({ clusters: [clusterOf({ limits: { ...LIMITS, maxConnectionDurationMs: 60_000, keepalive } })] }));
  const outcome = connect(world);
  expect(world.probed).toEqual([keepalive]);
  world.clock.advance(59_000);
  expect(outcome.exchange.flags).toBe('');
  world.clock.advance(2_000);
  expect(outcome.exchange).toMatchObject({ flags: 'DT', details: 'max_duration_reached' });
  outcome.lease?.release();
  expect(world.clock.pending()).toBe(0);
});

test('connect failures eject an endpoint', () => {
  const world = new World(tableOf({ clusters: [clusterOf({ outlier: { ...OUTLIER, consecutive5xx: 2 } })] }));
  world.failDials = 'all';
  expect([connect(world), connect(world), connect(world)].map((outcome) => outcome.error?.code)).toEqual(['upstream_connect_failed', 'upstream_connect_failed', 'no_healthy_upstream']);
});

test('a cancelled attempt says nothing and counts for nothing', () => {
  const world = new World(tableOf());
  const outcome = connect(world, undefined, false);
  outcome.attempt.cancel();
  world.clock.advance(20_000);
  expect(outcome.calls).toBe(0);
  expect(connections(world)).toBe(0);
});

test('weights split the connections', () => {
  const world = new World(tableOf({ clusters: ['a', 'b'].map((key, i) => clusterOf({ key, endpoints: endpoints(`10.1.0.${i + 1}`) })) }));
  for (let i = 0; i < 2_000; i += 1) connect(world, [route(['a', 80], ['b', 20])]).lease?.release();
  const share = world.dials.filter((target) => target.address === '10.1.0.1').length / 2_000;
  expect(Math.abs(share - 0.8)).toBeLessThan(0.045);
});

test('outside the registry: to where the client meant to go, or nowhere', () => {
  const open = new World(tableOf());
  const outcome = new Outcome();
  const exchange = new Exchange('source', open.connectTo('93.184.216.34', 25), open.workload.table, 0);
  new TcpUpstreams(open.clusters, open.dataplane).connect(exchange, { routes: undefined }, outcome);
  open.clock.advance(0);
  expect(open.dials[0]).toMatchObject({ address: '93.184.216.34', port: 25, direction: 'outbound' });
  outcome.lease?.release();
  expect(open.idle).toBe(true);
  const closed = new World(tableOf({ mode: 'REGISTRY_ONLY' }));
  const refused = new Outcome();
  new TcpUpstreams(closed.clusters, closed.dataplane).connect(new Exchange('source', closed.connection, closed.workload.table, 0), { routes: undefined }, refused);
  closed.clock.advance(0);
  expect(refused.error?.code).toBe('blocked_by_registry_only');
});

test('a pod of the same node is dialled at its application, and reported by its side too', () => {
  const spec = clusterOf({ endpoints: endpoints('10.1.0.1').map((endpoint) => ({ ...endpoint, workload: 'default/reviews', enrolled: true })) });
  const world = new World(tableOf({ clusters: [spec] }));
  world.workloads.set('default/reviews', world.pod('default/reviews', tableOf()));
  const outcome = connect(world);
  expect(world.dials[0]).toMatchObject({ direction: 'inbound', clientAddress: '10.0.0.1' });
  expect(world.tcp).toEqual(['destination opened 10.1.0.1:9080']);
  Object.assign(outcome.transport as object, { bytesWritten: 10, bytesRead: 20 });
  world.clock.advance(5_000);
  outcome.lease?.release();
  world.clock.advance(60_000);
  expect(world.tcp.slice(1)).toEqual(['destination bytes 10 20', 'destination closed ']);
});

describe('policies of a pod of the same node', () => {
  const spec = clusterOf({ endpoints: endpoints('10.1.0.1').map((endpoint) => ({ ...endpoint, workload: 'default/reviews', node: 'node1', enrolled: true, identity: 'spiffe://cluster.local/ns/default/sa/reviews' })) });
  const demanding = (authorization: AuthorizationPolicies): Table => ({ ...tableOf(), security: { ...NO_SECURITY, authorization } });

  function neighbours(authorization: AuthorizationPolicies): { world: World; server: WorkloadHandle } {
    const world = new World(tableOf({ clusters: [spec] }));
    const server = world.pod('default/reviews', demanding(authorization));
    world.workloads.set('default/reviews', server);
    return { world, server };
  }

  test('refuse a connection before it is made, and both sides report it', () => {
    const { world } = neighbours(policiesOf(policy('DENY', '[{}]')));
    const outcome = connect(world);
    world.clock.advance(0);
    expect(outcome.error?.code).toBe('rbac_denied');
    expect(world.dials).toEqual([]);
    expect(world.tcp).toEqual(['destination opened 10.1.0.1:9080', 'destination closed ']);
    expect(world.idle).toBe(true);
  });

  test('end a connection when they no longer allow it', () => {
    const { world, server } = neighbours(policiesOf());
    const outcome = connect(world);
    let resets = 0;
    Object.assign(outcome.transport as object, { reset: () => (resets += 1) });
    server.table = demanding(policiesOf(policy('DENY', '[{}]')));
    server.admission.recheck();
    server.admission.recheck();
    expect(resets).toBe(1);
    outcome.lease?.release();
    expect(world.idle).toBe(true);
  });

  test('that an authorizer decides are asked by its own side, which the wire leads to', () => {
    const config = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: "{extensionProviders: [{name: asker, envoyExtAuthzGrpc: {service: cart.shop.svc.cluster.local, port: 9080}}]}"}\n---\n';
    const { world } = neighbours(policiesOf(config, policy('CUSTOM', '[{}]', { more: ', provider: {name: asker}' })));
    connect(world);
    expect(world.dials[0]).toMatchObject({ direction: 'outbound', security: { kind: 'hbone' } });
  });

  test('about tokens hold for HTTP that the client takes for TCP: its own side reads it, unless the port is TCP for it too', () => {
    const { world, server } = neighbours(policiesOf());
    const security = { ...NO_SECURITY, jwtRules: [ruleOf()] };
    const service = clusterOf().service;
    server.table = { ...tableOf(), security };
    connect(world);
    server.table = { ...tableOf({ inbound: new Map([[9080, { protocol: 'http', service }]]) }), security };
    connect(world);
    server.table = { ...tableOf({ inbound: new Map([[9080, { protocol: 'tcp', service }]]) }), security };
    connect(world);
    expect(world.dials.map(({ direction, security: by }) => [direction, by?.kind])).toEqual([['outbound', 'hbone'], ['outbound', 'hbone'], ['inbound', undefined]]);
  });
});
