/** The server's side, reached over a captured connection or straight from a client of the same node. */
import { expect, test } from 'vitest';
import { MeshError } from '../../src/core/errors.ts';
import type { InboundPort, Table } from '../../src/mesh/table.ts';
import { RequestHead } from '../../src/proxy/head.ts';
import { STRANGER } from '../../src/proxy/connection.ts';
import { Exchange } from '../../src/proxy/record.ts';
import type { WorkloadHandle } from '../../src/proxy/workload.ts';
import type { ExchangeFacts } from '../../src/telemetry/telemetry.ts';
import { FakeClient, LIMITS, World, answer, clusterOf, endpoints, forwardTo, reset, retryOn, routeOf, silent, tableOf } from './world.ts';

const service = { host: 'reviews.default.svc.cluster.local', name: 'reviews', namespace: 'default' };
const ports: ReadonlyMap<number, InboundPort> = new Map([[9080, { protocol: 'http', service }]]);

/** A world whose only endpoint is a pod of the same node. */
function together(table: Partial<Table> = {}, change: Parameters<typeof clusterOf>[0] = {}): { world: World; server: WorkloadHandle } {
  const spec = clusterOf({ endpoints: endpoints('10.1.0.1').map((endpoint) => ({ ...endpoint, workload: 'default/reviews', enrolled: true })), ...change });
  const world = new World({ ...tableOf({ clusters: [spec], routes: [routeOf({ action: forwardTo({ retry: retryOn({ fiveHundreds: true }) }) })] }), ...table });
  const server = world.pod('default/reviews', tableOf({ inbound: ports }));
  world.workloads.set('default/reviews', server);
  return { world, server };
}

const byReporter = (world: World): ExchangeFacts[] => world.ended.toSorted((a, b) => a.reporter.localeCompare(b.reporter));

test('a pod of the same node is reached at its application, in one hop that both sides report', () => {
  const { world } = together();
  const client = world.send({ body: 'question' });
  expect(client.status).toBe(200);
  expect(world.dials).toEqual([expect.objectContaining({ direction: 'inbound', address: '10.1.0.1', port: 9080, clientAddress: '10.0.0.1' })]);
  expect(world.dials[0]?.workload.id).toBe('default/reviews');
  expect(byReporter(world).map((facts) => [facts.reporter, facts.status, facts.connection.workload.id])).toEqual([
    ['destination', 200, 'default/reviews'],
    ['source', 200, 'default/client'],
  ]);
  expect(world.ended.find((facts) => facts.reporter === 'destination')?.service?.host).toBe('reviews.default.svc.cluster.local');
  expect(world.ended[0]?.requestId).toBe(world.ended[1]?.requestId);
  expect(world.requests[0]?.body).toBe('question');
  expect(world.idle).toBe(true);
});

test('a client that was captured over loopback reaches the application with its pod address', () => {
  const { world } = together();
  const client = world.send({ connection: { ...world.connectTo('10.96.0.1', 9080), remoteAddress: '127.0.0.1' } });
  expect(client.status).toBe(200);
  expect(world.dials[0]?.clientAddress).toBe('10.0.0.1');
});

test('a neighbour is spoken to as it would be over a wire', () => {
  // Declared by nobody, and HTTP/1.1 to this client (a gateway, or another Service of the pods): what the caller speaks says nothing then.
  for (const [declared, cluster, spoken] of [[undefined, 'http', '1.1'], ['sniff', 'http', '1.1'], ['sniff', 'sniff', '2'], ['sniff', 'grpc', '2'], ['http', 'http2', '1.1']] as const) {
    const { world } = together({}, { protocol: cluster });
    const inbound = new Map(declared === undefined ? [] : [[9080, { protocol: declared, service }]]);
    world.workloads.set('default/reviews', world.pod('default/reviews', tableOf({ inbound })));
    expect(world.send({ version: 20 }).status).toBe(200);
    expect([declared, cluster, ...world.spoken]).toEqual([declared, cluster, spoken]);
  }
});

test('limits hold for a pod of the same node too', () => {
  const { world } = together({}, { limits: { ...LIMITS, maxRequests: 1 } });
  world.script = silent;
  world.send();
  expect(world.send().status).toBe(503);
  expect(world.ended[0]?.flags).toBe('UO');
});

test('where connections are limited they are made, to a neighbour too', () => {
  const { world } = together({}, { limits: { ...LIMITS, maxConnections: 1 } });
  world.send();
  expect(world.dials[0]).toMatchObject({ direction: 'outbound', address: '10.1.0.1' });
});

test('an application that is down is a failure of the server side, seen by both', () => {
  const { world } = together();
  world.failDials = 'all';
  const client = world.send();
  world.clock.advance(5_000);
  expect(client.status).toBe(503);
  expect(byReporter(world).map((facts) => [facts.reporter, facts.flags])).toEqual([
    ['destination', 'UF,URX'],
    ['destination', 'UF,URX'],
    ['destination', 'UF,URX'],
    ['source', 'URX'],
  ]);
  expect(world.idle).toBe(true);
});

test('a client that goes away is gone for both sides', () => {
  const { world } = together();
  world.script = silent;
  const client = world.send();
  client.sink.abort(new MeshError('downstream_gone'));
  expect(world.ended.map((facts) => facts.flags)).toEqual(['DC', 'DC']);
  expect(world.requests[0]?.cancelled).toBeDefined();
  expect(world.idle).toBe(true);
});

function receive(world: World, server: WorkloadHandle, clientAddress: string, method = 'GET'): FakeClient {
  const connection = { workload: server, direction: 'inbound', peer: STRANGER, remoteAddress: clientAddress, remotePort: 1234, destinationAddress: '10.1.0.1', destinationPort: 9080, serverName: '' } as const;
  const client = new FakeClient();
  client.exchange = new Exchange('destination', connection, undefined, world.clock.nowMs());
  client.sink = server.inbound(connection).serve(client.exchange, new RequestHead(method, '/', 'reviews', 11), client);
  client.sink.end(undefined);
  world.clock.advance(0);
  return client;
}

test('each client address has connections of its own to the application, closed when idle', () => {
  const { world, server } = together();
  for (let i = 1; i <= 50; i += 1) receive(world, server, `10.3.0.${i}`);
  receive(world, server, '10.3.0.1');
  expect(world.dials.map((target) => target.clientAddress)).toHaveLength(50);
  expect(world.open.size).toBe(50);
  world.clock.advance(61_000);
  expect(world.open.size).toBe(0);
  expect(world.clock.pending()).toBe(0);
});

test('a kept-alive connection that the application closed is hidden, whatever the method; a fresh reset is not', () => {
  const { world, server } = together();
  receive(world, server, '10.3.0.1');
  let resets = 1;
  world.script = (request) => (resets-- > 0 ? reset(request) : answer(200)(request));
  const client = receive(world, server, '10.3.0.1', 'POST');
  world.clock.advance(100);
  expect(client.status).toBe(200);

  world.script = reset;
  const fresh = receive(world, server, '10.3.0.2', 'POST');
  world.clock.advance(1_000);
  expect(fresh.status).toBe(503);
  expect(world.ended.at(-1)?.flags).toBe('UC');
});
