import { expect, test } from 'vitest';
import type { ConnectionLimits, Table } from '../../src/mesh/table.ts';
import { CLUSTER, LIMITS, World, clusterOf, endpoints, routeOf, silent, tableOf } from './world.ts';

function limited(change: Partial<ConnectionLimits>): World {
  const world = new World(tableOf({ clusters: [clusterOf({ limits: { ...LIMITS, ...change } })] }));
  world.script = silent;
  return world;
}

function update(world: World, table: Table): void {
  world.workload.table = table;
  world.clusters.apply(table);
}

test('maxConnections and http1MaxPendingRequests: what does not fit is refused with UO at once', () => {
  const world = limited({ maxConnections: 1, maxPendingRequests: 1 });
  const served = world.send();
  const waiting = world.send();
  const refused = world.send();
  expect(world.dials).toHaveLength(1);
  expect([served.ends, waiting.ends, refused.status]).toEqual([0, 0, 503]);
  expect(world.ended[0]).toMatchObject({ flags: 'UO' });
  expect(refused.body).toContain('http1MaxPendingRequests 1');
  world.requests[0]?.answer(200);
  expect(served.status).toBe(200);
  world.requests[1]?.answer(200);
  expect(waiting.status).toBe(200);
  expect(world.idle).toBe(true);
});

test('http2MaxRequests bounds the requests under way', () => {
  const world = limited({ maxRequests: 2 });
  world.send();
  world.send();
  expect(world.send().status).toBe(503);
  expect(world.ended[0]?.flags).toBe('UO');
  world.requests[0]?.answer(200);
  expect(world.send().status).toBe(0);
});

test('maxRequestsPerConnection 1 uses every connection once', () => {
  const world = new World(tableOf({ clusters: [clusterOf({ limits: { ...LIMITS, maxRequestsPerConnection: 1 } })] }));
  for (let i = 0; i < 3; i += 1) expect(world.send().status).toBe(200);
  expect(world.dials).toHaveLength(3);
  expect(world.open.size).toBe(0);
});

test('an endpoint without connections gets one even when others hold all of the cluster', () => {
  const world = new World(tableOf({ clusters: [clusterOf({ endpoints: endpoints('10.1.0.1', '10.1.0.2'), balancer: 'ROUND_ROBIN', limits: { ...LIMITS, maxConnections: 1 } })] }));
  world.script = silent;
  world.send();
  world.send();
  expect(new Set(world.seen).size).toBe(2);
});

test('idle connections are closed after the idle timeout, used ones are not', () => {
  const world = limited({ httpIdleTimeoutMs: 60_000 });
  const busy = world.send();
  world.send();
  world.requests[1]?.answer(200);
  world.clock.advance(59_000);
  expect(world.open.size).toBe(2);
  world.clock.advance(2_000);
  expect(world.open.size).toBe(1);
  expect(busy.ends).toBe(0);
});

test('maxConnectionDuration lets the request under way finish', () => {
  const world = limited({ maxConnectionDurationMs: 5_000 });
  const client = world.send();
  world.clock.advance(6_000);
  expect(world.open.size).toBe(1);
  world.requests[0]?.answer(200);
  expect(client.status).toBe(200);
  expect(world.open.size).toBe(0);
});

test('a new table keeps the connections of endpoints that remain and drains the others', () => {
  const world = new World(tableOf({ clusters: [clusterOf({ endpoints: endpoints('10.1.0.1', '10.1.0.2'), balancer: 'ROUND_ROBIN' })] }));
  world.send();
  world.send();
  expect(world.open.size).toBe(2);
  world.scripts.set('10.1.0.2', silent);
  const late = [world.send(), world.send()].find((client) => client.ends === 0);

  update(world, tableOf({ clusters: [clusterOf({ endpoints: endpoints('10.1.0.1', '10.1.0.3'), balancer: 'ROUND_ROBIN' })] }));
  expect(late?.ends).toBe(0);
  world.requests.find((request) => !request.over)?.answer(200);
  expect(late?.status).toBe(200);
  expect([...world.open].map((connection) => connection.target.address)).toEqual(['10.1.0.1']);

  const before = world.dials.length;
  for (let i = 0; i < 4; i += 1) expect(world.send().status).toBe(200);
  expect(world.seen.slice(-4).toSorted()).toEqual(['10.1.0.1', '10.1.0.1', '10.1.0.3', '10.1.0.3']);
  expect(world.dials.length - before).toBe(1);
});

test('a cluster that left the table drains and is forgotten', () => {
  const world = new World(tableOf());
  world.send();
  update(world, tableOf({ clusters: [] }));
  expect(world.open.size).toBe(0);
  expect(world.send().status).toBe(503);
  expect([...world.clusters.values()]).toHaveLength(0);
});

test('requests wait for the first answer of DNS, and all addresses are endpoints', async () => {
  const world = new World(tableOf({ clusters: [clusterOf({ discovery: 'dns', endpoints: endpoints('api.example.com'), balancer: 'ROUND_ROBIN' })] }));
  const dns = Promise.withResolvers<readonly string[]>();
  world.resolve = () => dns.promise;
  const client = world.send({ body: 'kept' });
  expect(client.ends).toBe(0);
  dns.resolve(['192.0.2.1', '192.0.2.2']);
  await settled();
  world.clock.advance(0);
  expect(client.status).toBe(200);
  expect(world.requests[0]?.body).toBe('kept');
  world.send();
  expect(new Set(world.seen)).toEqual(new Set(['192.0.2.1', '192.0.2.2']));
});

