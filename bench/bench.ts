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

export interface Target {
  readonly host: string;
  readonly port: number;
}

/** A proxy that runs, a pair of proxies with mutual TLS between them, or the backend itself where there is no process. */
export interface Peer {
  readonly name: string;
  /** How it is configured, in one line under the table: a comparison is worth what its conditions are. */
  readonly note: string;
  /** Where its clients run. */
  readonly netns: string;
  readonly http: Target;
  readonly bulk: Target;
  /** Every process that is paid for a request: a pair has two. */
  readonly pids: readonly number[];
  /** What stands behind it. */
  readonly backend: Backend;
  /** Where the far end of a pair takes tunnels, when it does. */
  readonly tunnelEnd?: TunnelEnd;
}

/** The server of HBONE tunnels that a pair has at its far end, to be measured alone. */
export interface TunnelEnd {
  readonly pid: number;
  /** Requests sent there come to it by somebody who opens a tunnel for each connection. */
  readonly netns: string;
  readonly http: Target;
}

export interface CertificateFiles {
  /** Leaf and intermediate. */
  readonly chain: string;
  readonly key: string;
  readonly root: string;
}

/** The command line of one of the programs in bench/load, on the pinned Node. */
export function loadProgram(name: string, ...args: string[]): string[] {
  return [process.execPath, join(import.meta.dirname, 'load', `${name}.ts`), ...args];
}
