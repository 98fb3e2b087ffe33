import { beforeEach, expect, test } from 'vitest';
import { Reconciler } from '../../src/redirect/reconciler.ts';
import type { Drift, Redirector } from '../../src/redirect/redirector.ts';

const ALONE_MS = 3_600_000;
let amiss: Record<string, Drift | Error | undefined>;
let said: string[];
let reconciler: Reconciler;

beforeEach(() => {
  amiss = {};
  said = [];
  const redirector: Pick<Redirector, 'podIds' | 'check' | 'repair' | 'tidy'> = {
    get podIds() {
      return Object.keys(amiss);
    },
    check: (podId) => {
      const found = amiss[podId];
      if (found instanceof Error) throw found;
      return found === undefined ? [] : [found];
    },
    repair: (podId) => {
      said.push(`repaired ${podId}`);
      amiss[podId] = undefined;
    },
    tidy: () => undefined,
  };
  reconciler = new Reconciler(redirector as Redirector, {
    onDrift: (drifts) => said.push(...drifts.map(({ podId, found }) => `${podId}: ${found}`)),
    onError: (podId, error) => said.push(`${podId}: ${String(error)}`),
  }, ALONE_MS);
  return () => reconciler.pause();
});

test('what somebody changed is mended and told at once', () => {
  amiss = { good: undefined, bad: { podId: 'bad', expected: 'a rule', found: 'none' } };
  reconciler.round();
  reconciler.round();
  expect(said).toEqual(['repaired bad', 'bad: none']);
});

test('a pod whose network goes away while it is looked at is no fault, one that cannot be checked again is', () => {
  amiss = { ending: new Error('ENETDOWN'), broken: new Error('ENOENT') };
  reconciler.round();
  delete amiss['ending'];
  reconciler.round();
  amiss['broken'] = undefined;
  reconciler.round();
  amiss['broken'] = new Error('ENOENT');
  reconciler.round();
  expect(said).toEqual(['broken: Error: ENOENT']);
});
