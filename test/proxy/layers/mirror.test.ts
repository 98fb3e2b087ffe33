import { expect, test } from 'vitest';
import { MeshError } from '../../../src/core/errors.ts';
import { World, answer, clusterOf, endpoints, forwardTo, reset, retryOn, routeOf, silent, tableOf } from '../world.ts';

const MIRROR = '10.9.0.1';

function mirroring(percent: number, timeoutMs = 0): World {
  const world = new World(
    tableOf({
      clusters: [clusterOf(), clusterOf({ key: 'mirror', endpoints: endpoints(MIRROR) })],
      routes: [routeOf({ action: forwardTo({ mirrors: [{ cluster: 'mirror', percent }], timeoutMs, retry: retryOn({ fiveHundreds: true }) }) })],
    }),
  );
  return world;
}

const mirrored = (world: World): World['requests'] => world.requests.filter((request) => request.connection.target.address === MIRROR);

test('the mirror gets a copy, body and all; the client hears only its endpoint', () => {
  const world = mirroring(100);
  world.scripts.set(MIRROR, answer(500, {}, 'not for you'));
  const client = world.send({ method: 'POST', path: '/x', body: ['a', 'b'] });
  expect([client.status, client.body]).toEqual([200, '']);
  expect(mirrored(world)[0]).toMatchObject({ body: 'ab', complete: true });
  expect(mirrored(world)[0]?.head.target).toBe('/x');
  expect(world.ended).toHaveLength(1);
  expect(world.idle).toBe(true);
});

test.each([
  ['that cannot be reached', (world: World) => (world.failDials = new Set([1]))],
  ['that resets', (world: World) => world.scripts.set(MIRROR, reset)],
  ['that never answers', (world: World) => world.scripts.set(MIRROR, silent)],
])('a mirror %s is not noticed', (_name, arrange) => {
  const world = mirroring(100, 1_000);
  arrange(world);
  const client = world.send({ method: 'POST', body: 'x' });
  expect(client.status).toBe(200);
  world.clock.advance(5_000);
  expect(world.idle).toBe(true);
});

test('mirrors are sent at their percentage', () => {
  const world = mirroring(30);
  for (let i = 0; i < 4_000; i += 1) world.send();
  expect(Math.abs(mirrored(world).length / 4_000 - 0.3)).toBeLessThan(0.037);
});

test('a repeated request is mirrored once', () => {
  const world = mirroring(100);
  world.scripts.set('10.1.0.1', answer(500));
  world.send();
  world.clock.advance(2_000);
  expect(mirrored(world)).toHaveLength(1);
});

test('a client that leaves in the middle of its request takes the copy along', () => {
  const world = mirroring(100);
  world.script = silent;
  const client = world.request({ method: 'POST', body: 'half', unfinished: true });
  world.clock.advance(0);
  client.sink.abort(new MeshError('downstream_gone'));
  expect(mirrored(world)[0]?.cancelled).toBeDefined();
  expect(world.idle).toBe(true);
});

test('a mirror that does not keep up loses the copy, not the client', () => {
  const world = mirroring(100);
  // The mirror's connection is never made, so its copy has nowhere to go.
  world.failDials = 'never-answered';
  const client = world.request({ method: 'POST', unfinished: true });
  world.failDials = new Set();
  for (let i = 0; i < 10; i += 1) client.sink.data(Buffer.alloc(64 * 1024));
  client.sink.end(undefined);
  world.clock.advance(20_000);
  expect(mirrored(world)).toHaveLength(0);
  expect(world.ended).toHaveLength(1);
  expect(world.idle).toBe(true);
});

test('tunnels are not mirrored', () => {
  const world = mirroring(100);
  const client = world.request({ method: 'CONNECT', unfinished: true });
  world.clock.advance(0);
  expect(world.requests).toHaveLength(1);
  client.sink.abort(new MeshError('downstream_gone'));
});
