/**
 * Requests for as long as it runs, and every one that failed. In a pod:
 *   node request-loop.ts CONCURRENCY URL...
 * Half of the requests come on connections of their own, half on those that are kept. GET :9999/report says what has come of them so far.
 */
import { Agent, createServer, request as httpRequest } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

export const REPORT_PORT = 9999;
/** The reason of a request that came to nothing within ten seconds. */
export const NO_ANSWER = 'no answer in time';
const REQUEST_TIMEOUT_MS = 10_000;
const PAUSE_MS = 20;
const FAILURES_MAX = 1_000;

export interface Failure {
  readonly atMs: number;
  readonly url: string;
  readonly reason: string;
  readonly tookMs: number;
}

/** What has been asked since the program started. */
export interface LoopReport {
  readonly requests: number;
  readonly failed: number;
  /** The newest of them. */
  readonly failures: readonly Failure[];
  /** The longest that was answered, since the last report. */
  readonly slowestMs: number;
}

const [concurrency = '1', ...urls] = process.argv.slice(2);
const kept = new Agent({ keepAlive: true });
const single = new Agent({ keepAlive: false });
let requests = 0;
let failed = 0;
let slowestMs = 0;
let failures: Failure[] = [];

async function answerTo(url: string, agent: Agent): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(url, { agent }, (response) => {
      const { statusCode = 0 } = response;
      text(response).then((body) => resolve(statusCode === 200 ? undefined : `${statusCode} ${body.trim().slice(0, 200)}`), reject);
    });
    sent.setTimeout(REQUEST_TIMEOUT_MS, () => sent.destroy(new Error(NO_ANSWER))).on('error', reject).end();
  });
}

async function ask(url: string, agent: Agent): Promise<void> {
  const atMs = Date.now();
  const reason = await answerTo(url, agent).catch((error: NodeJS.ErrnoException) => `${error.code ?? ''} ${error.message}`);
  const tookMs = Date.now() - atMs;
  requests += 1;
  if (reason === undefined) slowestMs = Math.max(slowestMs, tookMs);
  else {
    failed += 1;
    failures = [...failures.slice(1 - FAILURES_MAX), { atMs, url, reason, tookMs }];
  }
}

async function worker(number: number): Promise<never> {
  for (let turn = number; ; turn += 1) {
    await ask(urls[turn % urls.length] ?? '', Math.floor(turn / urls.length) % 2 === 0 ? kept : single);
    await sleep(PAUSE_MS);
  }
}

if (import.meta.main) {
  createServer(({ url }, response) => {
    if (url !== '/report') {
      response.end('asking\n');
      return;
    }
    const report: LoopReport = { requests, failed, failures, slowestMs };
    slowestMs = 0;
    response.end(JSON.stringify(report));
  }).listen(REPORT_PORT);
  process.once('SIGTERM', () => process.exit(0));
  await Promise.all(Array.from({ length: Number(concurrency) }, async (_, number) => worker(number)));
}
