/** Control groups (v2) of a lab: one per pod and per agent, so that whatever a process forks can be found and ended. */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sleep } from './command.ts';
import { LabError } from './lab-error.ts';

const REMOVE_ATTEMPTS = 200;
const REMOVE_INTERVAL_MS = 25;

/** Root of the v2 hierarchy: /sys/fs/cgroup, or /sys/fs/cgroup/unified on hosts that still have v1 beside it. */
export function cgroupRoot(): string {
  const mount = readFileSync('/proc/self/mounts', 'utf8').split('\n').map((line) => line.split(' ')).find((fields) => fields[2] === 'cgroup2');
  if (mount?.[1] === undefined) throw new LabError('no cgroup v2 hierarchy is mounted; mount one: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified');
  return mount[1];
}

/** Directory of all of a lab's groups. */
export function labCgroup(lab: string): string {
  return join(cgroupRoot(), 'orlop-lab', lab);
}

/** Make the group `name` of a lab; returns its directory. */
export function makeCgroup(lab: string, name: string): string {
  const directory = join(labCgroup(lab), name);
  mkdirSync(directory, { recursive: true });
  return directory;
}

/** Put this process into the group of `directory`. */
export function enterCgroup(directory: string): void {
  writeFileSync(join(directory, 'cgroup.procs'), String(process.pid));
}

/** End every process in the group and below at once (cgroup.kill, Linux 5.14). */
function killCgroup(directory: string): void {
  if (existsSync(directory)) writeFileSync(join(directory, 'cgroup.kill'), '1');
}

/** Kill what is in a lab's groups, and remove them. Processes take a moment to leave a group after their end. */
export async function removeLabCgroups(lab: string): Promise<void> {
  const directory = labCgroup(lab);
  killCgroup(directory);
  for (let attempt = 1; existsSync(directory); attempt += 1) {
    try {
      for (const name of readdirSync(directory, { withFileTypes: true })) if (name.isDirectory()) rmdirSync(join(directory, name.name));
      rmdirSync(directory);
    } catch (error) {
      if (attempt >= REMOVE_ATTEMPTS) throw new Error(`the cgroup ${directory} cannot be removed: ${String(error)}`, { cause: error });
      await sleep(REMOVE_INTERVAL_MS);
    }
  }
}

/** Remove the directory that all labs share, when this was the last of them. */
export function removeSharedCgroup(): void {
  try {
    rmdirSync(join(cgroupRoot(), 'orlop-lab'));
  } catch {
    // Another lab is in it, or it is gone already.
  }
}
