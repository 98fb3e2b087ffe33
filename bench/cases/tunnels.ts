/** What a new peer costs: a mutual TLS handshake in full, a tunnel, and one request in it, at the server of tunnels alone. */
import { loadProgram, type Bench, type Peer } from '../bench.ts';
import type { TunnelsResult } from '../load/tunnels.ts';
import { costOf, type Case, type Sample } from './case.ts';

const SIDE_BY_SIDE = 16;

export function tunnelsCase(rounds: number, seconds: number): Case {
  return {
    key: 'mtls-connections',
    title: `A new tunnel for each request, ${String(SIDE_BY_SIDE)} at a time, CPU of the far end alone, ${String(seconds)} s a round`,
    metrics: [
      { key: 'cpuUsPerTunnel', label: 'CPU µs/tunnel', digits: 0, compared: true },
      { key: 'tunnelsPerSecond', label: 'tunnels/s', digits: 0 },
      { key: 'busyPercent', label: 'proxy core busy %', digits: 0 },
      { key: 'rssMib', label: 'RSS MiB after', digits: 0 },
    ],
    rounds,
    baselines: ['envoy-hbone'],
    fits: (peer) => peer.tunnelEnd !== undefined,
    measure: (bench, peer) => measureTunnels(bench, peer, seconds),
  };
}

async function measureTunnels(bench: Bench, peer: Peer, seconds: number): Promise<Sample> {
  const { pid, netns, target, authority, client } = peer.tunnelEnd!;
  const command = loadProgram('tunnels', target.host, String(target.port), authority, client.chain, client.key, client.root, String(SIDE_BY_SIDE), String(seconds));
  const servedBefore = await peer.backend.requestsServed();
  const { result, cost } = await costOf([pid], () => bench.processes.run(command, { netns, core: bench.loadCore }, (seconds + 20) * 1000));
  const { requests, durationUs } = JSON.parse(result) as TunnelsResult;
  const served = (await peer.backend.requestsServed()) - servedBefore;
  return {
    values: {
      cpuUsPerTunnel: (cost!.cpuMs * 1000) / requests,
      tunnelsPerSecond: requests / (durationUs / 1e6),
      busyPercent: (cost!.cpuMs / cost!.elapsedMs) * 100,
      rssMib: cost!.rssBytes / 1024 ** 2,
    },
    problems: served === requests ? [] : [`${String(requests)} answers, but the backend served ${String(served)}`],
  };
}
