import { X509Certificate } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Authority } from '../../src/certs/authority.ts';
import { MemoryCaStore } from '../../src/certs/ca-state.ts';
import { createCsr } from '../../src/certs/csr.ts';
import { splitCertificates } from '../../src/certs/pem.ts';
import { FakeClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';
import { describeWithOpenssl, verifyWithOpenssl } from './openssl.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const LIFETIMES = { leafMs: DAY, intermediateMs: 365 * DAY, rootMs: 3650 * DAY };
const IDENTITY = 'spiffe://cluster.local/ns/bookinfo/sa/reviews';

let clock: FakeClock;
let store: MemoryCaStore;
let ca: Authority;

beforeEach(async () => {
  clock = new FakeClock();
  store = new MemoryCaStore();
  ca = await open();
});

afterEach(async () => {
  await ca.close();
});

function open(lifetimes = LIFETIMES): Promise<Authority> {
  return Authority.open({ trustDomain: 'cluster.local', lifetimes, keys: { store }, clock, log: createLogger('test', 'silent') });
}

async function issue(lifetimeMs = 0, identity = IDENTITY): Promise<{ chain: string; roots: string }> {
  const { csr } = await createCsr(identity);
  return ca.sign({ csr, identity, lifetimeMs });
}

/** What falls due within `ms` is done. */
async function pass(ms: number): Promise<void> {
  clock.advance(ms);
  await ca.settle();
}

describe('a leaf', () => {
  it('is what OpenSSL takes for both ends of mutual TLS', async () => {
    const { chain, roots } = await issue();
    expect(splitCertificates(chain)).toHaveLength(2);
    for (const purpose of ['sslserver', 'sslclient'] as const) expect(verifyWithOpenssl(chain, roots, { atMs: clock.wallMs(), purpose })).toBe('');
    const text = describeWithOpenssl(chain);
    expect(text).toContain(`X509v3 Subject Alternative Name: critical\n                URI:${IDENTITY}\n`);
    expect(text).toContain('X509v3 Key Usage: critical\n                Digital Signature\n');
    expect(text).toContain('X509v3 Extended Key Usage: \n                TLS Web Server Authentication, TLS Web Client Authentication\n');
    expect(text).toContain('X509v3 Basic Constraints: critical\n                CA:FALSE\n');
    expect(text).toContain('NIST CURVE: P-256');
    expect(text).toContain('ecdsa-with-SHA256');
    expect(text).toMatch(/Subject: \n/);
  });

  it('lives a day unless less is asked for, from two minutes before now', async () => {
    const life = ({ chain }: { chain: string }): number[] => {
      const { validFrom, validTo } = new X509Certificate(chain);
      return [Date.parse(validFrom) - clock.wallMs(), Date.parse(validTo) - clock.wallMs()];
    };
    expect(life(await issue())).toEqual([-120_000, DAY]);
    expect(life(await issue(HOUR))).toEqual([-120_000, HOUR]);
    expect(life(await issue(100 * DAY))).toEqual([-120_000, DAY]);
    expect(life(await issue(20_000))).toEqual([-2_000, 20_000]);
  });

  it('has a serial number of 16 octets by chance', async () => {
    const serials = await Promise.all(Array.from({ length: 20 }, async () => new X509Certificate((await issue()).chain).serialNumber));
    expect(new Set(serials).size).toBe(20);
    for (const serial of serials) expect(serial).toMatch(/^[4-7][0-9A-F]{31}$/);
  });

  it('never outlives its issuer', async () => {
    await ca.close();
    ca = await open({ leafMs: HOUR, intermediateMs: 4 * HOUR, rootMs: 12 * HOUR });
    for (let minutes = 0; minutes < 30 * 60; minutes += 37) {
      const { chain } = await issue();
      const [leaf = '', intermediate = ''] = splitCertificates(chain);
      expect(Date.parse(new X509Certificate(leaf).validTo)).toBeLessThanOrEqual(Date.parse(new X509Certificate(intermediate).validTo));
      await pass(37 * 60_000);
    }
  });
});

describe('the CA itself', () => {
  it('is a root of ten years and an intermediate of one, as RFC 5280 wants them', async () => {
    const { chain, roots } = await issue();
    const root = describeWithOpenssl(roots);
    const intermediate = describeWithOpenssl(splitCertificates(chain)[1] ?? '');
    expect(root).toContain('CA:TRUE, pathlen:1');
    expect(intermediate).toContain('CA:TRUE, pathlen:0');
    for (const text of [root, intermediate]) {
      expect(text).toContain('X509v3 Basic Constraints: critical');
      expect(text).toContain('X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n');
      expect(text).toContain('URI:spiffe://cluster.local\n');
    }
  });

  it('is the same after a restart, as long as its store is', async () => {
    const before = await issue();
    await ca.close();
    ca = await open();
    const after = await issue();
    expect(after.roots).toBe(before.roots);
    expect(splitCertificates(after.chain)[1]).toBe(splitCertificates(before.chain)[1]);
  });

  it('has a certificate for its own server', async () => {
    const { chain, roots } = await ca.signServer({ dns: ['orlop-control.orlop-system.svc'], addresses: ['10.0.0.7', 'fd00::7'] });
    expect(describeWithOpenssl(chain)).toContain('DNS:orlop-control.orlop-system.svc, IP Address:10.0.0.7, IP Address:FD00:0:0:0:0:0:0:7');
    expect(verifyWithOpenssl(chain, roots, { atMs: clock.wallMs() })).toBe('');
  });

  it('refuses lifetimes with which it could not keep its promises, naming the least that would do', async () => {
    await expect(open({ leafMs: DAY, intermediateMs: 2 * DAY, rootMs: 3650 * DAY })).rejects.toThrow('the intermediate must live 285120s or longer with certificates of 86400s');
    await expect(open({ leafMs: DAY, intermediateMs: 4 * DAY, rootMs: 5 * DAY })).rejects.toThrow('the root must live 570240s or longer');
  });
});

describe('rotation', () => {
  it('replaces the intermediate when a third of its life is left', async () => {
    const [, first] = splitCertificates((await issue()).chain);
    await pass(240 * DAY);
    expect(splitCertificates((await issue()).chain)[1]).toBe(first);
    await pass(10 * DAY);
    const { chain, roots } = await issue();
    expect(splitCertificates(chain)[1]).not.toBe(first);
    expect(verifyWithOpenssl(chain, roots, { atMs: clock.wallMs() })).toBe('');
    expect(ca.counts().rotations).toEqual({ root: 0, intermediate: 1 });
  });

  it('trusts a new root, signs under it when every live certificate has come with it, and drops the old one when none chains to it', async () => {
    const old = (await issue()).roots;
    await ca.rotate('root');
    const announced = await issue();
    expect(splitCertificates(announced.roots)).toHaveLength(2);
    expect(verifyWithOpenssl(announced.chain, old, { atMs: clock.wallMs() })).toBe('');

    await pass(26 * HOUR);
    const lastOfOld = await issue();
    expect(verifyWithOpenssl(lastOfOld.chain, old, { atMs: clock.wallMs() })).toBe('');
    await pass(HOUR);
    const firstOfNew = await issue();
    expect(verifyWithOpenssl(firstOfNew.chain, old, { atMs: clock.wallMs() })).not.toBe('');
    expect(verifyWithOpenssl(firstOfNew.chain, announced.roots, { atMs: clock.wallMs() })).toBe('');
    expect(splitCertificates(firstOfNew.roots)).toHaveLength(2);

    await pass(26 * HOUR);
    expect(splitCertificates(ca.roots.get())).toHaveLength(2);
    await pass(HOUR);
    expect(splitCertificates(ca.roots.get())).toHaveLength(1);
    expect(verifyWithOpenssl((await issue()).chain, ca.roots.get(), { atMs: clock.wallMs() })).toBe('');
    expect(ca.counts().rotations.root).toBe(1);
  });

  it('happens by itself before a root gets old, and goes on where it was after a restart', async () => {
    const seen: number[] = [];
    ca.roots.follow((roots) => seen.push(splitCertificates(roots).length));
    await pass(0.79 * LIFETIMES.rootMs);
    expect(seen).toEqual([]);
    await pass(0.02 * LIFETIMES.rootMs);
    expect(seen).toEqual([2]);
    await ca.close();
    ca = await open();
    expect(ca.status().roots.map(({ use }) => use)).toEqual(['signs', 'trusted, signs next']);
    await pass(27 * HOUR);
    expect(ca.status().roots.map(({ use }) => use)).toEqual(['trusted until its last certificate has expired', 'signs']);
    await ca.close();
    ca = await open();
    await pass(27 * HOUR);
    expect(ca.status().roots.map(({ use }) => use)).toEqual(['signs']);
  });

  it('begins anew when the CA comes back after years, with everything it had expired', async () => {
    const old = ca.roots.get();
    await ca.close();
    clock.advance(4000 * DAY);
    ca = await open();
    expect(splitCertificates(ca.roots.get())).toHaveLength(1);
    const { chain, roots } = await issue();
    expect(roots).not.toBe(old);
    expect(verifyWithOpenssl(chain, roots, { atMs: clock.wallMs() })).toBe('');
  });

  it('is tried again, less and less often, while the store fails', async () => {
    const save = store.save.bind(store);
    let attempts = 0;
    store.save = async () => {
      attempts += 1;
      throw new Error('no space');
    };
    clock.advance(250 * DAY);
    for (let ms = 0; ms < HOUR; ms += 5_000) {
      clock.advance(5_000);
      // Its timer is armed anew when an attempt is over.
      await vi.waitFor(() => expect(clock.pending()).toBe(1), { interval: 1 });
    }
    expect(attempts).toBeGreaterThan(5);
    expect(attempts).toBeLessThan(25);
    store.save = save;
    await pass(DAY);
    expect(ca.counts().rotations.intermediate).toBe(1);
  });

  it('takes a step anew when the store took too long over it', async () => {
    const { roots } = await issue();
    const save = store.save.bind(store);
    store.save = async (state) => {
      clock.advance(6_000);
      await save(state);
    };
    await expect(ca.rotate('root')).rejects.toThrow('the store took more than 5 seconds');
    expect((await issue()).roots).toBe(roots);
    store.save = save;
    await ca.rotate('root');
    expect(splitCertificates(ca.roots.get())).toHaveLength(2);
  });

  it('waits for certificates of the longest life there ever was', async () => {
    await ca.close();
    ca = await open({ ...LIFETIMES, leafMs: HOUR });
    await ca.rotate('root');
    await pass(26 * HOUR);
    expect(ca.status().roots.map(({ use }) => use)).toEqual(['signs', 'trusted, signs next']);
    await pass(HOUR);
    expect(ca.status().roots[1]?.use).toBe('signs');
  });

  it('comes to rest with lifetimes far shorter than those before', async () => {
    await ca.close();
    ca = await open({ leafMs: 20_000, intermediateMs: 90_000, rootMs: 180_000 });
    await pass(300 * DAY);
    const { chain, roots } = await issue();
    expect(verifyWithOpenssl(chain, roots, { atMs: clock.wallMs() })).toBe('');
    await pass(61_000);
    expect(ca.counts().rotations.intermediate).toBe(2);
  });

  it('on demand is refused while a root is being changed', async () => {
    await ca.rotate('root');
    await expect(ca.rotate('root')).rejects.toThrow(/the new one signs from 2026-01-02T02:24/);
    await ca.rotate('intermediate');
    expect(ca.counts().rotations.intermediate).toBe(1);
  });

  it('hands out nothing that the store did not keep', async () => {
    const { roots } = await issue();
    store.save = () => Promise.reject(new Error('no space'));
    await expect(ca.rotate('root')).rejects.toThrow('no space');
    expect((await issue()).roots).toBe(roots);
  });
});
