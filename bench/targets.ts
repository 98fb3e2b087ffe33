/** What the project promises of its cost, and whether a run shows it. */
import { valuesOf, type CaseResult } from './results.ts';
import { pairedRatios, summarize, type Summary } from './statistics.ts';

interface Figure {
  readonly case: string;
  readonly peer: string;
  readonly metric: string;
}

export interface Target {
  readonly text: string;
  readonly unit: '×' | ' MiB';
  readonly limit: number;
  readonly figure: Figure;
  /** Divides the figure, round by round. */
  readonly baseline?: Figure;
}

export interface Verdict {
  readonly target: Target;
  /** Undefined when the figure was not measured in this run. */
  readonly measured: Summary | undefined;
  readonly word: 'met' | 'missed' | 'not measured';
  /** By how much it is missed, or that the rounds do not agree. */
  readonly remark: string;
}

export const ORLOP = 'orlop';
export const ORLOP_ROUTES = 'orlop-1000';
export const ORLOP_PODS = 'orlop-20';
export const ORLOP_PAIR = 'orlop-mtls';

function ratio(text: string, limit: number, key: string, metric: string, baseline: string, peer: string = ORLOP): Target {
  return { text, unit: '×', limit, figure: { case: key, peer, metric }, baseline: { case: key, peer: baseline, metric } };
}

export const TARGETS: readonly Target[] = [
  ratio('HTTP/1.1 CPU per request against Envoy', 0.5, 'keepalive', 'cpuUsPerRequest', 'envoy'),
  ratio('HTTP/1.1 CPU per request against nginx', 1.3, 'keepalive', 'cpuUsPerRequest', 'nginx'),
  ratio('p99 at 1,000 requests/s against Envoy', 1, 'latency', 'p99Us', 'envoy'),
  ratio('1,000 VirtualServices against 1, CPU per request', 1.05, 'routes', 'cpuUsPerRequest', ORLOP, ORLOP_ROUTES),
  ratio('bulk upload CPU per GB against Envoy', 1.3, 'upload', 'cpuMsPerGb', 'envoy'),
  ratio('bulk download CPU per GB against Envoy', 1.3, 'download', 'cpuMsPerGb', 'envoy'),
  { text: 'agent RSS with 20 pods', unit: ' MiB', limit: 120, figure: { case: 'pods', peer: ORLOP_PODS, metric: 'rssMib' } },
  ratio('HTTP/1.1 over mutual TLS, CPU per request of both ends, against Envoy', 0.5, 'mtls', 'cpuUsPerRequest', 'envoy-mtls', ORLOP_PAIR),
  ratio('new tunnels, CPU each at the far end against Envoy', 1.3, 'mtls-connections', 'cpuUsPerRequest', 'envoy-hbone', ORLOP_PAIR),
  ratio('bulk upload through a tunnel, CPU per GB of both ends, against Envoy', 1.3, 'mtls-upload', 'cpuMsPerGb', 'envoy-hbone', ORLOP_PAIR),
  ratio('bulk download through a tunnel, CPU per GB of both ends, against Envoy', 1.3, 'mtls-download', 'cpuMsPerGb', 'envoy-hbone', ORLOP_PAIR),
];

export function judge(target: Target, cases: readonly CaseResult[]): Verdict {
  const values = rounds(target.figure, cases);
  const series = target.baseline === undefined ? values : pairedRatios(values, rounds(target.baseline, cases));
  if (series.length === 0) return { target, measured: undefined, word: 'not measured', remark: '' };
  const measured = summarize(series);
  const met = measured.median <= target.limit;
  const agreed = met ? measured.max <= target.limit : measured.min > target.limit;
  const remarks: string[] = [];
  if (!met) remarks.push(`by ${((measured.median / target.limit - 1) * 100).toFixed(0)} %`);
  if (!agreed) remarks.push('within the noise: rounds lie on both sides');
  return { target, measured, word: met ? 'met' : 'missed', remark: remarks.join(', ') };
}

function rounds(figure: Figure, cases: readonly CaseResult[]): number[] {
  return valuesOf(cases, figure.case, figure.peer, figure.metric);
}
