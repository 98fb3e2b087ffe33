/** A case: one thing measured the same way for every peer, in rounds that are interleaved between the peers. */
import type { Bench, Peer } from '../bench.ts';
import { usageOf } from '../proc.ts';

export interface Metric {
  readonly key: string;
  readonly label: string;
  readonly digits: number;
  /** Compared with the baselines in columns of its own. */
  readonly compared?: boolean;
}

/** One round of one peer: a value per metric (a peer without a process has no CPU), and what makes the round unfit for use. */
export interface Sample {
  readonly values: Readonly<Record<string, number>>;
  readonly problems: readonly string[];
}

export interface Case {
  readonly key: string;
  readonly title: string;
  readonly metrics: readonly Metric[];
  readonly rounds: number;
  /** Rows that the compared metric is divided by, and in whose absence the column is left out. */
  readonly baselines: readonly string[];
  /** Peers that have nothing to measure here are left out. */
  fits?(peer: Peer): boolean;
  measure(bench: Bench, peer: Peer): Promise<Sample>;
}

export interface Cost {
  readonly cpuMs: number;
  readonly elapsedMs: number;
  /** Resident at the end, in all of them. */
  readonly rssBytes: number;
}

/** Runs `load` and says what it cost the processes `pids` together; undefined where there is none, as for the backend alone. */
export async function costOf<T>(pids: readonly number[], load: () => Promise<T>): Promise<{ result: T; cost: Cost | undefined }> {
  if (pids.length === 0) return { result: await load(), cost: undefined };
  const cpuBeforeMs = usageOf(pids).cpuMs;
  const startMs = performance.now();
  const result = await load();
  const elapsedMs = performance.now() - startMs;
  const after = usageOf(pids);
  return { result, cost: { cpuMs: after.cpuMs - cpuBeforeMs, elapsedMs, rssBytes: after.rssBytes } };
}
