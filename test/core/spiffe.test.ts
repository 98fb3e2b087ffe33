import { expect, test } from 'vitest';
import { formatSpiffeId, parseSpiffeId } from '../../src/core/spiffe.ts';

test('an id is taken apart and put together', () => {
  const id = { trustDomain: 'cluster.local', namespace: 'bookinfo', serviceAccount: 'reviews' };
  expect(formatSpiffeId(id)).toBe('spiffe://cluster.local/ns/bookinfo/sa/reviews');
  expect(parseSpiffeId(formatSpiffeId(id))).toEqual(id);
});

test.each(['', 'cluster.local/ns/a/sa/b', 'spiffe://td/ns/a', 'spiffe://td/ns/a/sa/', 'spiffe://td/ns//sa/b', 'spiffe://TD/ns/a/sa/b', 'spiffe://td/ns/a/sa/b/c', 'spiffe://td/ns/a/sa/b?x', 'https://td/ns/a/sa/b', ' spiffe://td/ns/a/sa/b', 'spiffe://td:1/ns/a/sa/b'])(
  '%j is no id of a workload',
  (text) => {
    expect(parseSpiffeId(text)).toBeUndefined();
  },
);
