import { expect, test } from 'vitest';
import type { OutlierPolicy } from '../../src/mesh/table.ts';
import { OUTLIER, World, answer, clusterOf, endpoints, reset, tableOf } from './world.ts';

function detecting(policy: Partial<OutlierPolicy>, ...addresses: string[]): World {
  return new World(tableOf({ clusters: [clusterOf({ endpoints: endpoints(...addresses), balancer: 'ROUND_ROBIN', outlier: { ...OUTLIER, ...policy } })] }));
}

const MINUTE_MS = 60_000;

test('ejection after the 7th error and not before, for 15 minutes (example 17)', () => {
  const world = detecting({ consecutive5xx: 7, intervalMs: 5 * MINUTE_MS, baseEjectionMs: 15 * MINUTE_MS }, '10.1.0.1');
  world.script = answer(500);
  for (let i = 0; i < 7; i += 1) expect(world.send().status).toBe(500);
  expect(world.send().status).toBe(503);
  expect(world.ended.at(-1)?.flags).toBe('UH');
  world.script = answer(200);
  world.clock.advance(14 * MINUTE_MS);
  expect(world.send().status).toBe(503);
  world.clock.advance(1.1 * MINUTE_MS);
  expect(world.send().status).toBe(200);
});

test('a success in between begins the count anew', () => {
  const world = detecting({ consecutive5xx: 3 }, '10.1.0.1');
  for (const status of [500, 500, 200, 500, 404, 500, 500]) {
    world.script = answer(status);
    world.send();
  }
  world.script = answer(200);
  expect(world.send().status).toBe(200);
});

test('only 502, 503 and 504 count as gateway errors', () => {
  const world = detecting({ consecutive5xx: 0, consecutiveGatewayErrors: 2 }, '10.1.0.1');
  for (const status of [500, 502, 500, 503]) {
    world.script = answer(status);
    expect(world.send().status).toBe(status);
  }
  world.script = answer(504);
  expect(world.send().status).toBe(504);
  expect(world.ended.at(-1)?.flags).toBe('');
  world.send();
  expect(world.ended.at(-1)?.flags).toBe('UH');
});

test('connect failures and resets count as errors, unless they are kept apart', () => {
  const together = detecting({ consecutive5xx: 2 }, '10.1.0.1');
  together.failDials = new Set([1]);
  together.script = reset;
  together.send();
  together.send();
  together.send();
  expect(together.ended.map((facts) => facts.flags)).toEqual(['UF', 'UC', 'UH']);

  const apart = detecting({ consecutive5xx: 2, splitLocalOrigin: true, consecutiveLocalOrigin: 3 }, '10.1.0.1');
  apart.failDials = 'all';
  for (let i = 0; i < 4; i += 1) apart.send();
  expect(apart.ended.map((facts) => facts.flags)).toEqual(['UF', 'UF', 'UF', 'UH']);
});

test('no more than maxEjectionPercent are ejected, but one always may be', () => {
  const world = detecting({ consecutive5xx: 1, maxEjectionPercent: 50 }, '10.1.0.1', '10.1.0.2', '10.1.0.3', '10.1.0.4');
  world.script = answer(500);
  for (let i = 0; i < 40; i += 1) world.send();
  expect(new Set(world.seen.slice(-20)).size).toBe(2);

  const never = detecting({ consecutive5xx: 1, maxEjectionPercent: 0 }, '10.1.0.1');
  never.script = answer(500);
  for (let i = 0; i < 5; i += 1) expect(never.send().status).toBe(500);
});

test('each ejection lasts longer than the one before', () => {
  const world = detecting({ consecutive5xx: 1, intervalMs: 1_000, baseEjectionMs: 10_000 }, '10.1.0.1');
  world.script = answer(500);
  world.send();
  world.clock.advance(10_500);
  world.send();
  expect(world.ended.at(-1)?.flags).toBe('');
  world.clock.advance(15_000);
  world.send();
  expect(world.ended.at(-1)?.flags).toBe('UH');
  world.clock.advance(5_500);
  world.send();
  expect(world.ended.at(-1)?.flags).toBe('');
});

test('below minHealthPercent everybody is used again', () => {
  const world = detecting({ consecutive5xx: 1, maxEjectionPercent: 100, minHealthPercent: 50 }, '10.1.0.1', '10.1.0.2', '10.1.0.3');
  world.script = answer(500);
  for (let i = 0; i < 12; i += 1) world.send();
  expect(world.ended.every((facts) => facts.status === 500)).toBe(true);
});

test('an ejection survives a change of configuration', () => {
  const world = detecting({ consecutive5xx: 1 }, '10.1.0.1', '10.1.0.2');
  world.scripts.set('10.1.0.1', answer(500));
  for (let i = 0; i < 4; i += 1) world.send();
  const table = tableOf({ clusters: [clusterOf({ endpoints: endpoints('10.1.0.1', '10.1.0.2', '10.1.0.3'), balancer: 'ROUND_ROBIN', outlier: { ...OUTLIER, consecutive5xx: 1 } })] });
  world.workload.table = table;
  world.clusters.apply(table);
  const from = world.requests.length;
  for (let i = 0; i < 6; i += 1) world.send();
  expect(new Set(world.seen.slice(from))).toEqual(new Set(['10.1.0.2', '10.1.0.3']));
  world.scripts.clear();
  world.clock.advance(45_000);
  for (let i = 0; i < 6; i += 1) world.send();
  expect(new Set(world.seen.slice(-6)).size).toBe(3);
});

test('a healthy cluster keeps no timer', () => {
  const world = detecting({ consecutive5xx: 5 }, '10.1.0.1');
  world.send();
  world.clusters.close();
  expect(world.clock.pending()).toBe(0);
});
