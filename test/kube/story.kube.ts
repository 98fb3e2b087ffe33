/** What `make story` tells, and README's quick start word for word: from `orlop install` to `orlop uninstall`, and a cluster that is as it was. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Cluster } from './cluster/cluster.ts';
import { CHECKOUT } from './story/bookinfo.ts';
import { differences, takeFingerprint } from './story/fingerprint.ts';
import { quickStart, runAsUser } from './story/quick-start.ts';
import { Stage } from './story/stage.ts';
import { PODS, setScene, storyOf } from './story/story.ts';

describe('the story', () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await setScene('storytest', () => undefined);
  }, 400_000);

  afterAll(async () => {
    await cluster.down();
    rmSync(join(CHECKOUT, 'orlop.tar'), { force: true });
  }, 60_000);

  it('goes as it is told, step by step', async () => {
    for (const { title, play } of storyOf(cluster)) {
      const { ok, lines, verdict } = await play();
      expect(ok, [title, ...lines, verdict].join('\n')).toBe(true);
    }
  }, 400_000);

  it('is that of the quick start, word for word', async () => {
    const stage = new Stage(cluster);
    const before = await takeFingerprint(cluster);
    for (const command of quickStart()) {
      await runAsUser(cluster, command);
      if (command.includes('orlop.io/mesh=enabled')) await cluster.until('all pods are in the mesh', async () => await stage.enrolled() === PODS);
      if (command.includes('03-split-75-25.yaml')) {
        await stage.untilPlanned(({ shares }) => shares['v1'] === 75 && shares['v2'] === 25);
        expect(Object.keys((await stage.load(200)).versions)).toEqual(['v1', 'v2']);
      }
    }
    await cluster.until('nothing is left', async () => differences(before, await takeFingerprint(cluster)).length === 0, 20_000).catch(() => undefined);
    expect(differences(before, await takeFingerprint(cluster))).toEqual([]);
  }, 400_000);
});
