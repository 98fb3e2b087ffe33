/** What a run found: every round of every figure, kept as measured. */
import type { Case, Metric, Sample } from './cases/case.ts';

export interface Row {
  readonly peer: string;
  readonly rounds: readonly Sample[];
}

export interface CaseResult {
  readonly key: string;
  readonly title: string;
  readonly metrics: readonly Metric[];
  readonly baselines: readonly string[];
  readonly rows: readonly Row[];
}

export interface RunResult {
  readonly startedAt: string;
  readonly machine: Readonly<Record<string, string>>;
  readonly versions: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
  readonly notes: Readonly<Record<string, string>>;
  readonly cases: readonly CaseResult[];
  /** Whatever makes the run unfit for conclusions. */
  readonly problems: readonly string[];
}

export function caseResult(measured: Case, rows: readonly Row[]): CaseResult {
  const { key, title, metrics, baselines } = measured;
  return { key, title, metrics, baselines, rows };
}

/** The values of one figure, a round each; empty when the case, the row or the metric was not measured. */
export function valuesOf(cases: readonly CaseResult[], key: string, peer: string, metric: string): number[] {
  const row = cases.find((candidate) => candidate.key === key)?.rows.find((candidate) => candidate.peer === peer);
  return (row?.rounds ?? []).map((round) => round.values[metric]).filter((value) => value !== undefined);
}
