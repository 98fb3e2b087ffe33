/** What pods are told by annotation and event: once, the last word only, and never to another pod of the same name. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FakeClock, systemClock } from '../../src/core/clock.ts';
import type { Clock } from '../../src/core/clock.ts';
import { POD_STATUS_WRITES_BURST, POD_STATUS_WRITES_PER_SECOND } from '../../src/core/limits.ts';
import { createLogger } from '../../src/core/log.ts';
import { seededRandom } from '../../src/core/random.ts';
import { PodStatusWriter, STATUS_ANNOTATION } from '../../src/kube/pod-status.ts';
import type { PodStatus } from '../../src/kube/pod-status.ts';
import { ApiServer } from '../kube-api/api-server.ts';

const NODE = 'node-1';
let server: ApiServer;
let writer: PodStatusWriter;

beforeEach(async () => {
  server = new ApiServer();
  await server.start();
  for (const name of ['web', 'cart']) putPod(name);
});

afterEach(async () => {
  await writer.close(0);
  await server.stop();
});

function open(clock: Clock = systemClock): void {
  writer = new PodStatusWriter({ client: server.client(), node: NODE, clock, random: seededRandom(1), log: createLogger('test', 'silent') });
}

function putPod(name: string, options: { uid?: string; annotation?: string } = {}): void {
  const { uid = `uid-${name}`, annotation } = options;
  server.put({ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'shop', uid, annotations: { owner: 'team', ...(annotation === undefined ? {} : { [STATUS_ANNOTATION]: annotation }) } }, spec: { nodeName: NODE } });
}

/** The event tells what was said before. */
function status(name: string, annotation: string | undefined): [string, PodStatus] {
  return [`shop/${name}`, { uid: `uid-${name}`, annotation, eventAfter: (before = 'nothing') => ({ type: 'Normal', reason: 'Enrolled', message: `${before}, then ${annotation ?? 'nothing'}` }) }];
}

const set = (...statuses: [string, PodStatus][]): void => writer.set(new Map(statuses));
const annotationOf = (name: string): unknown => (server.get('Pod', name, 'shop')?.metadata['annotations'] as Record<string, unknown> | undefined)?.[STATUS_ANNOTATION];
const writes = (): string[] => server.requests.filter((line) => !line.startsWith('GET'));

const messages = (): unknown[] => server.all('Event').map(({ involvedObject, message }) => `${(involvedObject as { name: string }).name}: ${String(message)}`);

describe('the status of a pod', () => {
  it('is written as annotation and event, and not again while it is the same', async () => {
    open();
    set(status('web', 'a'), status('cart', undefined));
    await expect.poll(messages).toEqual(['web: nothing, then a']);
    expect(server.get('Pod', 'web', 'shop')?.metadata['annotations']).toEqual({ owner: 'team', [STATUS_ANNOTATION]: 'a' });
    expect(server.all('Event')[0]).toMatchObject({ type: 'Normal', reason: 'Enrolled', involvedObject: { kind: 'Pod', namespace: 'shop', name: 'web', uid: 'uid-web' }, source: { host: NODE }, reportingComponent: 'orlop.io/agent', reportingInstance: NODE });
    set(status('web', 'a'), status('cart', undefined));
    await writer.close(1000);
    expect(writes()).toEqual(['PATCH /api/v1/namespaces/shop/pods/web/status', 'POST /api/v1/namespaces/shop/events']);
  });

  it('that an earlier agent has written is not written again, and what nobody should say is taken away', async () => {
    putPod('web', { annotation: 'a' });
    putPod('cart', { annotation: 'invented' });
    open();
    set(status('web', 'a'), status('cart', undefined));
    await expect.poll(messages).toEqual(['cart: invented, then nothing']);
    expect([annotationOf('web'), annotationOf('cart')]).toEqual(['a', undefined]);
  });

  it('waits for a server that is away, and then only the last word is written', async () => {
    const clock = new FakeClock();
    open(clock);
    server.failing = 503;
    set(status('web', 'a'));
    await expect.poll(() => server.requests.length).toBeGreaterThan(0);
    set(status('web', 'b'));
    server.failing = undefined;
    await expect.poll(() => {
      clock.advance(1000);
      return messages();
    }).toEqual(['web: nothing, then b']);
    expect(annotationOf('web')).toBe('b');
  });

  it('of a pod that comes and goes is written once in a while, as it is then', async () => {
    const clock = new FakeClock();
    open(clock);
    set(status('web', 'a'));
    await expect.poll(messages).toHaveLength(1);
    for (const word of ['b', 'c', 'd']) set(status('web', word), status('cart', 'x'));
    await expect.poll(messages).toContain('cart: nothing, then x');
    expect(annotationOf('web')).toBe('a');
    clock.advance(5000);
    await expect.poll(messages).toContain('web: a, then d');
    expect(writes().filter((line) => line.includes('/web/'))).toHaveLength(2);
  });

  it('is for that pod, not for the next one of its name, and none of it keeps others from theirs', async () => {
    open();
    putPod('web', { uid: 'another' });
    set(status('web', 'a'), status('gone', 'a'), status('cart', 'a'));
    await expect.poll(messages).toEqual(['cart: nothing, then a']);
    expect(annotationOf('web')).toBeUndefined();
    await writer.close(1000);
    expect(writes().filter((line) => line.includes('/web/'))).toHaveLength(1);
  });

  it('is given up where it is refused: an agent without the right does not try for ever', async () => {
    server.intercept = (request) => (request.method === 'PATCH' ? { status: 403, body: { reason: 'Forbidden', message: 'no' } } : undefined);
    open();
    set(status('web', 'a'), status('cart', 'a'));
    await expect.poll(writes).toHaveLength(2);
    set(status('web', 'a'), status('cart', 'a'));
    await writer.close(1000);
    expect(writes()).toHaveLength(2);
  });

  it('of many pods is written at a bounded rate', async () => {
    const names = Array.from({ length: 60 }, (_, i) => `pod-${i}`);
    for (const name of names) putPod(name);
    const clock = new FakeClock();
    open(clock);
    const count = (): number => server.requests.length;
    set(...names.map((name) => status(name, 'a')));
    await expect.poll(count).toBe(POD_STATUS_WRITES_BURST);
    for (let second = 1; second <= 2; second += 1) {
      // In steps, as the next request is due only when the one before it is answered.
      for (let step = 0; step < POD_STATUS_WRITES_PER_SECOND; step += 1) {
        clock.advance(1000 / POD_STATUS_WRITES_PER_SECOND);
        await expect.poll(count).toBe(POD_STATUS_WRITES_BURST + (second - 1) * POD_STATUS_WRITES_PER_SECOND + step + 1);
      }
    }
    expect(writes().every((line) => line.startsWith('PATCH'))).toBe(true);
  });

  it('that is left at the end is written at once, however many', async () => {
    const names = Array.from({ length: 60 }, (_, i) => `pod-${i}`);
    for (const name of names) putPod(name, { annotation: 'a' });
    open(new FakeClock());
    set(...names.map((name) => status(name, undefined)));
    await writer.close(60_000);
    expect(names.map(annotationOf)).toEqual(names.map(() => undefined));
  });

  it('keeps nobody waiting at the end when the server is away', async () => {
    open();
    await server.stop();
    set(status('web', 'a'));
    await writer.close(50);
    await server.start();
    expect(annotationOf('web')).toBeUndefined();
  });
});
