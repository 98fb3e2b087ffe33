/** Orlop in a test cluster, as users bring it there and take it away: its image on the nodes, and kubectl or `orlop install` and `orlop uninstall`. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildImage } from '../../deploy/image/build.ts';
import { ClusterError } from './cluster/cluster-error.ts';
import type { Cluster } from './cluster/cluster.ts';
import { orlop } from './command-line.ts';

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

/** Processes of the agent of a node, seen from outside. */
export function agentOf(node: string): number[] {
  return readdirSync('/proc').map(Number).filter((pid) => {
    try {
      const argv = Number.isInteger(pid) ? readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0') : [];
      return argv.includes('agent') && argv.includes(`--node=${node}`);
    } catch {
      return false;
    }
  });
}

/** `kubectl apply -k deploy/`; resolves when agents and control plane are ready. */
export async function deployOrlop(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['apply', '-k', DEPLOY]);
  for (const workload of ['deployment/orlop-control', 'daemonset/orlop-agent']) {
    await cluster.kubectl(['rollout', 'status', '-n', SYSTEM_NAMESPACE, '--timeout=120s', workload]);
  }
}

/** `orlop install`, with the definitions of Istio's kinds; resolves when agents and control plane are ready; returns what the command said. */
export async function installOrlop(cluster: Cluster): Promise<string> {
  return must(cluster, ['install']);
}

/** `orlop uninstall`, also of what was made of its kinds; resolves when every node was looked at. */
export async function uninstallOrlop(cluster: Cluster): Promise<string> {
  return must(cluster, ['uninstall', '--purge']);
}

async function must(cluster: Cluster, args: readonly string[]): Promise<string> {
  const { code, out, err } = await orlop(cluster, args);
  if (code !== 0) throw new ClusterError(`orlop ${args.join(' ')}: ${err}${out}`);
  return out;
}
