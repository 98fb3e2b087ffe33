/** The webhook as API servers meet it: over TLS, with reviews, and with whatever else arrives at its port. */
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Authority } from '../../src/certs/authority.ts';
import { MemoryCaStore } from '../../src/certs/ca-state.ts';
import { caBundle } from '../../src/control/ca-bundle.ts';
import { ServerCertificate } from '../../src/control/server-certificate.ts';
import { Webhook } from '../../src/control/webhook.ts';
import type { WebhookOptions } from '../../src/control/webhook.ts';
import { FakeClock, systemClock } from '../../src/core/clock.ts';
import { ADMISSION_REQUEST_BYTES_MAX } from '../../src/core/limits.ts';
import { admit } from '../../src/mesh/admission.ts';
import { RecordedLog } from '../certs/recorded-log.ts';
import { ApiServer } from '../kube-api/api-server.ts';

const NAME = 'orlop-control.orlop-system.svc';
const HOUR_MS = 3_600_000;

let ca: Authority;
let certificate: ServerCertificate;
let webhook: Webhook;
let log: RecordedLog;
let judge: WebhookOptions['judge'];

beforeEach(async () => {
  log = new RecordedLog();
  judge = (object, stored) => admit(object, stored, undefined);
  ca = await Authority.open({ trustDomain: 'cluster.local', lifetimes: { leafMs: HOUR_MS, intermediateMs: 24 * HOUR_MS, rootMs: 240 * HOUR_MS }, keys: { store: new MemoryCaStore() }, clock: systemClock, log });
  certificate = new ServerCertificate(ca, { dns: [NAME], addresses: [] }, { clock: systemClock, log });
  await certificate.renew();
  webhook = await Webhook.serve({ judge: (object, stored) => judge(object, stored), certificate, log }, { address: '127.0.0.1', port: 0 });
});

afterEach(async () => {
  await webhook.close();
  certificate.close();
  await ca.close();
});

interface Asked {
  readonly path?: string;
  readonly method?: string;
  readonly type?: string;
}

async function ask(body: string, { path = '/validate', method = 'POST', type = 'application/json' }: Asked = {}): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    // API servers check the name of the Service.
    const request = httpsRequest({ host: '127.0.0.1', port: webhook.port, servername: NAME, ca: ca.roots.get(), path, method, headers: { 'content-type': type, 'content-length': Buffer.byteLength(body) } }, (response) => {
      let text = '';
      response.on('data', (data: Buffer) => { text += data.toString(); });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

const rule = (spec: unknown): object => ({ apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata: { name: 'web', namespace: 'shop' }, spec });
const WELL = rule({ hosts: ['web'], http: [{ directResponse: { status: 204 } }] });
const ILL = rule({ hosts: ['web'], http: [{ timout: '5s', directResponse: { status: 204 } }] });

function review(request: object): string {
  return JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request: { uid: 'the-uid', ...request } });
}

async function verdict(request: object): Promise<unknown> {
  const { status, body } = await ask(review(request));
  expect(status, body).toBe(200);
  return JSON.parse(body);
}

const said = (response: object): object => ({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: { uid: 'the-uid', ...response } });

describe('a review', () => {
  it('is answered with its own number, and lets a good object be stored', async () => {
    expect(await verdict({ operation: 'CREATE', object: WELL })).toEqual(said({ allowed: true }));
    expect(webhook.counts).toEqual({ allowed: 1, refused: 0, failed: 0 });
  });

  it('of a bad object says what is wrong with it', async () => {
    const message = 'VirtualService shop/web: error [IST0106] spec.http[0].timout: unknown field "timout" → did you mean "timeout"?';
    expect(await verdict({ operation: 'CREATE', object: ILL })).toEqual(said({ allowed: false, status: { code: 422, reason: 'Invalid', message } }));
    expect(await verdict({ operation: 'UPDATE', object: ILL, oldObject: WELL })).toMatchObject({ response: { allowed: false } });
    expect(webhook.counts).toEqual({ allowed: 0, refused: 2, failed: 0 });
  });

  it('of an object that is stored as it is lets it be', async () => {
    expect(await verdict({ operation: 'UPDATE', object: { ...ILL, metadata: { name: 'web', namespace: 'shop', labels: { a: 'b' } } }, oldObject: ILL })).toMatchObject({ response: { allowed: true, warnings: [expect.stringContaining('did you mean "timeout"?')] } });
  });

  it('of a very bad object has an answer of bounded size', async () => {
    const http = Array.from({ length: 1_000 }, () => ({ ['x'.repeat(2_000)]: 1, directResponse: { status: 204 } }));
    const refused = (await verdict({ operation: 'CREATE', object: rule({ hosts: ['web'], http }) })) as { response: { status: { message: string } } };
    expect(refused.response.status.message.split('\n').at(-1)).toBe('and more');
    expect(refused.response.status.message.length).toBeLessThan(17 * 1025);
    const warned = (await verdict({ operation: 'UPDATE', object: rule({ hosts: ['web'], http }), oldObject: rule({ hosts: ['web'], http }) })) as { response: { warnings: string[] } };
    expect(warned.response.warnings).toHaveLength(17);
    for (const warning of warned.response.warnings) expect(warning.length).toBeLessThanOrEqual(256);
  });
});

