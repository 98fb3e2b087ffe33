/**
 * Sends requests and counts what came back, per status, version and pod:
 *   node lab/apps/load.ts URL [-n 100] [-c 4] [-H 'name: value']... [--method GET] [--body TEXT] [--no-keepalive] [--json]
 * The version is what the server says in `x-version`. Ends with code 0 whatever the answers were.
 */
import { Agent, request as httpRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { performance } from 'node:perf_hooks';
import { text } from 'node:stream/consumers';
import { parseArgs } from 'node:util';

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    requests: { type: 'string', short: 'n', default: '100' },
    concurrency: { type: 'string', short: 'c', default: '4' },
    header: { type: 'string', short: 'H', multiple: true, default: [] },
    method: { type: 'string', default: 'GET' },
    body: { type: 'string' },
    'no-keepalive': { type: 'boolean', default: false },
    timeout: { type: 'string', default: '30' },
    json: { type: 'boolean', default: false },
  },
});

interface Answer {
  status: number;
  version: string;
  pod: string;
  ms: number;
  error?: string;
}

const [url] = positionals;
if (url === undefined) {
  process.stderr.write('load: give a URL, for instance: node lab/apps/load.ts http://reviews:9080/reviews/0 -n 100\n');
  process.exit(2);
}
const target: string = url;
const agent = new Agent({ keepAlive: !flags['no-keepalive'], maxSockets: Number(flags.concurrency) });
const headers = Object.fromEntries(flags.header.map((line) => {
  const colon = line.indexOf(':');
  return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
}));

async function send(): Promise<Answer> {
  const started = performance.now();
  const took = (): number => performance.now() - started;
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const sent = httpRequest(target, { agent, headers, method: flags.method, timeout: Number(flags.timeout) * 1000 }, resolve);
      sent.on('error', reject).on('timeout', () => sent.destroy(new Error('timeout'))).end(flags.body);
    });
    await text(response);
    const header = (name: string): string => String(response.headers[name] ?? '-');
    return { status: response.statusCode ?? 0, version: header('x-version'), pod: header('x-pod'), ms: took() };
  } catch (error) {
    const reason = error instanceof Error ? (error as NodeJS.ErrnoException).code ?? error.message : String(error);
    return { status: 0, version: '-', pod: '-', ms: took(), error: reason };
  }
}

function count(answers: readonly Answer[], key: (answer: Answer) => string | undefined): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const answer of answers) {
    const name = key(answer);
    if (name !== undefined) counts[name] = (counts[name] ?? 0) + 1;
  }
  return Object.fromEntries(Object.entries(counts).sort(([a], [b]) => a.localeCompare(b)));
}

function percentile(sorted: readonly number[], share: number): number {
  return Number((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(2));
}

const answers: Answer[] = [];
let left = Number(flags.requests);
await Promise.all(Array.from({ length: Number(flags.concurrency) }, async () => {
  while (left > 0) {
    left -= 1;
    answers.push(await send());
  }
}));
agent.destroy();

const times = answers.map(({ ms }) => ms).sort((a, b) => a - b);
const summary = {
  requests: answers.length,
  statuses: count(answers, ({ status }) => String(status)),
  versions: count(answers, ({ version }) => version),
  pods: count(answers, ({ pod }) => pod),
  errors: count(answers, ({ error }) => error),
  latencyMs: { p50: percentile(times, 0.5), p90: percentile(times, 0.9), p99: percentile(times, 0.99), max: percentile(times, 1) },
};
if (flags.json) {
  process.stdout.write(`${JSON.stringify(summary)}\n`);
} else {
  const rows = count(answers, ({ status, version, error }) => `${(error ?? String(status)).padEnd(14)} ${version}`);
  process.stdout.write('STATUS         VERSION  COUNT  SHARE\n');
  for (const [key, number] of Object.entries(rows)) {
    process.stdout.write(`${key.padEnd(23)} ${String(number).padStart(5)}  ${((100 * number) / answers.length).toFixed(0).padStart(4)}%\n`);
  }
  process.stdout.write(`p50 ${summary.latencyMs.p50} ms, p99 ${summary.latencyMs.p99} ms\n`);
}
