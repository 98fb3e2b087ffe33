/** Counters of one edge in one worker: plain numbers, added up by the main thread when somebody scrapes. */
import { BUCKETS } from './labels.ts';
import type { EdgeLabels } from './labels.ts';

/** A histogram as it crosses threads: a count per bucket (not cumulative; the last is +Inf) and the sum of the values. */
export interface HistogramData {
  readonly counts: number[];
  sum: number;
}

export interface HttpCell {
  readonly code: number;
  readonly grpcStatus: string;
  readonly flags: string;
  requests: number;
  readonly durationMs: HistogramData;
  readonly requestBytes: HistogramData;
  readonly responseBytes: HistogramData;
}

export interface TcpCell {
  readonly flags: string;
  opened: number;
  closed: number;
  received: number;
  sent: number;
}

/** One label set with all its outcomes. */
export interface EdgeData {
  readonly labels: EdgeLabels;
  readonly http: HttpCell[];
  readonly tcp: TcpCell[];
}

function histogram(): HistogramData {
  return { counts: Array.from({ length: BUCKETS.length + 1 }, () => 0), sum: 0 };
}

/** Count a value. Most values fall into the first few buckets, so a walk beats a binary search. */
export function observe(data: HistogramData, value: number): void {
  let i = 0;
  while (i < BUCKETS.length && value > (BUCKETS[i] as number)) i += 1;
  data.counts[i] = (data.counts[i] as number) + 1;
  data.sum += value;
}

export class Edge implements EdgeData {
  readonly labels: EdgeLabels;
  readonly http: HttpCell[] = [];
  readonly tcp: TcpCell[] = [];
  /** When it last counted something, on the monotonic clock. */
  usedMs = 0;

  constructor(labels: EdgeLabels) {
    this.labels = labels;
  }

  /** The cell of an outcome. An edge has few outcomes, and the usual one comes first. */
  httpCell(code: number, grpcStatus: string, flags: string): HttpCell {
    for (const cell of this.http) if (cell.code === code && cell.flags === flags && cell.grpcStatus === grpcStatus) return cell;
    const cell = { code, grpcStatus, flags, requests: 0, durationMs: histogram(), requestBytes: histogram(), responseBytes: histogram() };
    this.http.push(cell);
    return cell;
  }

  tcpCell(flags: string): TcpCell {
    for (const cell of this.tcp) if (cell.flags === flags) return cell;
    const cell = { flags, opened: 0, closed: 0, received: 0, sent: 0 };
    this.tcp.push(cell);
    return cell;
  }
}
