/** Memory resident after load, and what each further idle connection adds. */
import { setTimeout as delay } from 'node:timers/promises';

import { loadProgram, type Measured, type Peer } from '../bench.ts';
import { usageOf } from '../proc.ts';
import type { Case, Sample } from './case.ts';

const CONNECTIONS = 2000;
const OPENING_TIMEOUT_MS = 30_000;
const SETTLE_MS = 500;
const MIB = 1024 ** 2;

export function memoryCase(): Case {
  return {
    key: 'memory',
    title: `Memory after the cases above, and with ${String(CONNECTIONS)} idle keep-alive connections that each made one request`,
    metrics: [
      { key: 'rssMib', label: 'RSS MiB', digits: 1 },
      { key: 'idleConnectionBytes', label: 'bytes/idle connection', digits: 0, compared: true },
    ],
    rounds: 1,
    baselines: ['envoy', 'nginx'],
    needsProcess: true,
    measure: measureMemory,
  };
}

async function measureMemory(bench: Measured, peer: Peer): Promise<Sample> {
  const pid = peer.pid!;
  const beforeBytes = usageOf(pid).rssBytes;
  const command = loadProgram('idle', peer.http.host, String(peer.http.port), String(CONNECTIONS));
  const holder = await bench.processes.hold(command, { netns: peer.netns, core: bench.loadCore }, OPENING_TIMEOUT_MS);
  await delay(SETTLE_MS);
  const withBytes = usageOf(pid).rssBytes;
  const problems = bench.processes.alive(holder) ? [] : ['an idle connection was closed by the proxy'];
  await bench.processes.stop(holder);
  return { values: { rssMib: beforeBytes / MIB, idleConnectionBytes: (withBytes - beforeBytes) / CONNECTIONS }, problems };
}
