/** Orlop under measurement: an agent in a node's namespace, and enrolled pods whose clients know nothing of it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Backend } from '../backend.ts';
import type { Bench, Peer } from '../bench.ts';
import { logOf, waitUntilReady, waitUntilServing } from '../serving.ts';
import type { Client } from '../topology.ts';
import { BULK_TARGET, HTTP_TARGET, renderMesh, type MeshOptions } from './mesh.ts';

const READINESS = { host: '127.0.0.1', port: 15021 };
export const ORLOP_PROGRAM: string = join(import.meta.dirname, '../../bin/orlop');

export interface OrlopOptions {
  /** Name of the row, and of the node: unique among the agents that run at the same time. */
  readonly name: string;
  readonly clients: readonly Client[];
  readonly backend: Backend;
  /** Services of the mesh, each with a VirtualService. */
  readonly services: number;
}

/** Starts an agent and waits until every client's requests arrive at the backend through it. Throws with its log when they do not. */
export async function startOrlop(bench: Bench, options: OrlopOptions): Promise<Peer> {
  const { name, clients, backend, services } = options;
  const [client] = clients;
  if (client === undefined) throw new Error('an agent is measured with one pod at least');
  const config = writeMesh(bench, { node: name, pods: clients, backend: { node: `${name}-other`, address: backend.address }, services });
  const pid = await startAgent(bench, { node: name, netns: bench.topology.node(`${name}-node`), config, args: [] });
  const peer = {
    name,
    note: `orlop agent --redirect ${bench.redirect} --concurrency 1; Services, each with a VirtualService: ${String(services)}; metrics on, no access log (the default)`,
    netns: client.netns,
    http: HTTP_TARGET,
    bulk: BULK_TARGET,
    pids: [pid],
    backend,
  };
  await Promise.all(clients.map(({ netns }) => waitUntilServing(bench, { ...peer, netns })));
  return peer;
}

/** Writes the mesh down for the agents that follow it; returns the directory. */
export function writeMesh(bench: Bench, mesh: MeshOptions): string {
  const directory = join(bench.dir, `${mesh.node}-config`);
  mkdirSync(directory);
  writeFileSync(join(directory, 'mesh.yaml'), renderMesh(mesh));
  return directory;
}

export interface AgentOptions {
  readonly node: string;
  readonly netns: string;
  readonly config: string;
  readonly args: readonly string[];
}

/** Starts the agent of a node and resolves with its pid once it is ready. Throws with its log when it is not. */
export async function startAgent(bench: Bench, { node, netns, config, args }: AgentOptions): Promise<number> {
  const runDir = join(bench.dir, `${node}-run`);
  mkdirSync(runDir);
  const command = [ORLOP_PROGRAM, 'agent', '--config', config, '--node', node, '--run-dir', runDir, '--redirect', bench.redirect, '--concurrency', '1', ...args];
  const logFile = logOf(bench, node);
  const pid = bench.processes.start(command, { netns, core: bench.proxyCore }, logFile, profileEnv(bench, node));
  await waitUntilReady(bench, netns, READINESS, '/healthz/ready', logFile);
  return pid;
}

/** Each agent has a directory of its own there: the files are named by process ids alone. */
function profileEnv({ profileDir }: Bench, node: string): NodeJS.ProcessEnv {
  return profileDir === undefined ? {} : { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${join(profileDir, node)}` };
}
