/** HTTP/1.1 requests in closed loop: on kept connections, and each on a new one. */
import type { Bench, Peer } from '../bench.ts';
import { runWrk, wrkProblems, type WrkOptions } from '../load/wrk.ts';
import { costOf, type Case, type Metric, type Sample } from './case.ts';

const METRICS: readonly Metric[] = [
  { key: 'cpuUsPerRequest', label: 'CPU µs/request', digits: 1, compared: true },
  { key: 'requestsPerSecond', label: 'requests/s', digits: 0 },
  { key: 'busyPercent', label: 'proxy core busy %', digits: 0 },
  { key: 'rssMib', label: 'RSS MiB after', digits: 0 },
];

export function keepAliveCase(rounds: number, seconds: number): Case {
  const load = { connections: 64, seconds, close: false };
  return {
    key: 'keepalive',
    title: `HTTP/1.1 keep-alive, 64 connections, ${String(seconds)} s a round`,
    metrics: METRICS,
    rounds,
    baselines: ['envoy', 'nginx'],
    measure: (bench, peer) => measureRequests(bench, peer, load),
  };
}

export function newConnectionsCase(rounds: number, seconds: number): Case {
  const load = { connections: 32, seconds, close: true };
  return {
    key: 'connections',
    title: `A new connection for each request, 32 at a time, ${String(seconds)} s a round`,
    metrics: METRICS,
    rounds,
    baselines: ['envoy', 'nginx'],
    measure: (bench, peer) => measureRequests(bench, peer, load),
  };
}

/** Through a pair with mutual TLS between its ends. */
export function mutualTlsCase(rounds: number, seconds: number): Case {
  return {
    ...keepAliveCase(rounds, seconds),
    key: 'mtls',
    title: `HTTP/1.1 over mutual TLS, CPU of both ends, keep-alive, 64 connections, ${String(seconds)} s a round`,
    baselines: ['envoy-mtls', 'envoy-hbone', 'nginx-mtls'],
  };
}

/** What a new peer costs, at the server of tunnels alone: a mutual TLS handshake in full, a tunnel, and one request in it. */
export function newTunnelsCase(rounds: number, seconds: number): Case {
  const load = { connections: 32, seconds, close: true };
  return {
    key: 'mtls-connections',
    title: `A new tunnel for each request, CPU of the far end alone, 32 at a time, ${String(seconds)} s a round`,
    metrics: METRICS,
    rounds,
    baselines: ['envoy-hbone'],
    fits: (peer) => peer.tunnelEnd !== undefined,
    measure: async (bench, peer) => {
      const { pid, netns, http } = peer.tunnelEnd!;
      return measureRequests(bench, { ...peer, netns, http, pids: [pid] }, load);
    },
  };
}

/** One agent against another that has 1,000 times the routes, under the load of keep-alive. */
export function routesCase(rounds: number, seconds: number, baseline: string): Case {
  return { ...keepAliveCase(rounds, seconds), key: 'routes', title: 'One VirtualService against 1,000, keep-alive, 64 connections', baselines: [baseline] };
}

async function measureRequests(bench: Bench, peer: Peer, load: WrkOptions): Promise<Sample> {
  const servedBefore = await peer.backend.requestsServed();
  const { result, cost } = await costOf(peer.pids, () => runWrk(bench, peer, load));
  const served = (await peer.backend.requestsServed()) - servedBefore;
  const values: Record<string, number> = { requestsPerSecond: result.requests / (result.durationUs / 1e6) };
  if (cost !== undefined) {
    values['cpuUsPerRequest'] = (cost.cpuMs * 1000) / result.requests;
    values['busyPercent'] = (cost.cpuMs / cost.elapsedMs) * 100;
    values['rssMib'] = cost.rssBytes / 1024 ** 2;
  }
  return { values, problems: wrkProblems(result, served, load.connections) };
}
