/**
 * Control groups of a cluster, one tree in every hierarchy of the machine: cgroup v2 alone, or the older v1 ones with v2 beside them.
 * A node's tree is all the node sees (cgroup_namespaces(7)), and whatever a cluster ever forked is found by its v2 group and ended.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { sleep } from '../../../src/lab/command.ts';
import { ClusterError } from './cluster-error.ts';

const REMOVE_ATTEMPTS = 400;
const REMOVE_INTERVAL_MS = 25;
/** Words of a v1 mount that are not its controllers. */
const MOUNT_FLAGS = new Set(['rw', 'ro', 'nosuid', 'nodev', 'noexec', 'relatime', 'noatime', 'xattr']);

export interface Hierarchy {
  /** Where the machine has it. */
  path: string;
  version: 1 | 2;
  /** What mount(8) is told to mount it again: its controllers, or its name. Empty for v2. */
  options: string;
}

export function hierarchies(): Hierarchy[] {
  const found = readFileSync('/proc/self/mounts', 'utf8').split('\n').map((line) => line.split(' ')).flatMap(([, path = '', type, flags = '']): Hierarchy[] => {
    if (type === 'cgroup2') return [{ path, version: 2, options: '' }];
    if (type !== 'cgroup') return [];
    const words = flags.split(',').filter((word) => !MOUNT_FLAGS.has(word) && !word.startsWith('release_agent='));
    return [{ path, version: 1, options: words.some((word) => word.startsWith('name=')) ? `none,${words.join(',')}` : words.join(',') }];
  });
  if (!found.some(({ version }) => version === 2)) {
    throw new ClusterError('no cgroup v2 hierarchy is mounted; mount one: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified');
  }
  return found;
}

/** Make the group `name` (a relative path) in every hierarchy; returns their directories. */
export function makeGroups(name: string): string[] {
  return hierarchies().map((hierarchy) => {
    const directory = join(hierarchy.path, name);
    const path = [directory];
    while (dirname(path[0] as string) !== hierarchy.path) path.unshift(dirname(path[0] as string));
    while (!existsSync(directory)) for (const group of path) makeGroup(group, hierarchy);
    return directory;
  });
}

/** A command line that joins groups before it becomes `argv`: a process that forked first could leave children behind. */
export function inGroups(directories: readonly string[], argv: readonly string[]): string[] {
  const enter = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift; exec "$@"';
  return ['sh', '-c', enter, 'sh', ...directories, '--', ...argv];
}

/** Kill every process in the group `name`, and remove it from all hierarchies, with the groups above that nobody else uses. */
export async function removeGroups(name: string): Promise<void> {
  const roots = hierarchies().map(({ path }) => path);
  for (let attempt = 1; ; attempt += 1) {
    // Again each time: a process may have been on its way into its groups, and takes a moment to leave them after its end.
    for (const root of roots) killAll(join(root, name));
    const left = roots.map((root) => join(root, name)).filter((directory) => !removeTree(directory));
    const ending = left.length > 0 ? [] : lastProcesses(name);
    if (left.length + ending.length === 0) break;
    if (attempt >= REMOVE_ATTEMPTS) throw new ClusterError(left.length > 0 ? `these control groups cannot be removed: ${left.join(', ')}` : `these processes do not end: ${ending.join(', ')}`);
    await sleep(REMOVE_INTERVAL_MS);
  }
  for (const root of roots) removeTree(join(root, dirname(name)), 'empty');
}

function killAll(directory: string): void {
  if (!existsSync(directory)) return;
  if (existsSync(`${directory}/cgroup.kill`)) {
    writeFileSync(`${directory}/cgroup.kill`, '1');
    return;
  }
  for (const group of groupsBelow(directory)) {
    for (const pid of readFileSync(`${group}/cgroup.procs`, 'utf8').split('\n').filter((line) => line !== '')) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It ended meanwhile.
      }
    }
  }
}

/** Those that have left their groups on their way out, and may still hold namespaces: the first process of one waits for all others. */
function lastProcesses(name: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(`/${name}/`) && !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
    } catch {
      return false;
    }
  });
}

/** Remove a group with those below it, or only when there are none; returns whether it is gone. */
function removeTree(directory: string, which: 'all' | 'empty' = 'all'): boolean {
  if (!existsSync(directory)) return true;
  try {
    for (const group of which === 'all' ? groupsBelow(directory) : [directory]) rmdirSync(group);
    return true;
  } catch {
    return false;
  }
}

/** The group and all below it, the deepest first. */
function groupsBelow(directory: string): string[] {
  const below = readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [...below.flatMap((entry) => groupsBelow(join(directory, entry.name))), directory];
}

function makeGroup(group: string, { version, options }: Hierarchy): void {
  const parent = dirname(group);
  // Another cluster that ends now removes the group that all share when it finds it empty: then it is made again.
  if (existsSync(group) || !existsSync(parent)) return;
  mkdirSync(group);
  // A cpuset of v1 is born empty, and takes no process until it has processors and memory.
  if (options.split(',').includes('cpuset')) for (const file of ['cpuset.cpus', 'cpuset.mems']) writeFileSync(`${group}/${file}`, readFileSync(`${parent}/${file}`));
  if (version === 2) {
    const controllers = readFileSync(`${parent}/cgroup.controllers`, 'utf8').trim().split(' ').filter((name) => name !== '');
    if (controllers.length > 0) writeFileSync(`${parent}/cgroup.subtree_control`, controllers.map((name) => `+${name}`).join(' '));
  }
}
