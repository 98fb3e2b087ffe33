/** The commands of README's quick start, word for word. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand } from '../../../src/lab/command.ts';
import type { Cluster } from '../cluster/cluster.ts';
import { ClusterError } from '../cluster/cluster-error.ts';
import { CHECKOUT } from './bookinfo.ts';

const HEADING = '## Quick start on a real cluster';

export function quickStart(): string[] {
  const section = readFileSync(join(CHECKOUT, 'README.md'), 'utf8').split(HEADING)[1] ?? '';
  const commands = /```\n([\s\S]*?)```/.exec(section)?.[1]?.trim().split('\n') ?? [];
  if (commands.length === 0) throw new Error(`README.md has no commands below "${HEADING}"`);
  return commands;
}

/** Run one of them as somebody would in a shell in the checkout; those of ctr(8) are for every node. Throws with what it says when it fails. */
export async function runAsUser(cluster: Cluster, command: string): Promise<void> {
  const environment = `export KUBECONFIG='${cluster.kubeconfig}' PATH="$PATH:${cluster.programs}:${cluster.programs}/../debian/usr/bin"; cd '${CHECKOUT}'`;
  const shell = ['bash', '-c', `${environment}\n${command}`];
  const shells = command.startsWith('ctr ') ? cluster.nodes.map((node) => node.argv(shell)) : [shell];
  await Promise.all(shells.map(async ([program = '', ...args]) => {
    const { code, stdout, stderr } = await runCommand(program, args);
    if (code !== 0) throw new ClusterError(`${command}\nends with ${code}: ${stderr}${stdout}`);
  }));
}
