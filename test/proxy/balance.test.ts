import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { pickerOf } from '../../src/proxy/balance/picker.ts';
import { describePicker } from '../spec/picker.ts';

describe.each(['LEAST_REQUEST', 'ROUND_ROBIN', 'RANDOM'] as const)('%s', (balancer) => {
  describePicker(balancer);
});

test('LEAST_REQUEST avoids the busy endpoint', () => {
  const candidates = [
    { weight: 1, active: 100 },
    { weight: 1, active: 0 },
    { weight: 1, active: 0 },
  ];
  const picker = pickerOf('LEAST_REQUEST', candidates, seededRandom(3));
  let busy = 0;
  for (let i = 0; i < 9000; i += 1) if (picker.pick() === candidates[0]) busy += 1;
  // Only when both choices fall on it: one in nine.
  expect(busy / 9000).toBeGreaterThan(0.09);
  expect(busy / 9000).toBeLessThan(0.13);
});

test('ROUND_ROBIN takes turns exactly, and interleaves weights', () => {
  const equal = ['a', 'b', 'c'].map((name) => ({ name, weight: 1, active: 0 }));
  const picker = pickerOf('ROUND_ROBIN', equal, seededRandom(1));
  const first = Array.from({ length: 3 }, () => picker.pick().name);
  expect(new Set(first).size).toBe(3);
  expect(Array.from({ length: 3 }, () => picker.pick().name)).toEqual(first);

  const weighted = [
    { name: 'a', weight: 5, active: 0 },
    { name: 'b', weight: 1, active: 0 },
    { name: 'c', weight: 1, active: 0 },
  ];
  const smooth = pickerOf('ROUND_ROBIN', weighted, { next: () => 0 });
  expect(Array.from({ length: 7 }, () => smooth.pick().name).join('')).toBe('aabacaa');
});
