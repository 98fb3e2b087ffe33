/**
 * Open-loop load: requests become due by the clock alone, never by an answer, and latency counts from the moment a
 * request was due to be sent, also while it waits for a free connection. A proxy that stalls is thus charged for every
 * request that fell due meanwhile (no coordinated omission). The generator's own lateness against the ideal schedule
 * (its timer ticks once a millisecond) is reported beside the latencies, not within them.
 *
 *     open.ts HOST PORT RATE_PER_SECOND SECONDS CONNECTIONS     prints one line of JSON: see OpenResult
 */
import { quantile } from '../statistics.ts';
import { Connection } from './connection.ts';

export interface OpenResult {
  readonly answered: number;
  /** Answered after the warm-up: what the quantiles are of. */
  readonly counted: number;
  readonly p50Us: number;
  readonly p90Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
  readonly latenessP99Us: number;
}

/** The first second warms connections and code up and is not counted. */
const WARM_UP_MS = 1000;
const LAST_ANSWERS_MS = 5000;

const [host, port, rate, seconds, connections] = process.argv.slice(2) as [string, string, string, string, string];
const intervalMs = 1000 / Number(rate);
const total = Math.round(Number(rate) * (Number(seconds) + WARM_UP_MS / 1000));
const latenciesUs = new Float64Array(total);
const latenessesUs = new Float64Array(total);

const free: Connection[] = [];
const waiting: number[] = [];
let due = 0;
let answered = 0;
let counted = 0;
let startMs = 0;

for (let opened = 0; opened < Number(connections); opened++) free.push(new Connection(host, Number(port), onAnswer, fail));
setTimeout(() => {
  startMs = performance.now();
  tick();
}, 100);

function tick(): void {
  const nowMs = performance.now();
  while (due < total && startMs + due * intervalMs <= nowMs) {
    latenessesUs[due] = (nowMs - startMs - due * intervalMs) * 1000;
    due += 1;
    const connection = free.pop();
    if (connection === undefined) waiting.push(nowMs);
    else send(connection, nowMs);
  }
  if (due < total) setTimeout(tick, 1);
  else setTimeout(() => fail(`${String(total - answered)} of ${String(total)} requests were never answered`), LAST_ANSWERS_MS).unref();
}

function send(connection: Connection, dueAtMs: number): void {
  connection.dueAtMs = dueAtMs;
  connection.send();
}

function onAnswer(connection: Connection): void {
  const nowMs = performance.now();
  if (connection.dueAtMs >= startMs + WARM_UP_MS) latenciesUs[counted++] = (nowMs - connection.dueAtMs) * 1000;
  answered += 1;
  if (answered === total) report();
  const dueAtMs = waiting.shift();
  if (dueAtMs === undefined) free.push(connection);
  else send(connection, dueAtMs);
}

function report(): void {
  const sample = latenciesUs.subarray(0, counted);
  const result: OpenResult = {
    answered,
    counted,
    p50Us: quantile(sample, 0.5),
    p90Us: quantile(sample, 0.9),
    p99Us: quantile(sample, 0.99),
    maxUs: quantile(sample, 1),
    latenessP99Us: quantile(latenessesUs.subarray(WARM_UP_MS / intervalMs), 0.99),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
}

function fail(reason: string): void {
  process.stderr.write(`${reason}\n`);
  process.exit(1);
}
