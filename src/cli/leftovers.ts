/** `orlop leftovers`: what of Orlop is on a node whose agent is gone, and its removal. `orlop uninstall` runs it on every node that has one at that time. */
import { readdirSync, rmSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { cniLeftovers } from '../agent/cni-install.ts';
import { captureLeftovers } from '../redirect/leftovers.ts';
import { ensureWritableSysctls } from '../redirect/sysctls.ts';

interface Flags {
  readonly node: string;
  readonly runDir: string;
  readonly cniConfDir: string;
  readonly cniBinDir: string;
  readonly remove?: boolean;
}

export function leftoversCommand(): Command {
  return new Command('leftovers')
    .description('what of Orlop is on this node, which must have no agent any more; exit 1 when there is something')
    .requiredOption('--node <name>', 'this node, as its agent was told')
    .option('--run-dir <dir>', 'of its agent', '/run/orlop')
    .option('--cni-conf-dir <dir>', 'of the node\'s network configuration', '/etc/cni/net.d')
    .option('--cni-bin-dir <dir>', 'of its plugins', '/opt/cni/bin')
    .option('--remove', 'remove it; then exit 1 only when something is left all the same')
    .action((flags: Flags) => {
      if (flags.remove === true) {
        ensureWritableSysctls();
        for (const what of leftovers(flags, true)) process.stdout.write(`removed ${what}\n`);
      }
      const left = leftovers(flags, false);
      for (const what of left) process.stdout.write(`left ${what}\n`);
      if (left.length === 0) process.stdout.write('nothing is left\n');
      process.exitCode = left.length === 0 ? 0 : 1;
    });
}

/** The CNI plugin first: with it, pods wait for an agent that does not come. */
function leftovers({ node, runDir, cniConfDir: confDirectory, cniBinDir: binDirectory }: Flags, remove: boolean): string[] {
  return [...cniLeftovers({ confDirectory, binDirectory }, { remove }), ...captureLeftovers(node, { remove }), ...filesIn(runDir, remove)];
}

/** With the directory, which by itself is nothing that is left. */
function filesIn(directory: string, remove: boolean): string[] {
  const paths = entriesOf(directory).map((name) => join(directory, name));
  if (remove) {
    for (const path of paths) rmSync(path, { recursive: true });
    removeDirectory(directory);
  }
  return paths;
}

function removeDirectory(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    // It may be a mount.
    if (!['ENOENT', 'EBUSY'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
