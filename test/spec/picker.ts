/** What every way of choosing an endpoint owes its users. Run against each by test/proxy/balance.test.ts. */
import { expect, test } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { pickerOf } from '../../src/proxy/balance/picker.ts';
import type { Candidate } from '../../src/proxy/balance/picker.ts';
import type { ClusterSpec } from '../../src/mesh/table.ts';

interface Named extends Candidate {
  readonly name: string;
}

function named(weights: Readonly<Record<string, number>>): Named[] {
  return Object.entries(weights).map(([name, weight]) => ({ name, weight, active: 0 }));
}

const DRAWS = 12_000;

function shares(balancer: ClusterSpec['balancer'], candidates: readonly Named[]): Map<string, number> {
  const picker = pickerOf(balancer, candidates, seededRandom(7));
  const counts = new Map<string, number>();
  for (let i = 0; i < DRAWS; i += 1) {
    const { name } = picker.pick();
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return new Map([...counts].map(([name, count]) => [name, count / DRAWS]));
}

export function describePicker(balancer: ClusterSpec['balancer']): void {
  test('one endpoint is always chosen', () => {
    expect(shares(balancer, named({ a: 1 }))).toEqual(new Map([['a', 1]]));
  });

  test('equal endpoints get equal shares', () => {
    const got = shares(balancer, named({ a: 1, b: 1, c: 1, d: 1 }));
    expect(got.size).toBe(4);
    // Five standard deviations of a share of 1/4 in 12 000 draws.
    for (const share of got.values()) expect(Math.abs(share - 0.25)).toBeLessThan(0.02);
  });

  test('weights are respected', () => {
    const got = shares(balancer, named({ a: 6, b: 3, c: 1 }));
    for (const [name, weight] of [['a', 0.6], ['b', 0.3], ['c', 0.1]] as const) expect(Math.abs((got.get(name) ?? 0) - weight)).toBeLessThan(0.025);
  });

  test('an endpoint of weight 0 gets nothing while others have weight', () => {
    expect(shares(balancer, named({ a: 0, b: 1, c: 1 })).has('a')).toBe(false);
  });
}
