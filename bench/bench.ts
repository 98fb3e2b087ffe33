/** What a run shares: the network, the processes, the cores, and the words for a proxy under measurement. */
import { join } from 'node:path';

import type { Backend } from './backend.ts';
import type { Processes } from './processes.ts';
import type { Topology } from './topology.ts';

export interface Bench {
  readonly topology: Topology;
  readonly processes: Processes;
  /** Configurations and logs of this run; removed with it. */
  readonly dir: string;
  /** Load generators and backend run on this core, the proxy under measurement on the other. */
  readonly loadCore: number;
  readonly proxyCore: number;
  readonly redirect: string;
  /** Where the agents leave CPU profiles when they end; undefined for none, which is what figures are taken with. */
  readonly profileDir: string | undefined;
}

export interface Measured extends Bench {
  readonly backend: Backend;
}

export interface Target {
  readonly host: string;
  readonly port: number;
}

/** A proxy that runs, or the backend itself where `pid` is undefined. */
export interface Peer {
  readonly name: string;
  /** How it is configured, in one line under the table: a comparison is worth what its conditions are. */
  readonly note: string;
  /** Where its clients run. */
  readonly netns: string;
  readonly http: Target;
  readonly bulk: Target;
  readonly pid: number | undefined;
}

/** The command line of one of the programs in bench/load, on the pinned Node. */
export function loadProgram(name: string, ...args: string[]): string[] {
  return [process.execPath, join(import.meta.dirname, 'load', `${name}.ts`), ...args];
}
