import { expect, it } from 'vitest';
import type { ClusterObjects } from '../../src/install/cluster-objects.ts';
import type { Manifest } from '../../src/install/manifest.ts';
import { StuckError, untilRolledOut } from '../../src/install/rollout.ts';

const AGENTS = {
  apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { name: 'orlop-agent', namespace: 'orlop-system', generation: 2 }, spec: { selector: { matchLabels: { app: 'agent' } } },
  // As the API server counts while the agents from before finish their connections.
  status: { observedGeneration: 2, desiredNumberScheduled: 2, updatedNumberScheduled: 0, numberAvailable: 2 },
} as Manifest;

function revision(number: number, hash: string): Manifest {
  return { apiVersion: 'apps/v1', kind: 'ControllerRevision', metadata: { name: hash, labels: { 'controller-revision-hash': hash } }, revision: number };
}

function pod(nodeName: string, hash: string, { isReady = true, isEnding = false } = {}): Manifest {
  return {
    apiVersion: 'v1', kind: 'Pod', metadata: { name: `${nodeName}-${hash}`, labels: { 'controller-revision-hash': hash }, ...(isEnding && { deletionTimestamp: '2026-11-21T12:00:00Z' }) },
    spec: { nodeName }, status: { conditions: [{ type: 'Ready', status: isReady ? 'True' : 'False' }] },
  };
}

async function rollOut(pods: readonly Manifest[]): Promise<string[]> {
  const progress: string[] = [];
  const objects = { get: async () => AGENTS, list: async (_: string, kind: string) => (kind === 'Pod' ? pods : [revision(10, 'new'), revision(9, 'old')]) } as unknown as ClusterObjects;
  await untilRolledOut(objects, AGENTS, { timeoutMs: 1, onProgress: (text) => progress.push(text) });
  return progress;
}

it('agents are upgraded when the next one of each node is ready, also while those before finish their connections', async () => {
  const ending = { isEnding: true };
  expect(await rollOut([pod('a', 'old', ending), pod('a', 'new'), pod('b', 'old', ending), pod('b', 'new')])).toEqual(['DaemonSet orlop-system/orlop-agent: 2 of 2 nodes ready']);
});

it('they are not while a node has only an agent of the version before, or one that is not ready', async () => {
  await expect(rollOut([pod('a', 'new'), pod('b', 'old')])).rejects.toThrow(StuckError);
  await expect(rollOut([pod('a', 'new'), pod('b', 'old', { isEnding: true }), pod('b', 'new', { isReady: false })])).rejects.toThrow('1 of 2 nodes ready');
});
