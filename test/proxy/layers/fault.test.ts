import { expect, test } from 'vitest';
import { MeshError } from '../../../src/core/errors.ts';
import type { Fault } from '../../../src/mesh/table.ts';
import { World, answer, forwardTo, routeOf, silent, tableOf } from '../world.ts';

function faulty(fault: Fault, timeoutMs = 0): World {
  return new World(tableOf({ routes: [routeOf({ fault, action: forwardTo({ timeoutMs }) })] }));
}

test('a delay holds the request, with its body, and says DI', () => {
  const world = faulty({ delay: { percent: 100, delayMs: 7_000 }, abort: undefined });
  const client = world.send({ body: ['a', 'b'] });
  world.clock.advance(6_999);
  expect(world.requests).toHaveLength(0);
  world.clock.advance(1);
  expect(client.status).toBe(200);
  expect(world.requests[0]?.body).toBe('ab');
  expect(world.ended[0]).toMatchObject({ flags: 'DI', status: 200 });
});

test('the timeout of the route does not shorten a delay', () => {
  const world = faulty({ delay: { percent: 100, delayMs: 7_000 }, abort: undefined }, 500);
  const client = world.send();
  world.clock.advance(7_000);
  expect(client.status).toBe(200);
});

test('a client that leaves during the delay never reaches the endpoint', () => {
  const world = faulty({ delay: { percent: 100, delayMs: 7_000 }, abort: undefined });
  world.send().sink.abort(new MeshError('downstream_gone'));
  world.clock.advance(10_000);
  expect(world.requests).toHaveLength(0);
  expect(world.ended.map((facts) => facts.flags)).toEqual(['DI,DC']);
});

test('an abort answers by itself and says FI', () => {
  const world = faulty({ delay: undefined, abort: { percent: 100, status: 418, grpcStatus: undefined } });
  const client = world.send();
  expect([client.status, client.body]).toEqual([418, 'fault filter abort']);
  expect(world.requests).toHaveLength(0);
  expect(world.ended[0]).toMatchObject({ status: 418, flags: 'FI', details: 'fault_filter_abort' });
});

test('an abort with a gRPC status is a gRPC answer', () => {
  const world = faulty({ delay: undefined, abort: { percent: 100, status: 0, grpcStatus: 14 } });
  const client = world.send({ method: 'POST', headers: { 'content-type': 'application/grpc' } });
  expect([client.status, client.headers?.get('grpc-status')]).toEqual([200, '14']);
  expect(world.ended[0]?.grpcStatus).toBe('14');
});

test('delays and aborts come at their percentages, each with dice of its own', () => {
  const world = faulty({ delay: { percent: 25, delayMs: 10 }, abort: { percent: 40, status: 500, grpcStatus: undefined } });
  const count = 5_000;
  for (let i = 0; i < count; i += 1) world.send();
  world.clock.advance(20);
  const share = (flag: string): number => world.ended.filter((facts) => facts.flags.includes(flag)).length / count;
  // Five standard deviations of 5 000 draws.
  expect(Math.abs(share('DI') - 0.25)).toBeLessThan(0.031);
  expect(Math.abs(share('FI') - 0.4)).toBeLessThan(0.035);
  expect(Math.abs(share('DI,FI') - 0.1)).toBeLessThan(0.022);
});

test('0 percent is never', () => {
  const world = faulty({ delay: { percent: 0, delayMs: 10 }, abort: { percent: 0, status: 500, grpcStatus: undefined } });
  for (let i = 0; i < 200; i += 1) expect(world.send().status).toBe(200);
});

test('the timeout ends a silent endpoint with 504 UT, and one that stops in its answer by a cut', () => {
  const world = new World(tableOf({ routes: [routeOf({ action: forwardTo({ timeoutMs: 500 }) })] }));
  world.script = silent;
  const client = world.send();
  world.clock.advance(499);
  expect(client.ends).toBe(0);
  world.clock.advance(1);
  expect(client.status).toBe(504);
  expect(world.requests[0]?.cancelled?.code).toBe('request_timeout');

  world.script = (request) => request.begin(200);
  const half = world.send();
  world.clock.advance(500);
  expect(half.aborted?.code).toBe('request_timeout');
  expect(world.ended.map((facts) => facts.flags)).toEqual(['UT', 'UT']);
  expect(world.idle).toBe(true);
  expect(world.clock.pending()).toBe(0);
});

test('the timeout runs from the end of the request, and not in a tunnel', () => {
  const world = new World(tableOf({ routes: [routeOf({ action: forwardTo({ timeoutMs: 500 }) })] }));
  const client = world.request({ method: 'POST', body: ['slow '], unfinished: true });
  world.clock.advance(5_000);
  client.sink.end(undefined);
  expect(client.status).toBe(200);

  world.script = silent;
  const tunnel = world.request({ unfinished: true });
  world.clock.advance(0);
  world.requests.at(-1)?.begin(101);
  tunnel.sink.end(undefined);
  world.clock.advance(5_000);
  expect(tunnel.aborted).toBeUndefined();
});

test('an answer in time leaves no timer behind', () => {
  const world = new World(tableOf({ routes: [routeOf({ action: forwardTo({ timeoutMs: 500 }) })] }));
  world.script = answer(200);
  world.send();
  world.clusters.close();
  expect(world.clock.pending()).toBe(0);
});
