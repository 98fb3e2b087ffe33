/** Bulk TCP with iperf3, one stream. */
import type { Bench, Peer } from '../bench.ts';

export type Direction = 'upload' | 'download';

export interface IperfReport {
  readonly receivedBytes: number;
  readonly seconds: number;
}

/** Sends `bytes` from the client to the backend (upload), or the other way. */
export async function runIperf(bench: Bench, peer: Peer, bytes: number, direction: Direction): Promise<IperfReport> {
  const command = [
    'iperf3', '--json',
    '-c', peer.bulk.host,
    '-p', String(peer.bulk.port),
    '-n', String(bytes),
    ...(direction === 'download' ? ['-R'] : []),
  ];
  return parseIperf(await bench.processes.run(command, { netns: peer.netns, core: bench.loadCore }, 60_000));
}

/** Reads iperf3's JSON: the receiver's side, since what a proxy took in is not yet what it delivered. */
export function parseIperf(output: string): IperfReport {
  const report = JSON.parse(output) as { error?: string; end?: { sum_received?: { bytes: number; seconds: number } } };
  const received = report.end?.sum_received;
  if (report.error !== undefined || received === undefined) throw new Error(`iperf3: ${report.error ?? 'no sum_received in its report'}`);
  return { receivedBytes: received.bytes, seconds: received.seconds };
}
