/** Memory resident once warm, and what each further idle connection adds. */
import { setTimeout as delay } from 'node:timers/promises';

import { loadProgram, type Bench, type Peer } from '../bench.ts';
import { usageOf } from '../proc.ts';
import type { Case, Sample } from './case.ts';

/** Held before the count begins: tables and pools that grow in steps have grown, and the garbage of the warm-up is used up. */
const FIRST_CONNECTIONS = 1000;
/** Enough that their sum stands above the tides of a garbage-collected heap. */
const FURTHER_CONNECTIONS = 5000;

const OPENING_TIMEOUT_MS = 30_000;
const SETTLE_MS = 500;
const MIB = 1024 ** 2;

export function memoryCase(): Case {
  return {
    key: 'memory',
    title: `Memory when warm, and for each of ${String(FURTHER_CONNECTIONS)} idle keep-alive connections that made one request`,
    metrics: [
      { key: 'rssMib', label: 'RSS MiB', digits: 1 },
      { key: 'idleConnectionBytes', label: 'bytes/idle connection', digits: 0, compared: true },
    ],
    rounds: 1,
    baselines: ['envoy', 'nginx'],
    fits: (peer) => peer.pids.length > 0,
    measure: measureMemory,
  };
}

async function measureMemory(bench: Bench, peer: Peer): Promise<Sample> {
  const warmBytes = usageOf(peer.pids).rssBytes;
  const holders = [await hold(bench, peer, FIRST_CONNECTIONS)];
  const firstBytes = usageOf(peer.pids).rssBytes;
  holders.push(await hold(bench, peer, FURTHER_CONNECTIONS));
  const allBytes = usageOf(peer.pids).rssBytes;
  const problems = holders.every((holder) => bench.processes.alive(holder)) ? [] : ['an idle connection was closed by the proxy'];
  await Promise.all(holders.map((holder) => bench.processes.stop(holder)));
  return { values: { rssMib: warmBytes / MIB, idleConnectionBytes: (allBytes - firstBytes) / FURTHER_CONNECTIONS }, problems };
}

async function hold(bench: Bench, peer: Peer, connections: number): Promise<number> {
  const command = loadProgram('idle', peer.http.host, String(peer.http.port), String(connections));
  const holder = await bench.processes.hold(command, { netns: peer.netns, core: bench.loadCore }, OPENING_TIMEOUT_MS);
  await delay(SETTLE_MS);
  return holder;
}
