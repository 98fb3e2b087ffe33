/** Latency at a rate no proxy is troubled by: what a hop adds. */
import { loadProgram } from '../bench.ts';
import type { OpenResult } from '../load/open.ts';
import { costOf, type Case } from './case.ts';

const RATE_PER_SECOND = 1000;
const CONNECTIONS = 16;

/** A generator this late at its 99th percentile was kept from its core: its latencies say nothing of the proxy. */
const LATENESS_MAX_US = 20_000;

export function latencyCase(rounds: number, seconds: number): Case {
  return {
    key: 'latency',
    title: `Latency at ${String(RATE_PER_SECOND)} requests/s, open loop, ${String(CONNECTIONS)} connections, ${String(seconds)} s a round`,
    metrics: [
      { key: 'p50Us', label: 'p50 µs', digits: 0 },
      { key: 'p90Us', label: 'p90 µs', digits: 0 },
      { key: 'p99Us', label: 'p99 µs', digits: 0, compared: true },
      { key: 'cpuUsPerRequest', label: 'CPU µs/request', digits: 0 },
    ],
    rounds,
    baselines: ['envoy', 'nginx'],
    async measure(bench, peer) {
      const command = loadProgram('open', peer.http.host, ...[peer.http.port, RATE_PER_SECOND, seconds, CONNECTIONS].map(String));
      const place = { netns: peer.netns, core: bench.loadCore };
      const { result, cost } = await costOf(peer.pids, () => bench.processes.run(command, place, (seconds + 20) * 1000));
      const open = JSON.parse(result) as OpenResult;
      const values: Record<string, number> = { p50Us: open.p50Us, p90Us: open.p90Us, p99Us: open.p99Us };
      if (cost !== undefined) values['cpuUsPerRequest'] = (cost.cpuMs * 1000) / open.answered;
      const late = open.latenessP99Us > LATENESS_MAX_US;
      return { values, problems: late ? [`the load generator was ${open.latenessP99Us.toFixed(0)} µs late at p99: the machine is too busy`] : [] };
    },
  };
}
