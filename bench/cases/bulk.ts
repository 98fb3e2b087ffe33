/** Opaque bytes, one connection, one way at a time. */
import { runIperf, type Direction } from '../load/iperf.ts';
import { costOf, type Case } from './case.ts';

const GIB = 1024 ** 3;
const WAYS: Readonly<Record<Direction, string>> = { upload: 'client to backend', download: 'backend to client' };

/**
 * iperf3's sender tells the receiver to stop counting while the last bytes are still under way: in the two socket buffers
 * of each hop, which grow to some 6 MiB each (tcp_rmem, tcp_wmem), and in the proxies. What is missing beyond that was lost.
 */
const UNDER_WAY_BYTES_MAX_PER_HOP = 16 * 1024 ** 2;

export function bulkCase(direction: Direction, rounds: number, gib: number): Case {
  return {
    key: direction,
    title: `Bulk TCP, ${WAYS[direction]}, ${String(gib)} GiB a round`,
    metrics: [
      { key: 'cpuMsPerGb', label: 'CPU ms/GB', digits: 0, compared: true },
      { key: 'gigabitsPerSecond', label: 'Gbit/s', digits: 1 },
    ],
    rounds,
    baselines: ['envoy', 'nginx'],
    async measure(bench, peer) {
      const bytes = gib * GIB;
      const { result, cost } = await costOf(peer.pids, () => runIperf(bench, peer, bytes, direction));
      const values: Record<string, number> = { gigabitsPerSecond: (result.receivedBytes * 8) / 1e9 / result.seconds };
      if (cost !== undefined) values['cpuMsPerGb'] = cost.cpuMs / (result.receivedBytes / 1e9);
      const lost = result.receivedBytes < bytes - UNDER_WAY_BYTES_MAX_PER_HOP * (peer.pids.length + 1);
      return { values, problems: lost ? [`only ${String(result.receivedBytes)} of ${String(bytes)} bytes arrived`] : [] };
    },
  };
}

/** The same through a pair with mutual TLS between its ends. */
export function mutualTlsBulkCase(direction: Direction, rounds: number, gib: number): Case {
  return {
    ...bulkCase(direction, rounds, gib),
    key: `mtls-${direction}`,
    title: `Bulk TCP over mutual TLS, ${WAYS[direction]}, CPU of both ends, ${String(gib)} GiB a round`,
    baselines: ['envoy-hbone', 'envoy-mtls'],
  };
}
