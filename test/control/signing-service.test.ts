/** The bounds of the signing service, by a clock that is moved. */
import { Metadata, status } from '@grpc/grpc-js';
import type { sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';
import { beforeEach, describe, expect, it } from 'vitest';
import type { CertificateAuthority, SignedCertificate } from '../../src/certs/certificate-authority.ts';
import { IMPERSONATED_IDENTITY } from '../../src/certs/istio-ca-protocol.ts';
import type { CreateCertificateRequest, CreateCertificateResponse } from '../../src/certs/istio-ca-protocol.ts';
import { NodeIdentities } from '../../src/control/node-identities.ts';
import { SigningService } from '../../src/control/signing-service.ts';
import { FakeClock } from '../../src/core/clock.ts';
import { SIGNINGS_BURST, SIGNINGS_PER_SECOND, SIGNINGS_UNDER_WAY_MAX } from '../../src/core/limits.ts';
import { buildSnapshot } from '../../src/mesh/build.ts';
import { RecordedLog } from '../certs/recorded-log.ts';

const REVIEWS = 'spiffe://cluster.local/ns/bookinfo/sa/reviews';
const ANSWER: SignedCertificate = { chain: '', roots: 'roots' };

let clock: FakeClock;
let log: RecordedLog;
let ca: CertificateAuthority;
let service: SigningService;

beforeEach(() => {
  clock = new FakeClock();
  log = new RecordedLog();
  ca = { sign: async () => ANSWER };
  const identities = new NodeIdentities();
  const pods = ['node-1', 'node-2'].map((node) => ({ name: `${node}.yaml`, text: JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: node, namespace: 'bookinfo' }, spec: { serviceAccountName: 'reviews', nodeName: node }, status: { phase: 'Running', podIP: '10.0.0.1' } }) }));
  identities.apply(buildSnapshot(pods, undefined));
  // Here a token is the name of its node.
  service = new SigningService({ ca: { sign: (request) => ca.sign(request) }, authenticator: { authenticate: async (token) => token }, identities, clock, log });
});

/** The code of the answer. */
function call(node: string): Promise<status> {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${node}`);
  const request: CreateCertificateRequest = { csr: 'csr', validityDuration: 0, metadata: { fields: { [IMPERSONATED_IDENTITY]: { stringValue: REVIEWS } } } };
  return new Promise((resolve) => {
    const answer: sendUnaryData<CreateCertificateResponse> = (error) => resolve(error?.code ?? status.OK);
    service.createCertificate({ request, metadata } as ServerUnaryCall<CreateCertificateRequest, CreateCertificateResponse>, answer);
  });
}

describe('the signing service', () => {
  it('bounds how much one node may ask for, and leaves the others alone', async () => {
    for (let n = 0; n < SIGNINGS_BURST; n += 1) expect(await call('node-1')).toBe(status.OK);
    expect(await call('node-1')).toBe(status.RESOURCE_EXHAUSTED);
    expect(await call('node-2')).toBe(status.OK);
    clock.advance(1_000);
    for (let n = 0; n < SIGNINGS_PER_SECOND; n += 1) expect(await call('node-1')).toBe(status.OK);
    expect(await call('node-1')).toBe(status.RESOURCE_EXHAUSTED);
    expect(service.refused.too_many).toBe(2);
  });

  it('bounds how much is under way', async () => {
    const answers: (() => void)[] = [];
    ca = { sign: () => new Promise((resolve) => { answers.push(() => resolve(ANSWER)); }) };
    const calls = Array.from({ length: SIGNINGS_UNDER_WAY_MAX }, () => call('node-1'));
    await expect.poll(() => answers.length).toBe(SIGNINGS_UNDER_WAY_MAX);
    expect(await call('node-2')).toBe(status.RESOURCE_EXHAUSTED);
    for (const answer of answers) answer();
    expect(new Set(await Promise.all(calls))).toEqual(new Set([status.OK]));
    ca = { sign: async () => ANSWER };
    expect(await call('node-2')).toBe(status.OK);
  });

  it('says that the CA failed, and logs why', async () => {
    ca = { sign: async () => { throw new Error('the certificate of the CA expired'); } };
    expect(await call('node-1')).toBe(status.INTERNAL);
    expect(log.text).toContain('the certificate of the CA expired');
    expect(service.refused.failed).toBe(1);
  });
});
