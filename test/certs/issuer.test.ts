import { X509Certificate } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Authority } from '../../src/certs/authority.ts';
import { MemoryCaStore } from '../../src/certs/ca-state.ts';
import type { CertificateAuthority, SignedCertificate, SigningRequest } from '../../src/certs/certificate-authority.ts';
import type { WorkloadCertificate } from '../../src/certs/certificate.ts';
import { Issuer } from '../../src/certs/issuer.ts';
import { splitCertificates } from '../../src/certs/pem.ts';
import { CERTIFICATE_REQUESTS_MAX } from '../../src/core/limits.ts';
import { FakeClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';
import { seededRandom } from '../../src/core/random.ts';
import { RecordedLog } from './recorded-log.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const REVIEWS = 'spiffe://cluster.local/ns/bookinfo/sa/reviews';
const RATINGS = 'spiffe://cluster.local/ns/bookinfo/sa/ratings';

/** A CA that can be away, and whose answers can be held back. */
class Switchable implements CertificateAuthority {
  readonly #ca: CertificateAuthority;
  away = false;
  requests = 0;
  atOnce = 0;
  mostAtOnce = 0;
  answer: (answer: SignedCertificate, request: SigningRequest) => SignedCertificate | Promise<SignedCertificate> = (answer) => answer;

  constructor(ca: CertificateAuthority) {
    this.#ca = ca;
  }

  async sign(request: SigningRequest): Promise<SignedCertificate> {
    this.requests += 1;
    this.atOnce += 1;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.atOnce);
    try {
      if (this.away) throw new Error('connection refused');
      return await this.answer(await this.#ca.sign(request), request);
    } finally {
      this.atOnce -= 1;
    }
  }
}

let clock: FakeClock;
let authority: Authority;
let ca: Switchable;
let log: RecordedLog;
let issuer: Issuer;
let followed: WorkloadCertificate[];

beforeEach(async () => {
  clock = new FakeClock();
  const lifetimes = { leafMs: DAY, intermediateMs: 365 * DAY, rootMs: 3650 * DAY };
  authority = await Authority.open({ trustDomain: 'cluster.local', lifetimes, keys: { store: new MemoryCaStore() }, clock, log: createLogger('test', 'silent') });
  ca = new Switchable(authority);
  log = new RecordedLog();
  issuer = new Issuer({ ca, clock, random: seededRandom(1), log, lifetimeMs: DAY });
  followed = [];
  issuer.follow((certificate) => followed.push(certificate));
});

afterEach(async () => {
  issuer.close();
  await authority.close();
});

/** As soon as it holds; what is awaited here takes milliseconds. */
function until<T>(holds: () => T): Promise<T> {
  return vi.waitFor(holds, { interval: 1, timeout: 5_000 });
}

function held(identity: string): Promise<WorkloadCertificate> {
  return until(() => {
    const certificate = issuer.get(identity);
    if (certificate === undefined) throw new Error('none yet');
    return certificate;
  });
}

/** Let time pass, and whatever it sets off be answered. */
async function pass(ms: number, stepMs = ms): Promise<void> {
  for (let done = 0; done < ms; done += stepMs) {
    const before = ca.requests;
    clock.advance(Math.min(stepMs, ms - done));
    await until(() => {
      if (issuer.states().some(({ nextMs }) => nextMs <= clock.wallMs())) throw new Error('requests are under way');
    });
    if (ca.requests !== before) await authority.settle();
  }
}

describe('an issuer', () => {
  it('obtains a certificate when the first pod comes, keeps it for all, and forgets it with the last', async () => {
    issuer.want(REVIEWS);
    issuer.want(REVIEWS);
    const certificate = await held(REVIEWS);
    expect(new X509Certificate(certificate.chain).subjectAltName).toBe(`URI:${REVIEWS}`);
    expect(certificate.serial).toBe(new X509Certificate(certificate.chain).serialNumber.toLowerCase());
    expect(certificate.notAfterMs).toBe(clock.wallMs() + DAY);
    expect(followed).toEqual([certificate]);
    expect(ca.requests).toBe(1);

    issuer.release(REVIEWS);
    expect(issuer.get(REVIEWS)).toBe(certificate);
    issuer.release(REVIEWS);
    expect(issuer.get(REVIEWS)).toBeUndefined();
    expect(issuer.states()).toEqual([]);
    clock.advance(DAY);
    expect(ca.requests).toBe(1);
  });

  it('renews at about half of the life, with a new key', async () => {
    issuer.want(REVIEWS);
    const first = await held(REVIEWS);
    await pass(10.7 * HOUR);
    expect(issuer.get(REVIEWS)).toBe(first);
    await pass(2.6 * HOUR);
    const second = issuer.get(REVIEWS);
    expect(second?.serial).not.toBe(first.serial);
    expect(second?.key).not.toBe(first.key);
    expect(followed).toEqual([first, second]);
    expect(log.lines).toEqual([]);
  });

  it('renews certificates of a year at half of it too, and no more often', async () => {
    await authority.close();
    authority = await Authority.open({ trustDomain: 'cluster.local', lifetimes: { leafMs: 365 * DAY, intermediateMs: 1500 * DAY, rootMs: 3650 * DAY }, keys: { store: new MemoryCaStore() }, clock, log });
    ca = new Switchable(authority);
    issuer = new Issuer({ ca, clock, random: seededRandom(1), log, lifetimeMs: 365 * DAY });
    issuer.want(REVIEWS);
    await held(REVIEWS);
    // Timers of the event loop take no more than this; a longer wait would be over at once.
    const longest = 2 ** 31 - 1;
    const after = vi.spyOn(clock, 'after');
    await pass(160 * DAY);
    expect(ca.requests).toBe(1);
    await pass(45 * DAY);
    expect(ca.requests).toBe(2);
    expect(Math.max(...after.mock.calls.map(([delayMs]) => delayMs))).toBeLessThanOrEqual(longest);
  });

  it('spreads the renewals of many identities', async () => {
    const identities = Array.from({ length: 40 }, (_, n) => `spiffe://cluster.local/ns/n/sa/s${n}`);
    for (const identity of identities) issuer.want(identity);
    await Promise.all(identities.map(held));
    const due = issuer.states().map(({ nextMs }) => (nextMs - clock.wallMs()) / DAY);
    expect(Math.min(...due)).toBeGreaterThanOrEqual(0.45);
    expect(Math.max(...due)).toBeLessThanOrEqual(0.55);
    expect(new Set(due.map((part) => part.toFixed(3))).size).toBeGreaterThan(20);
    expect(ca.mostAtOnce).toBeLessThanOrEqual(CERTIFICATE_REQUESTS_MAX);
  });

  it('serves the old certificate while the CA is away, says so, and says when it is back', async () => {
    issuer.want(REVIEWS);
    const first = await held(REVIEWS);
    ca.away = true;
    await pass(14 * HOUR, HOUR / 4);
    expect(issuer.get(REVIEWS)).toBe(first);
    expect(issuer.states()[0]).toMatchObject({ identity: REVIEWS, state: 'stale', lastError: 'connection refused' });
    expect(log.lines).toEqual(['warn the certificate could not be renewed; the old one is served until 2026-01-02T00:00:00.000Z']);
    await pass(8 * HOUR, HOUR / 4);
    expect(log.lines.filter((line) => line.startsWith('warn'))).toHaveLength(3);
    ca.away = false;
    await pass(HOUR / 4);
    expect(issuer.get(REVIEWS)?.serial).not.toBe(first.serial);
    expect(log.lines.at(-1)).toBe('info certificate obtained after failures');
    expect(issuer.states()[0]).toMatchObject({ state: 'valid', lastError: '' });
  });

  it('hands out no certificate that has expired, and one error line says that it has', async () => {
    issuer.want(REVIEWS);
    await held(REVIEWS);
    ca.away = true;
    await pass(30 * HOUR, HOUR / 4);
    expect(issuer.get(REVIEWS)).toBeUndefined();
    expect(issuer.states()[0]?.state).toBe('expired');
    expect(log.lines.filter((line) => line.startsWith('error'))).toEqual(['error the certificate could not be renewed, and has expired']);
    ca.away = false;
    await pass(HOUR);
    expect(issuer.get(REVIEWS)).toBeDefined();
  });

  it('tries again at once in the beginning, then less and less often', async () => {
    ca.away = true;
    issuer.want(REVIEWS);
    await until(() => expect(issuer.states()[0]?.lastError).toBe('connection refused'));
    const times: number[] = [];
    for (let ms = 0; ms < 600_000; ms += 500) {
      const before = ca.requests;
      await pass(500);
      if (ca.requests > before) times.push(clock.nowMs());
    }
    expect(times[0]).toBeLessThanOrEqual(1_000);
    expect(times.length).toBeGreaterThan(12);
    expect(times.length).toBeLessThan(32);
    expect(log.lines).toEqual(['warn no certificate could be obtained yet; tried again until there is one']);
    ca.away = false;
    await pass(61_000);
    expect(issuer.get(REVIEWS)).toBeDefined();
  });

  it('gives new roots to every certificate as soon as one answer brings them', async () => {
    issuer.want(REVIEWS);
    const reviews = await held(REVIEWS);
    await authority.rotate('root');
    issuer.want(RATINGS);
    const ratings = await held(RATINGS);
    expect(splitCertificates(ratings.roots)).toHaveLength(2);
    expect(issuer.get(REVIEWS)).toEqual({ ...reviews, roots: ratings.roots });
    expect(followed).toContainEqual({ ...reviews, roots: ratings.roots });
    expect(issuer.roots.get()).toBe(ratings.roots);
  });

  it('is not taken back to former roots by an answer that comes late', async () => {
    let release: (() => void) | undefined;
    ca.answer = (answer, { identity }) => (identity === REVIEWS ? new Promise((resolve) => { release = () => resolve(answer); }) : answer);
    issuer.want(REVIEWS);
    await until(() => expect(release).toBeDefined());
    await authority.rotate('root');
    issuer.want(RATINGS);
    const { roots } = await held(RATINGS);
    release?.();
    expect((await held(REVIEWS)).roots).toBe(roots);
    expect(issuer.roots.get()).toBe(roots);
  });

  it('forgets an answer for an identity that was released meanwhile', async () => {
    let release: (() => void) | undefined;
    ca.answer = (answer) => new Promise((resolve) => { release = () => resolve(answer); });
    issuer.want(REVIEWS);
    await until(() => expect(release).toBeDefined());
    issuer.release(REVIEWS);
    release?.();
    await new Promise(setImmediate);
    expect(followed).toEqual([]);
    expect(clock.pending()).toBe(1);
  });

  it.each<[string, (answer: SignedCertificate, request: SigningRequest) => SignedCertificate | Promise<SignedCertificate>, string]>([
    ['for another identity', async (_, request) => authority.sign({ ...request, identity: RATINGS }), `the CA signed URI:${RATINGS} instead of URI:${REVIEWS}`],
    ['without certificate', ({ roots }) => ({ chain: '', roots }), 'the CA answered without a certificate'],
    ['that does not verify', ({ chain }) => ({ chain: splitCertificates(chain)[0] ?? '', roots: '' }), 'the CA answered with a chain that does not verify'],
  ])('refuses an answer %s', async (_, answer, reason) => {
    ca.answer = answer;
    issuer.want(REVIEWS);
    await until(() => expect(issuer.states()[0]?.lastError).toContain(reason));
    expect(issuer.get(REVIEWS)).toBeUndefined();
  });

  it('writes no key into its log or its states\' errors', async () => {
    issuer.want(REVIEWS);
    const { key } = await held(REVIEWS);
    ca.away = true;
    await pass(30 * HOUR, HOUR);
    expect(log.text).not.toContain('PRIVATE KEY');
    expect(log.text).not.toContain(key.split('\n')[1]);
  });
});
