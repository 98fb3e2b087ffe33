/** Who writes the status of objects, when, and how often. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StatusWriter } from '../../src/control/status-writer.ts';
import type { StatusWish } from '../../src/control/status-writer.ts';
import { systemClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';
import { seededRandom, systemRandom } from '../../src/core/random.ts';
import { ApiSource } from '../../src/kube/api-source.ts';
import { ApiServer } from '../kube-api/api-server.ts';
import { RecordedLog } from '../certs/recorded-log.ts';

const NETWORKING = 'networking.istio.io/v1';
let server: ApiServer;
let source: ApiSource;
let leader: { leads: boolean };
let wanted: Record<string, string>;
let log: RecordedLog;
const closing: (() => unknown)[] = [];

beforeEach(async () => {
  server = new ApiServer();
  await server.start();
  server.install(NETWORKING, 'VirtualService');
  leader = { leads: true };
  wanted = {};
  log = new RecordedLog();
});

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  await server.stop();
});

function put(name: string, more: object = {}): void {
  server.put({ apiVersion: NETWORKING, kind: 'VirtualService', metadata: { name, namespace: 'shop' }, spec: { hosts: [name], http: [{ directResponse: { status: 204 } }] }, ...more });
}

const statusOf = (name: string): unknown => server.get('VirtualService', name, 'shop')?.['status'];
const writes = (): string[] => server.requests.filter((line) => line.startsWith('PATCH '));

async function start(): Promise<StatusWriter> {
  source = await ApiSource.open({ client: server.client(), node: undefined, savedPath: undefined, clock: systemClock, random: systemRandom, log: createLogger('test', 'silent') });
  const wishes = (): StatusWish[] => Object.entries(wanted).map(([name, word]) => ({ collection: `/apis/${NETWORKING}/virtualservices`, name: `VirtualService shop/${name}`, says: word, status: () => ({ word }) }));
  const writer = new StatusWriter({ client: server.client(), leader, wishes, find: (name) => source.find(name), clock: systemClock, random: seededRandom(1), log });
  source.touched.follow((name) => {
    if (name !== undefined) writer.touched(name);
  });
  writer.start();
  closing.push(() => writer.close(), () => source.close());
  return writer;
}

describe('the status of objects', () => {
  it('becomes what is wished for, once, with the writer\'s name; what others have written stays', async () => {
    put('a', { status: { others: 1 } });
    put('b', { status: { word: 'right' } });
    wanted = { a: 'right', b: 'right' };
    const writer = await start();
    await expect.poll(() => statusOf('a')).toEqual({ word: 'right', others: 1 });
    wanted = { ...wanted };
    writer.changed();
    wanted = { a: 'right', b: 'other' };
    writer.changed();
    await expect.poll(() => statusOf('b')).toEqual({ word: 'other' });
    expect(writes()).toEqual([
      `PATCH /apis/${NETWORKING}/namespaces/shop/virtualservices/a/status?fieldManager=orlop-control`,
      `PATCH /apis/${NETWORKING}/namespaces/shop/virtualservices/b/status?fieldManager=orlop-control`,
    ]);
    await expect.poll(() => writer.counts).toEqual({ written: 2, conflict: 0, failed: 0 });
  });

  it('is written by nobody but the leader, and whoever becomes it says what is left to say', async () => {
    leader.leads = false;
    put('a');
    wanted = { a: 'right' };
    const writer = await start();
    writer.changed();
    expect(writes()).toEqual([]);
    leader.leads = true;
    await expect.poll(() => statusOf('a'), { timeout: 5_000 }).toEqual({ word: 'right' });
  });

  it('is put right when somebody changes it', async () => {
    put('a');
    wanted = { a: 'right' };
    await start();
    await expect.poll(() => statusOf('a')).toEqual({ word: 'right' });
    put('a', { status: { word: 'wrong' } });
    await expect.poll(() => statusOf('a'), { timeout: 5_000 }).toEqual({ word: 'right' });
  });

  it('is written ever less often when somebody else wants another', async () => {
    put('a');
    wanted = { a: 'right' };
    const writer = await start();
    const rival = setInterval(() => put('a', { status: { word: 'wrong' } }), 5);
    await new Promise((resolve) => {
      setTimeout(resolve, 2_000);
    });
    clearInterval(rival);
    // 100 ms, 200, 400, 800, …, each between a half of it and the whole.
    expect(writer.counts.written + writer.counts.conflict).toBeLessThan(12);
  });

  it('follows wishes that change again and again as fast as the first time', async () => {
    put('a');
    const writer = await start();
    for (let i = 0; i < 9; i += 1) {
      const word = `right ${i}`;
      wanted = { a: word };
      writer.changed();
      // The ninth would otherwise have to wait 13 to 26 seconds.
      await expect.poll(() => statusOf('a'), { timeout: 5_000 }).toEqual({ word });
    }
  });

  it('takes a conflict for what it is: it is made anew for the object as it is now', async () => {
    put('a');
    wanted = { a: 'right' };
    let raced = false;
    server.intercept = (request) => {
      if (request.method !== 'PATCH' || raced) return undefined;
      raced = true;
      put('a', { status: { others: 1 } });
      return undefined;
    };
    const writer = await start();
    await expect.poll(() => statusOf('a'), { timeout: 5_000 }).toEqual({ word: 'right', others: 1 });
    expect(writer.counts.conflict).toBe(1);
    expect(log.lines.filter((line) => line.startsWith('error'))).toEqual([]);
  });

  it('of one that cannot be written keeps no other back, and is told of once', async () => {
    for (const name of ['a', 'b', 'c']) put(name);
    wanted = { a: 'right', b: 'right', c: 'right' };
    server.intercept = (request) => (request.method === 'PATCH' && request.url?.includes('/b/') === true ? { status: 403, body: { reason: 'Forbidden', message: 'not you' } } : undefined);
    const writer = await start();
    await expect.poll(() => [statusOf('a'), statusOf('c')]).toEqual([{ word: 'right' }, { word: 'right' }]);
    await expect.poll(() => log.lines.filter((line) => line.startsWith('error'))).toHaveLength(1);
    await expect.poll(() => writer.counts.failed, { timeout: 5_000 }).toBeGreaterThan(2);
    expect(log.lines.filter((line) => line.startsWith('error'))).toHaveLength(1);
    expect(log.text).toContain('not you');
    server.intercept = undefined;
    await expect.poll(() => statusOf('b'), { timeout: 10_000 }).toEqual({ word: 'right' });
  });

  it('of an object that has gone is nobody\'s business', async () => {
    wanted = { gone: 'right' };
    const writer = await start();
    put('a');
    wanted = { gone: 'right', a: 'right' };
    writer.changed();
    await expect.poll(() => statusOf('a'), { timeout: 5_000 }).toEqual({ word: 'right' });
    expect(writer.counts.failed).toBe(0);
  });

  it('is written at a rate that an API server bears', async () => {
    for (let i = 0; i < 130; i += 1) {
      put(`n${i}`);
      wanted[`n${i}`] = 'right';
    }
    const sinceMs = performance.now();
    const writer = await start();
    await expect.poll(() => writer.counts.written, { timeout: 20_000 }).toBe(130);
    // A burst of 100, then 50 a second.
    expect(performance.now() - sinceMs).toBeGreaterThan(500);
  });
});
