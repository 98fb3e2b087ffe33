/** Remove every trace of a lab, whether it ended well, was killed, or never came up whole. Safe to repeat. */
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { removeLabCgroups, removeSharedCgroup } from './cgroup.ts';
import { LABS_DIRECTORY, LabPaths } from './names.ts';
import { removeNetwork } from './network.ts';

/** Where agents pin their BPF objects, in a directory per node. */
const PINS_DIRECTORY = '/sys/fs/bpf/orlop';

/** What `up` writes down before it makes anything. */
export interface LabState {
  name: string;
  number: number;
  nodes: string[];
  /** Do its nodes have agents? Then no other lab's node may have the same name: their pinned objects would meet. */
  agents: boolean;
  /** The process that brings the lab up, until the supervisor listens. */
  creatorPid: number;
  /** Stop when the process that brought it up is gone. */
  tied: boolean;
  options: { name: string; noAgent: boolean; namespace?: string; redirect?: 'auto' | 'iptables' | 'ebpf' };
  sources: { file: string; text: string }[];
}

/** Names of the labs that left something on this machine, running or not. */
export function labNames(): string[] {
  return existsSync(LABS_DIRECTORY) ? readdirSync(LABS_DIRECTORY).sort() : [];
}

/** The state of a lab; undefined when there is none that can be read. */
export function readState(name: string): LabState | undefined {
  try {
    return JSON.parse(readFileSync(new LabPaths(name).state, 'utf8')) as LabState;
  } catch {
    return undefined;
  }
}

/** Kill what is left of a lab and remove its cgroups, namespaces (with links and rules), pins and files. */
export async function cleanLab(name: string): Promise<void> {
  await removeLabCgroups(name);
  removeSharedCgroup();
  await removeNetwork(name);
  const state = readState(name);
  if (state?.agents === true) for (const node of state.nodes) removePins(node);
  rmSync(new LabPaths(name).root, { recursive: true, force: true });
  removeIfEmpty(LABS_DIRECTORY);
}

/** BPF objects outlive a killed agent by their pins. */
function removePins(node: string): void {
  rmSync(`${PINS_DIRECTORY}/${node.replaceAll('.', '_')}`, { recursive: true, force: true });
  removeIfEmpty(PINS_DIRECTORY);
}

function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // It is in use, or it is gone already.
  }
}
