/**
 * Two Orlop agents, each the node of one enrolled pod: the client's, and the application's, which takes mutual TLS alone. A control
 * signs their certificates with the same intermediate that the other pairs have theirs from.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import type { Bench, CertificateFiles, Peer } from '../bench.ts';
import { BULK_TARGET, HTTP_TARGET } from '../peers/mesh.ts';
import { ORLOP_PROGRAM, startAgent, writeMesh } from '../peers/orlop.ts';
import { logTail } from '../processes.ts';
import { logOf, waitUntilServing } from '../serving.ts';
import { ORLOP_PAIR } from '../targets.ts';
import { BACKEND_ADDRESS } from '../topology.ts';
import type { Site } from './site.ts';
import { startTunnelOpener } from './tunnel-opener.ts';

const HBONE_PORT = 15008;
const CA_ADDRESS = `${BACKEND_ADDRESS}:15012`;
const CONTROL_START_TIMEOUT_MS = 15_000;
const NEAR = ORLOP_PAIR;
const FAR = `${ORLOP_PAIR}-far`;

/** Starts the control and both agents and waits until a request comes through them. Throws with a log when it does not. */
export async function startOrlopPair(bench: Bench, site: Site): Promise<Peer> {
  const { client, backend, certificates } = site;
  const config = writeMesh(bench, { node: NEAR, pods: [client], backend: { node: FAR, address: backend.address, netns: backend.netns }, services: 1 });
  const ca = await startControl(bench, config, certificates.authority);
  const start = (node: string): Promise<number> => startAgent(bench, { node, netns: bench.topology.client(`${node}-node`).netns, config, args: ca.argsFor(node) });
  const farPid = await start(FAR);
  const nearPid = await start(NEAR);
  const peer: Peer = {
    name: ORLOP_PAIR,
    note: `at both ends orlop agent --redirect ${bench.redirect} --concurrency 1, as in the row orlop; requests are routed at the near end and read at both; HBONE between them, PeerAuthentication STRICT`,
    netns: client.netns,
    http: HTTP_TARGET,
    bulk: BULK_TARGET,
    pids: [nearPid, farPid],
    backend,
    tunnelEnd: await startTunnelOpener(bench, site, { name: ORLOP_PAIR, pid: farPid, port: HBONE_PORT }),
  };
  await waitUntilServing(bench, peer);
  return peer;
}

/** The control, which is no part of what a request costs, on the core of the load; what makes an agent ask it. */
async function startControl(bench: Bench, config: string, { chain, key, root }: CertificateFiles): Promise<{ argsFor(node: string): string[] }> {
  const dir = join(bench.dir, 'control');
  mkdirSync(dir, { mode: 0o700 });
  const [tokens, roots] = [join(dir, 'tokens'), join(dir, 'roots.pem')];
  const tokenFile = (node: string): string => join(dir, `${node}.token`);
  const lines = [NEAR, FAR].map((node) => {
    const token = randomBytes(32).toString('hex');
    writeFileSync(tokenFile(node), token, { mode: 0o600 });
    return `${token},${node}\n`;
  });
  writeFileSync(tokens, lines.join(''), { mode: 0o600 });

  const command = [
    ORLOP_PROGRAM, 'control',
    '--config', config,
    '--node-tokens', tokens,
    '--listen', CA_ADDRESS,
    '--ca-cert', chain,
    '--ca-key', key,
    '--ca-root', root,
    '--roots-out', roots,
    '--run-dir', dir,
  ];
  const logFile = logOf(bench, 'control');
  bench.processes.start(command, { netns: bench.topology.backend, core: bench.loadCore }, logFile);
  const deadlineMs = performance.now() + CONTROL_START_TIMEOUT_MS;
  while (!existsSync(roots)) {
    if (performance.now() > deadlineMs) throw new Error(`orlop control does not start; its log ends:\n${logTail(logFile)}`);
    await delay(50);
  }
  return { argsFor: (node) => ['--ca-address', CA_ADDRESS, '--ca-roots', roots, '--ca-token', tokenFile(node)] };
}
