/** What is told of the difference between two states of an object. */
import { expect, it } from 'vitest';
import { changesOf } from '../../src/install/changes.ts';
import type { Manifest } from '../../src/install/manifest.ts';

const object = (spec: object, metadata: object = {}, status: object = {}): Manifest => ({ apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { name: 'a', ...metadata }, spec, status });

it('is nothing for what the API server and controllers write by themselves', () => {
  expect(changesOf(object({ a: 1 }, { resourceVersion: '1', generation: 1, managedFields: [{ manager: 'x', operation: 'Apply' }] }, { ready: 0 }), object({ a: 1 }, { resourceVersion: '2', generation: 2, managedFields: [] }, { ready: 1 }))).toEqual([]);
});

it('names fields as people write them, with both values', () => {
  const before = object({ containers: [{ image: 'a:1', args: ['x'] }], gone: true }, { labels: { a: 'b' } });
  const after = object({ containers: [{ image: 'a:2', args: ['x', 'y'] }] }, { labels: { a: 'c' } });
  expect(changesOf(before, after)).toEqual([
    { field: 'spec.containers[0].image', before: '"a:1"', after: '"a:2"' },
    { field: 'spec.containers[0].args[1]', before: undefined, after: '"y"' },
    { field: 'spec.gone', before: 'true', after: undefined },
    { field: 'metadata.labels.a', before: '"b"', after: '"c"' },
  ]);
});

it('shortens long values', () => {
  const [change] = changesOf(object({}), object({ text: 'x'.repeat(1000) }));
  expect(change?.after).toHaveLength(60);
});