describe('what is no review', () => {
  it.each([
    ['no JSON', '{', 'the body is no JSON'],
    ['nothing', '', 'the body is no JSON'],
    ['of another version', JSON.stringify({ apiVersion: 'admission.k8s.io/v1beta1', kind: 'AdmissionReview' }), 'expected an AdmissionReview of admission.k8s.io/v1'],
    ['another object', '[1]', 'expected an AdmissionReview of admission.k8s.io/v1'],
    ['without a number', review({ uid: 1, operation: 'CREATE', object: WELL }), 'request.uid is missing'],
    ['of another operation', review({ operation: 'DELETE', object: WELL }), 'request.operation is neither CREATE nor UPDATE, and nothing else is judged here'],
    ['without an object', review({ operation: 'CREATE', object: null }), 'request.object is missing'],
    ['without what is stored', review({ operation: 'UPDATE', object: WELL }), 'request.oldObject is missing'],
  ])('%s is refused with a sentence', async (_, body, sentence) => {
    expect(await ask(body)).toEqual({ status: 400, body: `${sentence}\n` });
    expect(webhook.counts.failed).toBe(1);
  });

  it('another path, method or type is refused before anything is read', async () => {
    expect((await ask('{}', { path: '/' })).status).toBe(404);
    expect((await ask('', { method: 'GET' })).status).toBe(405);
    expect((await ask('{}', { type: 'text/plain' })).status).toBe(415);
  });

  it('more than a review may have is not read to its end', async () => {
    expect(await ask('x'.repeat(ADMISSION_REQUEST_BYTES_MAX + 1)).catch((error: NodeJS.ErrnoException) => error.code)).toSatisfy((answer: unknown) =>
      // The answer may come while the rest is still being written.
      answer === 'EPIPE' || answer === 'ECONNRESET' || (answer as { status: number }).status === 413);
    expect(await verdict({ operation: 'CREATE', object: WELL })).toMatchObject({ response: { allowed: true } });
  });

  it('nesting without end, or a fault of ours, costs one answer', async () => {
    const deep = rule(undefined);
    const body = review({ operation: 'CREATE', object: deep }).replace('"namespace":"shop"}', `"namespace":"shop"},"spec":${'['.repeat(200_000)}${']'.repeat(200_000)}`);
    expect([200, 500]).toContain((await ask(body)).status);
    judge = () => { throw new Error('a fault'); };
    expect(await ask(review({ operation: 'CREATE', object: WELL }))).toEqual({ status: 500, body: 'a fault\n' });
    expect(log.lines).toContainEqual(expect.stringContaining('the API server stores it unjudged'));
    judge = (object, stored) => admit(object, stored, undefined);
    expect(await verdict({ operation: 'CREATE', object: WELL })).toMatchObject({ response: { allowed: true } });
  });
});

describe('its certificate', () => {
  it('is renewed under the connections that come next', async () => {
    const serial = async (): Promise<string> => new Promise((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port: webhook.port, servername: NAME, ca: ca.roots.get() }, () => {
        resolve(socket.getPeerCertificate().serialNumber);
        socket.destroy();
      });
      socket.on('error', reject);
    });
    const before = await serial();
    await certificate.renew();
    expect(await serial()).not.toBe(before);
  });

  it('is known by roots that the leader keeps in the configuration, beside what others wrote there', async () => {
    const server = new ApiServer();
    await server.start();
    const leader = { leads: false };
    const clock = new FakeClock();
    const others = { name: 'validate.orlop.io', clientConfig: { service: { name: 'orlop-control' } }, failurePolicy: 'Ignore' };
    const bundle = caBundle({ client: server.client(), name: 'orlop-control', leader, roots: () => ca.roots.get(), clock, log });
    const present = (): unknown => server.get('ValidatingWebhookConfiguration', 'orlop-control')?.['webhooks'];
    const expected = (): unknown => [{ ...others, clientConfig: { ...others.clientConfig, caBundle: Buffer.from(ca.roots.get()).toString('base64') } }];
    try {
      // Without the object nobody wants the webhook.
      leader.leads = true;
      await bundle.start();
      server.put({ apiVersion: 'admissionregistration.k8s.io/v1', kind: 'ValidatingWebhookConfiguration', metadata: { name: 'orlop-control' }, webhooks: [others] });
      leader.leads = false;
      await bundle.soon();
      expect(present()).toEqual([others]);
      leader.leads = true;
      await bundle.soon();
      expect(present()).toEqual(expected());
      await ca.rotate('root');
      await bundle.soon();
      expect(ca.roots.get().match(/BEGIN/g)).toHaveLength(2);
      expect(present()).toEqual(expected());
      expect(log.lines.filter((line) => line.startsWith('error'))).toEqual([]);
    } finally {
      bundle.close();
      await server.stop();
    }
  });
});
