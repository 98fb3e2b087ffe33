/** What a lab of some name has on this machine: everything that `down` must remove. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { labCgroup } from '../../src/lab/cgroup.ts';
import { LabPaths, isNetnsOf, NETNS_DIRECTORY } from '../../src/lab/names.ts';

export interface Traces {
  netns: string[];
  cgroups: string[];
  files: string[];
  /** Command lines that name the lab, or that run in its cgroups. */
  processes: string[];
  mounts: string[];
  /** Links of the machine's own namespace with names as the lab gives them, and its nftables tables. */
  links: string[];
  tables: string[];
}

export const NO_TRACES: Traces = { netns: [], cgroups: [], files: [], processes: [], mounts: [], links: [], tables: [] };

export function tracesOf(lab: string): Traces {
  return {
    netns: list(NETNS_DIRECTORY).filter((name) => isNetnsOf(lab, name)),
    cgroups: list(labCgroup(lab)),
    files: list(new LabPaths(lab).root),
    processes: list('/proc').filter((pid) => /^\d+$/.test(pid)).flatMap((pid) => processOf(pid, lab)),
    mounts: readFileSync('/proc/self/mounts', 'utf8').split('\n').filter((line) => line.includes(`ol-${lab}`) || line.includes(`orlop-lab/${lab}/`)),
    links: list('/sys/class/net').filter((name) => /^(?:pod|node)\d+$|^(?:fabric|external|pods)0$/.test(name)),
    tables: execFileSync('nft', ['list', 'tables'], { encoding: 'utf8' }).split('\n').filter((line) => line.includes('orlop-lab')),
  };
}

function list(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}

function processOf(pid: string, lab: string): string[] {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    // A process that has ended has no command line; it only waits for its parent to take notice.
    if (command === '') return [];
    const inGroup = readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(`/orlop-lab/${lab}/`);
    return inGroup || command.includes(`orlop-lab/${lab}/`) || command.includes(`supervise.ts ${lab} `) ? [command] : [];
  } catch {
    // It ended while we looked.
    return [];
  }
}
