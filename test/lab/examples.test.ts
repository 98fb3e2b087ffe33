/** The examples of lab/examples, each with traffic: what a user would see who applies the file to running pods. */
import { readFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Lab } from '../../src/lab/lab.ts';
import { agentsUpToDate, scrapeAll, total } from '../../src/lab/mesh-view.ts';
import { echoService, labOf, shell, within } from './topology.ts';

const EXAMPLES = joinPath(import.meta.dirname, '../../lab/examples');

interface Counts {
  readonly statuses: Record<string, number>;
  readonly versions: Record<string, number>;
  readonly pods: Record<string, number>;
  readonly errors: Record<string, number>;
  readonly latencyMs: { readonly p50: number; readonly max: number };
}

const TOPOLOGY = [
  labOf('examples', ['ex1', 'ex2']),
  echoService('reviews', [{ version: 'v1', node: 'ex1' }, { version: 'v2', node: 'ex2', replicas: 2 }, { version: 'v3', node: 'ex2' }]),
  echoService('ratings', [{ version: 'v1', node: 'ex2' }]),
  echoService('httpbin', [{ version: 'v1', node: 'ex1' }, { version: 'v2', node: 'ex2' }]),
  echoService('gapp-b', [{ version: 'base', node: 'ex1', labels: { lane: 'base' } }, { version: 'lane-1', node: 'ex2', labels: { lane: 'lane-1' } }]),
  // A destination outside the registry until a ServiceEntry names it.
  echoService('stranger', [{ version: 'outside', node: 'ex2' }]),
  shell('client', { app: 'client', version: 'v1' }, 'ex1'),
  // For the policy of example 21: the one who may read reviews, by its service account; and somebody without an identity.
  shell('front', { app: 'productpage' }, 'ex1').replace('"spec":{', '"spec":{"serviceAccountName":"productpage",'),
  shell('visitor', { app: 'visitor' }, 'ex2', { 'orlop.io/mesh': 'disabled' }),
].join('');

let lab: Lab;
const applied: string[] = [];

beforeAll(async () => {
  lab = await Lab.up([], { sources: [{ file: 'examples topology', text: TOPOLOGY }] });
  await agentsUpToDate(lab);
}, 120_000);

afterAll(async () => {
  await lab?.down();
});

afterEach(async () => {
  for (const yaml of applied.splice(0)) await lab.delete(yaml);
  await agentsUpToDate(lab);
});

/** Put objects in force, until the end of the test. */
async function apply(...sources: readonly string[]): Promise<void> {
  for (const source of sources) {
    const yaml = source.endsWith('.yaml') ? readFileSync(joinPath(EXAMPLES, source), 'utf8') : source;
    await lab.apply(yaml);
    applied.push(yaml);
  }
  await agentsUpToDate(lab);
}

function subsets(host: string, labels: Readonly<Record<string, Readonly<Record<string, string>>>>, policy: object = {}): string {
  return JSON.stringify({
    apiVersion: 'networking.istio.io/v1', kind: 'DestinationRule', metadata: { name: `${host}-subsets` },
    spec: { host, subsets: Object.entries(labels).map(([name, own]) => ({ name, labels: own })), ...policy },
  });
}

const RATINGS_V1 = subsets('ratings', { v1: { version: 'v1' } });

async function load(url: string, requests: number, options: { from?: string; headers?: readonly string[]; concurrency?: number; keepAlive?: boolean } = {}): Promise<Counts> {
  const { from = 'client', headers = [], concurrency = 4, keepAlive = true } = options;
  const argv = ['node', 'lab/apps/load.ts', url, '-n', String(requests), '-c', String(concurrency), '--json', ...headers.flatMap((header) => ['-H', header])];
  if (!keepAlive) argv.push('--no-keepalive');
  const { stdout, stderr, code } = await lab.exec(from, argv);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as Counts;
}

/** One request, with what curl prints of it. */
async function curl(url: string, ...options: readonly string[]): Promise<{ status: number; seconds: number; body: string }> {
  return curlFrom('client', url, ...options);
}

