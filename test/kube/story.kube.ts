/** What `make story` tells: from `orlop install` to `orlop uninstall`, with a cluster that is afterwards as it was before. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Cluster } from './cluster/cluster.ts';
import { setScene, storyOf } from './story/story.ts';
import type { Step } from './story/story.ts';

describe('the story', { timeout: 120_000 }, () => {
  let cluster: Cluster;
  let steps: readonly Step[];

  beforeAll(async () => {
    cluster = await setScene('storytest', () => undefined);
    steps = storyOf(cluster);
  }, 400_000);

  afterAll(async () => {
    await cluster.down();
  }, 60_000);

  // Each goes on where the one before has ended.
  it('goes as it is told, step by step', async () => {
    for (const { title, play } of steps) {
      const { ok, lines, verdict } = await play();
      expect(ok, [title, ...lines, verdict].join('\n')).toBe(true);
    }
  }, 300_000);
});
