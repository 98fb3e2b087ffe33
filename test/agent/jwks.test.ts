import { expect, test } from 'vitest';
import { Jwks } from '../../src/agent/jwks.ts';
import { FakeClock } from '../../src/core/clock.ts';
import type { Logger } from '../../src/core/log.ts';
import type { JwksState, JwksTarget } from '../../src/proxy/jwt/jwks-source.ts';
import { parseKeySet } from '../../src/proxy/jwt/public-key.ts';
import type { PublicKey } from '../../src/proxy/jwt/public-key.ts';
import { jwksOf, signingKey } from '../proxy/jwt/issuer.ts';

const KEYS = parseKeySet(jwksOf(await signingKey('ES256'))) as readonly PublicKey[];
const target = (url: string): JwksTarget => ({ key: url, url, discovery: false, timeoutMs: 5_000 });
const A = target('https://a.example/keys?secret=1');
const B = target('https://b.example/keys');

/** An identity provider that answers when the test says so. */
class Bench {
  readonly clock = new FakeClock();
  readonly published: [string, JwksState][] = [];
  readonly logged: string[] = [];
  readonly asked: { readonly url: string; readonly signal: AbortSignal; readonly answer: (keys: readonly PublicKey[]) => void; readonly fail: (reason: string) => void }[] = [];
  readonly jwks: Jwks;

  constructor() {
    const note = (level: string) => (fields: object | string, message?: string) => void this.logged.push(`${level} ${message ?? ''} ${JSON.stringify(fields)}`);
    const log: Logger = { level: 'info', debug: note('debug'), info: note('info'), warn: note('warn'), error: note('error') };
    this.jwks = new Jwks({
      clock: this.clock,
      random: { next: () => 0 },
      log,
      fetch: async ({ url }, signal) => new Promise((answer, reject) => this.asked.push({ url, signal, answer, fail: (reason) => reject(new Error(reason)) })),
      publish: (key, state) => this.published.push([key, state]),
    });
  }

  /** Settle the fetch that is under way. */
  async answered(failure?: string): Promise<void> {
    const last = this.asked.at(-1);
    if (failure === undefined) last?.answer(KEYS);
    else last?.fail(failure);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test('keys are fetched when the first worker needs them, told to all, and renewed every 20 minutes', async () => {
  const bench = new Bench();
  bench.jwks.want('worker-0', [A]);
  bench.jwks.want('worker-1', [A]);
  expect(bench.asked).toHaveLength(1);
  await bench.answered();
  expect(bench.published).toEqual([[A.key, { keys: KEYS, failure: '' }]]);
  // A worker that was restarted is told what is known.
  bench.jwks.want('worker-1', [A]);
  expect(bench.published).toHaveLength(2);
  bench.clock.advance(1_199_000);
  expect(bench.asked).toHaveLength(1);
  bench.clock.advance(1_000);
  expect(bench.asked).toHaveLength(2);
});

test('a failure is retried soon, then less and less often; the last keys stay in use; the log says it once', async () => {
  const bench = new Bench();
  bench.jwks.want('worker-0', [A]);
  await bench.answered('answered 503');
  expect(bench.published.at(-1)).toEqual([A.key, { keys: undefined, failure: 'answered 503' }]);
  bench.clock.advance(5_000);
  await bench.answered();
  bench.clock.advance(1_200_000);
  const waits: number[] = [];
  for (let i = 0; i < 11; i += 1) {
    await bench.answered('answered 503');
    const before = bench.asked.length;
    const fromMs = bench.clock.nowMs();
    while (bench.asked.length === before) bench.clock.advance(1_000);
    waits.push((bench.clock.nowMs() - fromMs) / 1_000);
  }
  expect(waits).toEqual([5, 10, 20, 40, 80, 160, 320, 640, 1_200, 1_200, 1_200]);
  expect(bench.published.at(-1)).toEqual([A.key, { keys: KEYS, failure: 'answered 503' }]);
  await bench.answered();
  expect(bench.logged.map((line) => line.split(' ')[0])).toEqual(['warn', 'info', 'warn', 'info']);
  expect(bench.logged.join()).not.toContain('secret');
});

test('an unknown key has them fetched at once, but no more often than every 30 s', async () => {
  const bench = new Bench();
  bench.jwks.want('worker-0', [A]);
  await bench.answered();
  bench.jwks.refresh(A.key);
  bench.jwks.refresh(A.key);
  expect(bench.asked).toHaveLength(2);
  await bench.answered();
  // Whoever asks too soon is told what is known, so that its requests do not wait in vain.
  bench.jwks.refresh(A.key);
  expect([bench.asked.length, bench.published.length]).toEqual([2, 3]);
  bench.clock.advance(30_000);
  bench.jwks.refresh(A.key);
  expect(bench.asked).toHaveLength(3);
  bench.jwks.refresh('https://never.heard.of');
  expect(bench.asked).toHaveLength(3);
});

test('a fetch that takes too long is given up', () => {
  const bench = new Bench();
  bench.jwks.want('worker-0', [A]);
  bench.clock.advance(4_999);
  expect(bench.asked[0]?.signal.aborted).toBe(false);
  bench.clock.advance(1);
  expect(bench.asked[0]?.signal.aborted).toBe(true);
});

test('what no worker needs any more is not fetched any more', async () => {
  const bench = new Bench();
  bench.jwks.want('worker-0', [A, B]);
  bench.jwks.want('worker-1', [B]);
  await bench.answered();
  bench.jwks.want('worker-0', []);
  expect(bench.asked.map(({ url, signal }) => [url, signal.aborted])).toEqual([[A.url, true], [B.url, false]]);
  bench.jwks.want('worker-1', []);
  await bench.answered();
  bench.clock.advance(10_000_000);
  expect([bench.asked.length, bench.clock.pending()]).toEqual([2, 0]);
});

test('at the end nothing is left', async () => {
  const bench = new Bench();
  bench.jwks.want('worker-0', [A]);
  bench.jwks.close();
  expect(bench.asked[0]?.signal.aborted).toBe(true);
  await bench.answered();
  expect(bench.published).toEqual([]);
});
