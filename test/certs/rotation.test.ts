/**
 * Whole rotations, simulated: agents with real issuers, a real CA, a clock that is moved, answers that take their time, and a CA that is away
 * now and then, or restarted. At every instant, each certificate that is alive must verify under the roots that every agent holds.
 */
import { X509Certificate } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Authority } from '../../src/certs/authority.ts';
import { MemoryCaStore } from '../../src/certs/ca-state.ts';
import type { CaState } from '../../src/certs/ca-state.ts';
import type { CertificateAuthority, SignedCertificate, SigningRequest } from '../../src/certs/certificate-authority.ts';
import type { WorkloadCertificate } from '../../src/certs/certificate.ts';
import { Issuer } from '../../src/certs/issuer.ts';
import { splitCertificates } from '../../src/certs/pem.ts';
import { activationMs, dropMs, lifetimesProblem, nextStep, overlapMs } from '../../src/certs/rotation.ts';
import { verifyChain } from '../../src/certs/verify-chain.ts';
import { FakeClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';
import { seededRandom } from '../../src/core/random.ts';
import type { Random } from '../../src/core/random.ts';
import { verifyWithOpenssl } from './openssl.ts';

/** Intermediates change each 267 s; a new root is trusted at 670 s, signs at 780 s, and the old one goes at 890 s. */
const LIFETIMES = { leafMs: 100_000, intermediateMs: 400_000, rootMs: 1_000_000 };
const AGENTS = 3;
const IDENTITIES = ['spiffe://cluster.local/ns/a/sa/one', 'spiffe://cluster.local/ns/a/sa/two'];
const silent = createLogger('test', 'silent');

/** The way from an agent to the CA and back: each direction takes up to two seconds, and there is nobody at its end while the CA is away. */
class Link implements CertificateAuthority {
  readonly #world: World;
  /** Requests and answers on their way, that is, waiting for the clock. */
  travelling = 0;

  constructor(world: World) {
    this.#world = world;
  }

  async sign(request: SigningRequest): Promise<SignedCertificate> {
    await this.#travel();
    if (this.#world.away) throw new Error('away');
    const answer = await this.#world.ca.sign(request);
    await this.#travel();
    return answer;
  }

  async #travel(): Promise<void> {
    this.travelling += 1;
    await new Promise<void>((resolve) => { this.#world.clock.after(this.#world.random.next() * 2_000, resolve); });
    this.travelling -= 1;
  }
}

class World {
  readonly clock = new FakeClock();
  readonly random: Random;
  readonly store = new MemoryCaStore();
  readonly agents: { readonly link: Link; readonly issuer: Issuer }[] = [];
  readonly failures: string[] = [];
  readonly #verified = new Map<string, { fromMs: number; untilMs: number }>();
  away = false;
  ca!: Authority;

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  async start(): Promise<void> {
    await this.restart();
    for (let n = 0; n < AGENTS; n += 1) {
      const link = new Link(this);
      const issuer = new Issuer({ ca: link, clock: this.clock, random: this.random, log: silent, lifetimeMs: LIFETIMES.leafMs });
      for (const identity of IDENTITIES) issuer.want(identity);
      this.agents.push({ link, issuer });
    }
  }

  async restart(): Promise<void> {
    await this.ca?.close();
    this.ca = await Authority.open({ trustDomain: 'cluster.local', lifetimes: LIFETIMES, keys: { store: this.store }, clock: this.clock, log: silent });
  }

  async end(): Promise<void> {
    for (const { issuer } of this.agents) issuer.close();
    await this.ca.close();
  }

  /** One second, and everything it sets off except what waits for the clock again. */
  async second(): Promise<void> {
    this.clock.advance(1_000);
    await this.ca.settle();
    const computing = (): boolean => this.agents.some(({ link, issuer }) => issuer.states().filter(({ nextMs }) => nextMs <= this.clock.wallMs()).length > link.travelling);
    while (computing()) await setImmediate();
    this.check();
  }

  live(): WorkloadCertificate[] {
    return this.agents.flatMap(({ issuer }) => IDENTITIES.flatMap((identity) => issuer.get(identity) ?? []));
  }

  /** Every live certificate under the roots of every agent that could be the other end, as it has a live certificate itself. */
  check(): void {
    const nowMs = this.clock.wallMs();
    const live = this.live();
    const bundles = new Set(live.map(({ roots }) => roots));
    for (const { chain } of live) for (const roots of bundles) if (!this.#verifies(chain, roots, nowMs)) this.failures.push(`at ${this.clock.nowMs() / 1000} s`);
  }

  /** Signatures are checked once for each pair of chain and roots, times always. */
  #verifies(chain: string, roots: string, nowMs: number): boolean {
    const key = chain + roots;
    let span = this.#verified.get(key);
    if (span === undefined) {
      try {
        const anchor = verifyChain(chain, roots, nowMs);
        const all = [...splitCertificates(chain), anchor].map((pem) => new X509Certificate(pem));
        span = { fromMs: Math.max(...all.map(({ validFrom }) => Date.parse(validFrom))), untilMs: Math.min(...all.map(({ validTo }) => Date.parse(validTo))) };
      } catch {
        span = { fromMs: Infinity, untilMs: -Infinity };
      }
      this.#verified.set(key, span);
    }
    return span.fromMs <= nowMs && nowMs < span.untilMs;
  }
}

describe('a whole rotation', { timeout: 60_000 }, () => {
  it.each([1, 2, 3])('never leaves two agents unable to verify each other (seed %i)', async (seed) => {
    const world = new World(seed);
    await world.start();
    const chance = seededRandom(seed + 100);
    let outageUntil = 0;
    const bundles = new Set<number>();
    for (let second = 0; second < 1_000; second += 1) {
      if (second > outageUntil && chance.next() < 0.01) outageUntil = second + 10 + chance.next() * 120;
      world.away = second < outageUntil;
      if (second % 331 === 330 || second === 700) await world.restart();
      await world.second();
      const size = splitCertificates(world.ca.roots.get()).length;
      if (!bundles.has(size) || second === 800) {
        bundles.add(size);
        // At the turning points OpenSSL judges too.
        for (const { chain } of world.live()) for (const { roots } of world.live()) expect(verifyWithOpenssl(chain, roots, { atMs: world.clock.wallMs() })).toBe('');
      }
    }
    expect(world.failures).toEqual([]);
    expect([...bundles]).toEqual([1, 2]);
    // The root has changed, and the one before it is gone.
    expect(world.ca.status().roots.map(({ use }) => use)).toEqual(['signs']);
    expect(world.live().length).toBeGreaterThan(0);
    await world.end();
  });

  it('by command, in the middle of everything, neither', async () => {
    const world = new World(7);
    await world.start();
    for (let second = 0; second < 600; second += 1) {
      if (second === 40) await world.ca.rotate('root');
      if (second % 50 === 25) await world.ca.rotate('intermediate');
      world.away = second > 100 && second < 140;
      await world.second();
    }
    expect(world.failures).toEqual([]);
    expect(world.live()).toHaveLength(AGENTS * IDENTITIES.length);
    expect(world.ca.counts().rotations).toEqual({ root: 1, intermediate: 12 });
    await world.end();
  });

  it('would be seen to fail if a new root signed at once', async () => {
    const world = new World(1);
    await world.start();
    for (let second = 0; second < 60; second += 1) await world.second();
    await world.ca.rotate('root');
    const state = (await world.store.load()) as CaState;
    await world.store.save({ ...state, roots: state.roots.map((root) => ({ ...root, trustedFromMs: 0 })) });
    await world.restart();
    for (let second = 0; second < 60; second += 1) await world.second();
    expect(world.failures.length).toBeGreaterThan(0);
    await world.end();
  });
});

describe('the plan of a rotation', () => {
  const DAY = 86_400_000;
  const root = { certificate: 'root', key: 'key', notBeforeMs: 0, notAfterMs: 3650 * DAY, trustedFromMs: 0 };
  const signer = { certificate: 'intermediate', key: 'key', chain: '', root: 'root', notBeforeMs: 0, notAfterMs: 365 * DAY };
  const state: CaState = { roots: [root], signer, longestLeafMs: DAY };
  const lifetimes = { leafMs: DAY, intermediateMs: 365 * DAY, rootMs: 3650 * DAY };

  it('waits a tenth longer than the longest leaf lives, ten seconds at least', () => {
    expect(overlapMs(DAY)).toBe(26.4 * 3_600_000);
    expect(overlapMs(20_000)).toBe(30_000);
  });

  it('renews the intermediate first, as it is the first to end', () => {
    expect(nextStep(state, lifetimes)).toEqual({ step: 'renew-intermediate', dueMs: (365 * DAY * 2) / 3 });
  });

  it('renews no intermediate that ends with its root, but the root', () => {
    const last = { ...state, signer: { ...signer, notAfterMs: root.notAfterMs } };
    expect(nextStep(last, lifetimes)).toEqual({ step: 'introduce-root', dueMs: 0.8 * 3650 * DAY });
  });

  it('begins with a short-lived root early enough for both waits', () => {
    const brief = { ...root, notAfterMs: 7 * DAY };
    const { step, dueMs } = nextStep({ ...state, roots: [brief], signer: { ...signer, notAfterMs: brief.notAfterMs } }, lifetimes);
    expect(step).toBe('introduce-root');
    expect(dueMs + 2 * overlapMs(DAY)).toBeLessThan(brief.notAfterMs);
  });

  it('leaves given roots to whoever gives them', () => {
    expect(nextStep({ ...state, roots: [{ ...root, key: '' }] }, lifetimes).dueMs).toBe(Infinity);
  });

  it('waits for nobody when what signs has expired', () => {
    const next = { ...signer, certificate: 'other', root: 'new' };
    const waiting: CaState = { ...state, roots: [root, { ...root, certificate: 'new', trustedFromMs: 364.9 * DAY }], next };
    expect(activationMs(waiting)).toBe(365 * DAY);
  });

  it('keeps a retired root until its last leaf, or itself, has expired', () => {
    expect(dropMs({ ...root, retiredMs: 10 * DAY }, DAY)).toBe(11.1 * DAY);
    expect(dropMs({ ...root, retiredMs: 3649.5 * DAY }, DAY)).toBe(3650 * DAY);
    expect(dropMs(root, DAY)).toBe(Infinity);
  });

  it('says which lifetimes do not go together', () => {
    expect(lifetimesProblem({ leafMs: 20_000, intermediateMs: 90_000, rootMs: 180_000 })).toBeUndefined();
    expect(lifetimesProblem({ leafMs: 20_000, intermediateMs: 89_000, rootMs: 180_000 })).toBe('the intermediate must live 90s or longer with certificates of 20s, or it could not be renewed in time');
    expect(lifetimesProblem({ leafMs: 20_000, intermediateMs: 200_000, rootMs: 190_000 })).toBe('the root must live as long as the intermediate, or longer');
    expect(lifetimesProblem({ leafMs: 500, intermediateMs: 90_000, rootMs: 180_000 })).toBe('the lifetime of certificates must be 1s or more');
  });
});