test('a name that cannot be resolved answers 503 DF, and is asked again later', async () => {
  const world = new World(tableOf({ clusters: [clusterOf({ discovery: 'dns', endpoints: endpoints('api.example.com') })] }));
  let asked = 0;
  world.resolve = () => {
    asked += 1;
    return Promise.reject(new Error('NXDOMAIN'));
  };
  const client = world.send();
  await settled();
  expect(client.status).toBe(503);
  expect(world.ended[0]?.flags).toBe('DF');
  expect(world.send().status).toBe(503);
  expect(asked).toBe(1);
  world.resolve = () => Promise.resolve(['192.0.2.1']);
  world.clock.advance(5_000);
  const later = world.send();
  await settled();
  world.clock.advance(0);
  expect(later.status).toBe(200);
});

test('DNS that never answers is not waited for longer than the connect timeout', () => {
  const world = new World(tableOf({ clusters: [clusterOf({ discovery: 'dns', endpoints: endpoints('api.example.com') })] }));
  world.resolve = () => new Promise(() => undefined);
  const client = world.send();
  world.clock.advance(10_000);
  expect(client.status).toBe(503);
  expect(world.ended[0]?.flags).toBe('DF');
});

test('addresses that changed in DNS are followed, with the old connections drained', async () => {
  const world = new World(tableOf({ clusters: [clusterOf({ discovery: 'dns', endpoints: endpoints('api.example.com') })] }));
  world.resolve = () => Promise.resolve(['192.0.2.1']);
  world.send();
  await settled();
  world.clock.advance(31_000);
  world.resolve = () => Promise.resolve(['192.0.2.9']);
  world.send();
  await settled();
  world.send();
  expect(world.seen).toEqual(['192.0.2.1', '192.0.2.1', '192.0.2.9']);
  expect([...world.open].map((connection) => connection.target.address)).toEqual(['192.0.2.9']);
});

test('original destinations are kept only while they have connections', () => {
  const world = new World(tableOf({ clusters: [clusterOf({ discovery: 'original', endpoints: [], limits: { ...LIMITS, httpIdleTimeoutMs: 1_000 } })] }));
  for (let i = 1; i <= 20; i += 1) world.send({ connection: world.connectTo(`10.2.0.${i}`, 9080) });
  expect(new Set(world.seen).size).toBe(20);
  world.clock.advance(3_000);
  expect(world.open.size).toBe(0);
  world.send({ connection: world.connectTo('10.2.0.1', 9080) });
  expect(world.dials).toHaveLength(21);
});

test('limits and connections belong to one client workload each', () => {
  const table = tableOf({ clusters: [clusterOf({ limits: { ...LIMITS, maxRequests: 1 } })] });
  const [one, other] = [new World(table), new World(table)];
  one.script = silent;
  one.send();
  expect(one.send().status).toBe(503);
  expect(other.send().status).toBe(200);
  expect(one.clusters.get(CLUSTER)?.budget.requests).toBe(1);
});

async function settled(): Promise<void> {
  for (let i = 0; i < 5; i += 1) await Promise.resolve();
}

const identity = 'spiffe://cluster.local/ns/default/sa/reviews';

/** Everything goes where the client meant to go, and 10.1.0.1 is a pod on `node`. */
function withPod(node: string | undefined): Table {
  return {
    ...tableOf({ routes: [routeOf({ action: { kind: 'passthrough' } })] }),
    podAt: (address) => (node !== undefined && address === '10.1.0.1' ? { workload: 'default/reviews', node, enrolled: true, identity } : undefined),
  };
}

test('a pod of the mesh that is called by its own address is reached by mutual TLS, as by its service; others are not', () => {
  const world = new World(withPod('node2'));
  world.send({ connection: world.connectTo('10.1.0.1', 9080) });
  world.send({ connection: world.connectTo('192.0.2.1', 9080) });
  expect(world.dials.map(({ address, security }) => [address, security?.kind])).toEqual([['10.1.0.1', 'hbone'], ['192.0.2.1', undefined]]);
  expect(world.dials[0]?.security).toMatchObject({ identities: [identity] });
});

test('on the same node it is handed over', () => {
  const world = new World(withPod('node1'));
  world.workloads.set('default/reviews', world.pod('default/reviews', tableOf()));
  world.send({ connection: world.connectTo('10.1.0.1', 9080) });
  expect(world.dials[0]).toMatchObject({ direction: 'inbound', address: '10.1.0.1' });
});

test('and once it has come into the mesh, no longer as before', () => {
  const world = new World(withPod(undefined));
  world.send({ connection: world.connectTo('10.1.0.1', 9080) });
  update(world, withPod('node2'));
  world.send({ connection: world.connectTo('10.1.0.1', 9080) });
  expect(world.dials.map(({ security }) => security?.kind)).toEqual([undefined, 'hbone']);
});
