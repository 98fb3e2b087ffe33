/** Orlop in a test cluster, as a user brings it there: its image on the nodes, and `kubectl apply -k deploy/`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildImage } from '../../deploy/image/build.ts';
import type { Cluster } from './cluster/cluster.ts';

export const SYSTEM_NAMESPACE = 'orlop-system';
const DEPLOY = join(import.meta.dirname, '../../deploy');

/** Put the image of this checkout on every node, under the name that deploy/ asks for. */
export async function loadOrlop(cluster: Cluster): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'orlop-image-'));
  try {
    await cluster.loadImage(buildImage(join(directory, 'orlop.tar'), 'dev').path);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Install it, and wait until agents and control plane are ready. */
export async function deployOrlop(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['apply', '-k', DEPLOY]);
  for (const workload of ['deployment/orlop-control', 'daemonset/orlop-agent']) {
    await cluster.kubectl(['rollout', 'status', '-n', SYSTEM_NAMESPACE, '--timeout=120s', workload]);
  }
}
