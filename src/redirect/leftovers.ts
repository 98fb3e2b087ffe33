/** Whether anything of Orlop's is in network namespaces or pinned in the kernel: looked for without knowing what an agent had done there. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Netns } from '../sys/netns.ts';
import { cleanNetns, rulesLeft } from './clean.ts';
import { nodeDirectory } from './ebpf/pins.ts';
import { removeNode } from './ebpf/programs.ts';
import { returnPathLeft } from './return-path.ts';

/** In words, one for each thing found; none when there is nothing. With `remove`, they are removed: connections that were captured end. */
export function captureLeftovers(node: string, { remove, proc = '/proc' }: { readonly remove: boolean; readonly proc?: string }): string[] {
  return [...programsLeft(node, remove), ...namespacesOf(proc).flatMap((path) => leftIn(path, remove))];
}

function programsLeft(node: string, remove: boolean): string[] {
  const directory = nodeDirectory(node);
  if (!existsSync(directory)) return [];
  if (remove) removeNode(node);
  return [`BPF programs in ${directory}`];
}

function leftIn(path: string, remove: boolean): string[] {
  try {
    using netns = Netns.open(path);
    const found = [...netns.run(rulesLeft), ...netns.run(returnPathLeft)].map((what) => `${what} in net:[${netns.inode}]`);
    if (remove && found.length > 0) cleanNetns(netns);
    return found;
  } catch (error) {
    // Its processes have ended since.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** A path to each network namespace that a process is in. */
function namespacesOf(proc: string): string[] {
  const paths = new Map<bigint, string>();
  for (const pid of readdirSync(proc).filter((name) => /^\d+$/.test(name))) {
    const path = join(proc, pid, 'ns/net');
    const { ino } = statSync(path, { bigint: true, throwIfNoEntry: false }) ?? {};
    if (ino !== undefined && !paths.has(ino)) paths.set(ino, path);
  }
  return [...paths.values()];
}