async function curlFrom(pod: string, url: string, ...options: readonly string[]): Promise<{ status: number; seconds: number; body: string }> {
  const { stdout } = await lab.exec(pod, ['curl', '-s', '-m', '30', '-w', '\n%{http_code} %{time_total}', ...options, url]);
  const lines = stdout.split('\n');
  const [status = '', seconds = ''] = (lines.pop() ?? '').split(' ');
  return { status: Number(status), seconds: Number(seconds), body: lines.join('\n') };
}

async function requestsWith(labels: Readonly<Record<string, string>>): Promise<number> {
  return total(await scrapeAll(lab), 'istio_requests_total', labels);
}

const REVIEWS = 'http://reviews:8080/';
const RATINGS = 'http://ratings:8080/';

describe('routing', () => {
  it('01: everything to subset v1', async () => {
    await apply('02-subsets-random.yaml', '01-route-to-subset.yaml');
    expect((await load(REVIEWS, 60)).versions).toEqual({ v1: 60 });
  });

  it('02: RANDOM spreads over all endpoints', async () => {
    await apply('02-subsets-random.yaml');
    const { pods } = await load(REVIEWS, 400);
    expect(Object.keys(pods)).toHaveLength(4);
    for (const count of Object.values(pods)) expect(within(count, 400, 0.25)).toMatchObject({ ok: true });
  });

  it('03: 75 to 25', async () => {
    await apply('02-subsets-random.yaml', '03-split-75-25.yaml');
    const { versions } = await load(REVIEWS, 400);
    expect((versions['v1'] ?? 0) + (versions['v2'] ?? 0)).toBe(400);
    expect(within(versions['v2'] ?? 0, 400, 0.25)).toMatchObject({ ok: true });
  });

  it('09: a subset has a balancer of its own', async () => {
    await apply('09-subset-policies.yaml', JSON.stringify({ apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata: { name: 'reviews' }, spec: { hosts: ['reviews'], http: [{ route: [{ destination: { host: 'reviews', subset: 'v2' } }] }] } }));
    // ROUND_ROBIN over two endpoints is exactly even.
    expect(Object.values((await load(REVIEWS, 40, { concurrency: 1 })).pods)).toEqual([20, 20]);
  });

  it('18: by a header of the user', async () => {
    await apply('02-subsets-random.yaml', '18-by-user.yaml');
    expect((await load(REVIEWS, 30, { headers: ['end-user: jason'] })).versions).toEqual({ v2: 30 });
    expect((await load(REVIEWS, 30, { headers: ['end-user: mary'] })).versions).toEqual({ v1: 30 });
    expect((await load(REVIEWS, 30)).versions).toEqual({ v1: 30 });
  });

  it('19: a host that is no service, by its Host header', async () => {
    await apply('02-subsets-random.yaml', '19-retry-and-split.yaml');
    const { versions } = await load(REVIEWS, 400, { headers: ['Host: reviews.bookinfo.com'] });
    expect((versions['v1'] ?? 0) + (versions['v2'] ?? 0)).toBe(400);
    expect(within(versions['v2'] ?? 0, 400, 0.25)).toMatchObject({ ok: true });
  });

  it('20: lanes', async () => {
    await apply('20-lanes.yaml', subsets('gapp-b', { base: { lane: 'base' }, 'lane-1': { lane: 'lane-1' } }));
    expect((await load('http://gapp-b:8080/', 20, { headers: ['x-lane-id: lane-1'] })).versions).toEqual({ 'lane-1': 20 });
    expect((await load('http://gapp-b:8080/', 20)).versions).toEqual({ base: 20 });
  });
});

