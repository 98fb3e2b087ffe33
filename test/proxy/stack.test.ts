import { expect, test } from 'vitest';
import { MeshError } from '../../src/core/errors.ts';
import { CLUSTER, World, answer, clusterOf, endpoints, forwardTo, routeOf, silent, tableOf } from './world.ts';

test('a request is routed, forwarded, answered and reported once', () => {
  const world = new World(tableOf());
  world.script = answer(201, { 'x-served-by': 'v1' }, 'hello');
  const client = world.send({ path: '/api?x=1', body: 'question', headers: { 'user-agent': 'curl' } });
  expect([client.status, client.body, client.ends]).toEqual([201, 'hello', 1]);
  expect(world.requests[0]?.body).toBe('question');
  expect(world.ended).toHaveLength(1);
  expect(world.ended[0]).toMatchObject({ status: 201, flags: '', details: 'via_upstream', path: '/api?x=1', upstreamAddress: '10.1.0.1:9080', userAgent: 'curl', requestBodyBytes: 8, responseBodyBytes: 5 });
  expect(world.ended[0]?.cluster?.key).toBe(CLUSTER);
  expect(world.idle).toBe(true);
});

test('connections are kept and used again', () => {
  const world = new World(tableOf());
  for (let i = 0; i < 5; i += 1) world.send();
  expect(world.dials).toHaveLength(1);
});

test('every request has an x-request-id, its own or a new one', () => {
  const world = new World(tableOf());
  world.send();
  world.send({ headers: { 'X-Request-Id': 'mine', traceparent: '00-1' } });
  const [first, second] = world.requests;
  expect(first?.head.headers.get('x-request-id')).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(second?.head.headers.get('x-request-id')).toBe('mine');
  expect(second?.head.headers.get('traceparent')).toBe('00-1');
});

test('a host without a matching route answers 404 NR', () => {
  const world = new World(tableOf({ routes: [] }));
  expect(world.send().status).toBe(404);
  expect(world.ended[0]).toMatchObject({ status: 404, flags: 'NR', details: 'route_not_found' });
});

test('a route to a cluster that is not there answers 503 NC', () => {
  const world = new World(tableOf({ clusters: [] }));
  expect(world.send().status).toBe(503);
  expect(world.ended[0]?.flags).toBe('NC');
});

test('a cluster without endpoints answers 503 UH', () => {
  const world = new World(tableOf({ clusters: [clusterOf({ endpoints: [] })] }));
  expect(world.send().status).toBe(503);
  expect(world.ended[0]?.flags).toBe('UH');
});

test('an unknown host goes where the client meant to go, or nowhere', () => {
  const open = new World(tableOf());
  const client = open.send({ host: 'example.com', connection: open.connectTo('93.184.216.34', 80) });
  expect(client.status).toBe(200);
  expect(open.dials[0]).toMatchObject({ address: '93.184.216.34', port: 80, direction: 'outbound' });
  expect(open.ended[0]?.cluster?.key).toBe('PassthroughCluster');
  expect(open.idle).toBe(true);

  const routed = new World(tableOf({ routes: [routeOf({ action: { kind: 'passthrough' } })] }));
  expect(routed.send({ connection: routed.connectTo('10.9.9.9', 9080) }).status).toBe(200);
  expect(routed.ended[0]?.cluster?.key).toBe('PassthroughCluster');

  const closed = new World(tableOf({ mode: 'REGISTRY_ONLY' }));
  expect(closed.send({ host: 'example.com', connection: closed.connectTo('93.184.216.34', 80) }).status).toBe(502);
  expect(closed.dials).toHaveLength(0);
});

test('a refused connection answers 503 UF', () => {
  const world = new World(tableOf());
  world.failDials = 'all';
  expect(world.send().status).toBe(503);
  expect(world.ended[0]).toMatchObject({ flags: 'UF' });
  expect(world.idle).toBe(true);
});

test('an endpoint that does not accept within connectTimeout answers 503 UF', () => {
  const world = new World(tableOf());
  world.failDials = 'never-answered';
  const client = world.send();
  world.clock.advance(9_999);
  expect(client.ends).toBe(0);
  world.clock.advance(1);
  expect(client.status).toBe(503);
  expect(world.ended[0]?.details).toContain('connection_timeout');
});

test('an answer cut off in its middle is cut off for the client too', () => {
  const world = new World(tableOf());
  world.script = (request) => {
    request.begin(200);
    request.response.data(Buffer.from('half'));
    request.reset('upstream_closed_midway');
  };
  const client = world.send();
  expect(client.aborted?.code).toBe('upstream_closed_midway');
  expect(world.ended[0]).toMatchObject({ status: 200, flags: 'UC' });
  expect(world.idle).toBe(true);
});

test('a client that goes away ends its exchange with DC, whatever stage it is in', () => {
  const world = new World(tableOf());
  world.script = silent;
  const waiting = world.request();
  waiting.sink.abort(gone());
  const sent = world.send();
  sent.sink.abort(gone());
  expect(world.ended.map((facts) => facts.flags)).toEqual(['DC', 'DC']);
  expect(world.requests.at(-1)?.cancelled).toBeDefined();
  expect(world.idle).toBe(true);
});

test('a fault of a layer costs the exchange, not the worker', () => {
  const world = new World(
    tableOf({
      routes: [
        routeOf({
          match: () => {
            throw new Error('broken matcher');
          },
        }),
      ],
    }),
  );
  expect(world.send().status).toBe(500);
  expect(world.ended).toHaveLength(1);
});

test('weights split the requests', () => {
  const clusters = ['a', 'b'].map((key, i) => clusterOf({ key, endpoints: endpoints(`10.1.0.${i + 1}`) }));
  const world = new World(
    tableOf({
      clusters,
      routes: [
        routeOf({
          action: forwardTo({
            clusters: [
              { cluster: 'a', weight: 75, headers: undefined },
              { cluster: 'b', weight: 25, headers: undefined },
            ],
            weightTotal: 100,
          }),
        }),
      ],
    }),
  );
  for (let i = 0; i < 4000; i += 1) world.send();
  const share = world.seen.filter((address) => address === '10.1.0.1').length / 4000;
  // Five standard deviations of 4000 draws.
  expect(Math.abs(share - 0.75)).toBeLessThan(0.035);
});

test('a tunnel ends when both directions have ended', () => {
  const world = new World(tableOf());
  world.script = silent;
  const client = world.request({ unfinished: true, headers: { upgrade: 'websocket' } });
  world.clock.advance(0);
  const request = world.requests[0];
  request?.begin(101);
  client.sink.data(Buffer.from('ping'));
  expect(request?.body).toBe('ping');
  request?.response.end(undefined);
  expect(world.ended).toHaveLength(0);
  expect(world.idle).toBe(false);
  client.sink.end(undefined);
  expect(world.ended).toHaveLength(1);
  expect(world.ended[0]?.status).toBe(101);
  expect(world.idle).toBe(true);
});

function gone(): MeshError {
  return new MeshError('downstream_gone');
}
