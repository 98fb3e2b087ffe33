/** Memory of one agent that carries many pods' traffic. */
import type { Bench, Peer } from '../bench.ts';
import { runWrk } from '../load/wrk.ts';
import { usageOf } from '../proc.ts';
import type { Case, Sample } from './case.ts';

const MIB = 1024 ** 2;

/** Every pod's clients at once, then the agent's memory. `netnses` are the pods' namespaces. */
export function podsCase(netnses: readonly string[]): Case {
  return {
    key: 'pods',
    title: `Memory of one agent with ${String(netnses.length)} pods, after each of them sent requests`,
    metrics: [{ key: 'rssMib', label: 'RSS MiB', digits: 1 }],
    rounds: 1,
    baselines: [],
    measure: (bench, peer) => measurePods(bench, peer, netnses),
  };
}

async function measurePods(bench: Bench, peer: Peer, netnses: readonly string[]): Promise<Sample> {
  const load = { connections: 4, seconds: 2, close: false };
  const reports = await Promise.all(netnses.map((netns) => runWrk(bench, { ...peer, netns }, load)));
  const silent = reports.filter((report) => report.requests === 0 || report.statusErrors > 0).length;
  const problems = silent > 0 ? [`${String(silent)} of ${String(netnses.length)} pods had no right answers`] : [];
  return { values: { rssMib: usageOf(peer.pids).rssBytes / MIB }, problems };
}