describe('time and failure', () => {
  it('04: a timeout of 10 s, and nothing shorter', async () => {
    await apply(RATINGS_V1, '04-timeout.yaml');
    const [slow, fine] = await Promise.all([curl(`${RATINGS}?delay=11500`), curl(`${RATINGS}?delay=1500`)]);
    expect(slow.status).toBe(504);
    expect(slow.seconds).toBeGreaterThanOrEqual(10);
    expect(slow.seconds).toBeLessThan(11.5);
    expect(fine.status).toBe(200);
    expect(await requestsWith({ response_flags: 'UT', response_code: '504' })).toBeGreaterThanOrEqual(1);
  });

  it('05: a try has 2 s', async () => {
    await apply(RATINGS_V1, '05-retries.yaml');
    const slow = await curl(`${RATINGS}?delay=3500`);
    expect(slow.status).toBe(504);
    expect(slow.seconds).toBeGreaterThanOrEqual(2);
    expect(slow.seconds).toBeLessThan(3.4);
    expect((await curl(RATINGS)).status).toBe(200);
  });

  it('06: one request in ten waits 5 s', async () => {
    await apply(RATINGS_V1, '06-fault-delay.yaml');
    const before = await requestsWith({ response_flags: 'DI', reporter: 'source' });
    const { statuses, latencyMs } = await load(RATINGS, 200, { concurrency: 50 });
    expect(statuses).toEqual({ 200: 200 });
    expect(latencyMs.max).toBeGreaterThanOrEqual(5000);
    expect(latencyMs.p50).toBeLessThan(5000);
    expect(within((await requestsWith({ response_flags: 'DI', reporter: 'source' })) - before, 200, 0.1)).toMatchObject({ ok: true });
  });

  it('07: one request in ten is answered 400 by the mesh', async () => {
    await apply(RATINGS_V1, '07-fault-abort.yaml');
    const before = await requestsWith({ response_flags: 'FI', reporter: 'source' });
    const { statuses } = await load(RATINGS, 400);
    const aborted = statuses['400'] ?? 0;
    expect(within(aborted, 400, 0.1)).toMatchObject({ ok: true });
    expect((await requestsWith({ response_flags: 'FI', reporter: 'source' })) - before).toBe(aborted);
  });

  it('08: only for requests of reviews v2', async () => {
    await apply(RATINGS_V1, '08-fault-by-source.yaml');
    const others = await load(RATINGS, 40);
    expect(others.statuses).toEqual({ 200: 40 });
    expect(others.latencyMs.max).toBeLessThan(4000);
    const { statuses, latencyMs } = await load(RATINGS, 200, { from: 'reviews-v2', concurrency: 100 });
    expect(latencyMs.p50).toBeGreaterThanOrEqual(5000);
    expect(within(statuses['400'] ?? 0, 200, 0.1)).toMatchObject({ ok: true });
  });

  it('10: at most 100 connections to subset v1; the rest waits its turn', async () => {
    await apply('10-circuit-breaker.yaml', '01-route-to-subset.yaml');
    const { statuses, latencyMs } = await load(`${REVIEWS}?delay=1500`, 130, { concurrency: 130 });
    expect(statuses).toEqual({ 200: 130 });
    expect(latencyMs.max).toBeGreaterThanOrEqual(3000);
  });

  it('11: a timeout for a host outside the mesh', async () => {
    const pod = await lab.pod('stranger-outside');
    await apply('11-external-timeout.yaml', JSON.stringify({
      apiVersion: 'networking.istio.io/v1', kind: 'ServiceEntry', metadata: { name: 'bar' },
      spec: { hosts: ['bar.foo.com'], ports: [{ number: 8080, name: 'http', protocol: 'HTTP' }], resolution: 'STATIC', endpoints: [{ address: pod.address.ipv4 }] },
    }));
    const through = ['--connect-to', `bar.foo.com:8080:${pod.address.ipv4}:8080`];
    const [slow, fine] = await Promise.all([curl('http://bar.foo.com:8080/?delay=11500', ...through), curl('http://bar.foo.com:8080/', ...through)]);
    expect(fine.status).toBe(200);
    expect(slow.status).toBe(504);
    expect(slow.seconds).toBeGreaterThanOrEqual(10);
  });

  it('17: an endpoint is ejected after its seventh error, and not before', async () => {
    await apply('17-outlier-15m.yaml');
    const statuses: number[] = [];
    for (let i = 0; i < 12; i += 1) statuses.push((await curl(`${RATINGS}?status=500`)).status);
    expect(statuses).toEqual([500, 500, 500, 500, 500, 500, 500, 503, 503, 503, 503, 503]);
    expect(await requestsWith({ response_flags: 'UH', reporter: 'source' })).toBeGreaterThanOrEqual(5);
  });
});

