/** Orlop under measurement: an agent in a node's namespace, and enrolled pods whose clients know nothing of it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Bench, Peer } from '../bench.ts';
import { logOf, waitUntilReady, waitUntilServing } from '../serving.ts';
import { BACKEND_ADDRESS, type Client } from '../topology.ts';
import { BULK_TARGET, HTTP_TARGET, renderMesh } from './mesh.ts';

const READINESS = { host: '127.0.0.1', port: 15021 };
const ORLOP = join(import.meta.dirname, '../../bin/orlop');

export interface OrlopOptions {
  /** Name of the row, and of the node: unique among the agents that run at the same time. */
  readonly name: string;
  readonly clients: readonly Client[];
  /** Services of the mesh, each with a VirtualService. */
  readonly services: number;
}

/** Starts an agent and waits until every client's requests arrive at the backend through it. Throws with its log when they do not. */
export async function startOrlop(bench: Bench, options: OrlopOptions): Promise<Peer & { pid: number }> {
  const [client] = options.clients;
  if (client === undefined) throw new Error('an agent is measured with one pod at least');
  const node = bench.topology.node(`${options.name}-node`);
  const dir = join(bench.dir, options.name);
  const configDir = join(dir, 'config');
  const runDir = join(dir, 'run');
  mkdirSync(configDir, { recursive: true });
  mkdirSync(runDir);
  writeFileSync(join(configDir, 'mesh.yaml'), renderMesh({
    node: options.name,
    pods: options.clients,
    backendAddress: BACKEND_ADDRESS,
    services: options.services,
  }));
  const command = [
    ORLOP, 'agent',
    '--config', configDir,
    '--node', options.name,
    '--run-dir', runDir,
    '--redirect', bench.redirect,
    '--concurrency', '1',
  ];
  const logFile = logOf(bench, options.name);
  const pid = bench.processes.start(command, { netns: node, core: bench.proxyCore }, logFile, profileEnv(bench));
  const peer = {
    name: options.name,
    note: `orlop agent --redirect ${bench.redirect} --concurrency 1; Services, each with a VirtualService: ${String(options.services)}; metrics on, no access log (the default)`,
    netns: client.netns,
    http: HTTP_TARGET,
    bulk: BULK_TARGET,
    pid,
  };
  await waitUntilReady(bench, node, READINESS, '/healthz/ready', logFile);
  await Promise.all(options.clients.map(({ netns }) => waitUntilServing(bench, { ...peer, netns })));
  return peer;
}

function profileEnv(bench: Bench): NodeJS.ProcessEnv {
  return bench.profileDir === undefined ? {} : { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${bench.profileDir}` };
}
