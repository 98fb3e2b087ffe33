import { expect, test } from 'vitest';

import { pairedRatios, quantile, summarize } from '../../bench/statistics.ts';

test('a quantile lies between the two nearest values, whatever their order', () => {
  expect(quantile([30, 10, 20], 0.5)).toBe(20);
  expect(quantile([40, 10, 20, 30], 0.5)).toBe(25);
  expect(quantile([0, 100], 0.99)).toBeCloseTo(99);
  expect(quantile(Float64Array.of(7), 0.9)).toBe(7);
  expect(quantile([1, 2, 3], 1)).toBe(3);
});

test('the values given are left in their order', () => {
  const values = [3, 1, 2];
  quantile(values, 0.5);
  expect(values).toEqual([3, 1, 2]);
});

test('a quantile of nothing is an error, not a zero', () => {
  expect(() => quantile([], 0.5)).toThrow(RangeError);
});

test('a summary shows the middle and the range', () => {
  expect(summarize([5, 1, 3])).toEqual({ median: 3, min: 1, max: 5 });
});

test('ratios are taken round by round, so that a disturbance of both sides cancels', () => {
  expect(pairedRatios([10, 20, 40], [20, 40, 80])).toEqual([0.5, 0.5, 0.5]);
  expect(pairedRatios([10, 20], [10])).toEqual([1]);
  expect(pairedRatios([10, 20], [0, 10])).toEqual([2]);
});