describe('copies and the outside', () => {
  it('14: every request is mirrored to v2, and only v1 answers', async () => {
    await apply('14-mirror.yaml', subsets('httpbin', { v1: { version: 'v1' }, v2: { version: 'v2' } }));
    const mirrored = { reporter: 'destination', destination_workload: 'httpbin-v2' };
    const before = await requestsWith(mirrored);
    expect((await load('http://httpbin:8080/', 50)).versions).toEqual({ v1: 50 });
    await expect.poll(async () => (await requestsWith(mirrored)) - before, { timeout: 5000 }).toBe(50);
  });

  it('16: a TLS host found by its server name, though outboundTrafficPolicy allows the registry only', async () => {
    const pod = await lab.pod('stranger-outside');
    const meshConfig = JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'istio', namespace: 'istio-system' }, data: { mesh: 'outboundTrafficPolicy: {mode: REGISTRY_ONLY}' } });
    await apply(meshConfig);
    // No TLS server needs to answer: whether the connection is let through at all is seen in its counter.
    const opened = { reporter: 'source', destination_service: 'www.example.com' };
    await curl('https://www.example.com/', '-k', '--connect-to', `www.example.com:443:${pod.address.ipv4}:443`);
    expect(total(await scrapeAll(lab), 'istio_tcp_connections_opened_total', opened)).toBe(0);
    await apply('16-service-entry-dns.yaml');
    await curl('https://www.example.com/', '-k', '--connect-to', `www.example.com:443:${pod.address.ipv4}:443`);
    await expect.poll(async () => total(await scrapeAll(lab), 'istio_tcp_connections_opened_total', opened), { timeout: 12_000 }).toBe(1);
  });
});

describe('a pod', () => {
  it.each(['-4', '-6'])('reaches itself and its twin on the other node through their Service (%s)', async (family) => {
    const answers = new Set<string>();
    for (let i = 0; i < 16; i += 1) {
      const { status, body } = await curlFrom('httpbin-v1', 'http://httpbin:8080/', family, '-m', '5');
      answers.add(`${status} ${(JSON.parse(body) as { version: string }).version}`);
    }
    expect([...answers].sort()).toEqual(['200 v1', '200 v2']);
  });
});

describe('who may call whom', () => {
  it('21: STRICT, and reviews may be read by productpage alone', async () => {
    // The example is of the namespace bookinfo; here everything is in another.
    await apply(readFileSync(joinPath(EXAMPLES, '21-security.yaml'), 'utf8').replaceAll('bookinfo', 'default'));
    // Both nodes, several times: pods beside the client and pods behind a tunnel decide alike.
    const asked = async (pod: string, ...options: readonly string[]): Promise<number[]> => {
      const statuses = new Set<number>();
      for (let i = 0; i < 6; i += 1) statuses.add((await curlFrom(pod, REVIEWS, ...options)).status);
      return [...statuses];
    };
    expect(await asked('front')).toEqual([200]);
    expect(await asked('front', '-X', 'POST')).toEqual([403]);
    expect(await asked('front', '-H', 'x-env: forbidden')).toEqual([403]);
    expect(await asked('client')).toEqual([403]);
    expect((await curlFrom('client', RATINGS)).status).toBe(200);
    // No mutual TLS: reset before a byte is read.
    expect(await asked('visitor')).toEqual([0]);
    const principals = { source_principal: 'spiffe://cluster.local/ns/default/sa/productpage', destination_principal: 'spiffe://cluster.local/ns/default/sa/default', connection_security_policy: 'mutual_tls' };
    expect(await requestsWith({ reporter: 'destination', response_code: '200', ...principals })).toBeGreaterThanOrEqual(6);
  });
});
