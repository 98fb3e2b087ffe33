import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Authority } from '../../src/certs/authority.ts';
import { createCsr } from '../../src/certs/csr.ts';
import { readGivenCa } from '../../src/certs/given-files.ts';
import type { GivenFiles } from '../../src/certs/given-files.ts';
import { splitCertificates } from '../../src/certs/pem.ts';
import { FakeClock } from '../../src/core/clock.ts';
import { verifyWithOpenssl } from './openssl.ts';
import { RecordedLog } from './recorded-log.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const IDENTITY = 'spiffe://cluster.local/ns/bookinfo/sa/reviews';

let directory: string;
let clock: FakeClock;
let log: RecordedLog;
let ca: Authority | undefined;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-given-'));
  // Ahead of the clock by which OpenSSL makes the certificates.
  clock = new FakeClock(Date.now() + 60_000);
  log = new RecordedLog();
});

afterEach(async () => {
  await ca?.close();
  ca = undefined;
  rmSync(directory, { recursive: true });
});

const path = (name: string): string => join(directory, name);

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

interface Made {
  readonly issuer?: string;
  readonly days?: number;
  readonly key?: readonly string[];
  readonly extensions?: readonly string[];
}

const EC = ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'];

/** `name.crt` and `name.key`, made by OpenSSL; self-signed without an issuer. */
function make(name: string, { issuer, days = 365, key = EC, extensions = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign'] }: Made = {}): string {
  openssl('genpkey', '-quiet', '-out', path(`${name}.key`), ...key);
  const under = issuer === undefined ? [] : ['-CA', path(`${issuer}.crt`), '-CAkey', path(`${issuer}.key`)];
  openssl('req', '-x509', '-new', '-key', path(`${name}.key`), '-subj', `/CN=${name}`, '-days', String(days), '-out', path(`${name}.crt`), ...under, ...extensions.flatMap((extension) => ['-addext', extension]));
  return readFileSync(path(`${name}.crt`), 'utf8');
}

/** The three files of a cert-manager secret. */
function give(certificates: readonly string[], key: string, roots: readonly string[]): GivenFiles {
  writeFileSync(path('tls.crt'), certificates.map((name) => readFileSync(path(`${name}.crt`), 'utf8')).join(''));
  writeFileSync(path('tls.key'), readFileSync(path(`${key}.key`)));
  writeFileSync(path('ca.crt'), roots.map((name) => readFileSync(path(`${name}.crt`), 'utf8')).join(''));
  return { certificate: path('tls.crt'), key: path('tls.key'), roots: path('ca.crt') };
}

async function open(files: GivenFiles): Promise<Authority> {
  ca = await Authority.open({
    trustDomain: 'cluster.local', lifetimes: { leafMs: HOUR, intermediateMs: 0, rootMs: 0 }, keys: { given: () => readGivenCa(files, clock.wallMs()) }, clock, log,
  });
  return ca;
}

async function issue(authority: Authority): Promise<{ chain: string; roots: string }> {
  const { csr } = await createCsr(IDENTITY);
  return authority.sign({ csr, identity: IDENTITY, lifetimeMs: 0 });
}

describe('a CA that is given as files', () => {
  it.each([
    ['ECDSA P-256', EC],
    ['ECDSA P-384', ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384']],
    ['RSA', ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048']],
  ])('signs with a key of %s, and OpenSSL takes the chain', async (_, key) => {
    make('root', { key });
    make('intermediate', { issuer: 'root', key });
    const { chain, roots } = await issue(await open(give(['intermediate'], 'intermediate', ['root'])));
    expect(verifyWithOpenssl(chain, roots, { atMs: clock.wallMs() })).toBe('');
    expect(splitCertificates(chain)).toHaveLength(2);
    expect(roots).toBe(readFileSync(path('root.crt'), 'utf8'));
  });

  it('may be a chain of several, which ends with its root or before it', async () => {
    make('root');
    make('policy', { issuer: 'root' });
    make('intermediate', { issuer: 'policy' });
    const files = give(['intermediate', 'policy', 'root'], 'intermediate', ['root']);
    for (const roots of [files.roots, undefined]) {
      const { chain, roots: trusted } = await issue(await open({ ...files, roots }));
      expect(splitCertificates(chain)).toHaveLength(3);
      expect(verifyWithOpenssl(chain, trusted, { atMs: clock.wallMs() })).toBe('');
      await ca?.close();
    }
  });

  it('may be a root alone; then the chain is the leaf', async () => {
    make('root');
    const { chain, roots } = await issue(await open(give(['root'], 'root', ['root'])));
    expect(splitCertificates(chain)).toHaveLength(1);
    expect(verifyWithOpenssl(chain, roots, { atMs: clock.wallMs() })).toBe('');
  });

  it('is refused with the file and the remedy when it could not work', () => {
    make('root');
    make('other');
    make('intermediate', { issuer: 'root' });
    make('leaf', { issuer: 'root', extensions: ['basicConstraints=critical,CA:FALSE'] });
    make('unusable', { issuer: 'root', extensions: ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,digitalSignature'] });
    make('narrow', { extensions: ['basicConstraints=critical,CA:TRUE,pathlen:0', 'keyUsage=critical,keyCertSign'] });
    make('deep', { issuer: 'narrow' });
    make('brief', { issuer: 'root', days: 1 });
    make('edwards', { issuer: 'root', key: ['-algorithm', 'ED25519'] });
    const refusal = (files: GivenFiles, nowMs = clock.wallMs()): string => {
      try {
        readGivenCa(files, nowMs);
        return '';
      } catch (error) {
        return (error as Error).message.replaceAll(`${directory}/`, '');
      }
    };
    expect(refusal(give(['intermediate'], 'root', ['root']))).toBe('tls.key: this key is not that of the first certificate in tls.crt; give the two that belong together');
    expect(refusal(give(['leaf'], 'leaf', ['root']))).toBe('tls.crt: the certificate "CN=leaf" is not a CA certificate; give one with CA:TRUE and the usage "Certificate Sign" (cert-manager: isCA: true)');
    expect(refusal(give(['unusable'], 'unusable', ['root']))).toContain('tls.crt: the certificate "CN=unusable" is not a CA certificate');
    expect(refusal(give(['intermediate'], 'intermediate', ['other']))).toBe(
      'tls.crt: the certificate "CN=intermediate" does not lead to a trusted root: it was issued by CN=root, with the roots of ca.crt; renew the CA, or give the certificates that belong together',
    );
    expect(refusal(give(['intermediate', 'other'], 'intermediate', ['other']))).toContain('tls.crt: the certificate "CN=intermediate" was not issued by the certificate "CN=other", which follows it');
    expect(refusal(give(['deep'], 'deep', ['narrow']))).toBe('tls.crt: the certificate "CN=narrow" allows 0 CA certificates below it (pathlen), and there are 1; make it anew with a larger pathlen');
    expect(refusal(give(['brief'], 'brief', ['root']), clock.wallMs() + 2 * DAY)).toMatch(/^tls\.crt: the certificate "CN=brief" expired at .*; renew the CA/);
    expect(refusal(give(['edwards'], 'edwards', ['root']))).toBe('tls.key: the key must be of ECDSA P-256 or P-384, or RSA of 2048 bits or more');
    expect(refusal(give(['intermediate'], 'intermediate', ['intermediate']))).toContain('ca.crt: the certificate "CN=intermediate" is not a root, as it is not signed by itself');
    expect(refusal({ ...give(['intermediate'], 'intermediate', ['root']), roots: undefined })).toBe('tls.crt: does not end with its root; give the root as a file of its own (--ca-root)');
    expect(refusal({ ...give(['intermediate'], 'intermediate', ['root']), key: path('nowhere') })).toBe('nowhere: cannot be read (ENOENT)');
    expect(refusal({ ...give(['intermediate'], 'intermediate', ['root']), certificate: path('tls.key') })).toBe('tls.key: holds no certificate; PEM with BEGIN CERTIFICATE is expected');
    expect(refusal({ ...give(['intermediate'], 'intermediate', ['root']), key: path('tls.crt') })).toBe('tls.crt: holds no private key in PEM');
    openssl('pkey', '-in', path('intermediate.key'), '-aes256', '-passout', 'pass:secret', '-out', path('encrypted.key'));
    expect(refusal(give(['intermediate'], 'encrypted', ['root']))).toContain('tls.key: the key is encrypted; give it decrypted');
  });

  it('follows its files: a renewed intermediate signs at once', async () => {
    make('root');
    make('first', { issuer: 'root' });
    make('second', { issuer: 'root' });
    const authority = await open(give(['first'], 'first', ['root']));
    give(['second'], 'second', ['root']);
    clock.advance(5_000);
    await authority.settle();
    const { chain, roots } = await issue(authority);
    expect(splitCertificates(chain)[1]).toBe(readFileSync(path('second.crt'), 'utf8'));
    expect(verifyWithOpenssl(chain, roots, { atMs: clock.wallMs() })).toBe('');
  });

  it('follows its files: a root may join those that are trusted, and leave them again when nothing can need it', async () => {
    const root = make('root');
    const other = make('other');
    make('first', { issuer: 'root' });
    const authority = await open(give(['first'], 'first', ['root']));
    const roots = async (ms: number): Promise<string> => {
      clock.advance(ms);
      await authority.settle();
      return (await issue(authority)).roots;
    };
    give(['first'], 'first', ['other', 'root']);
    expect(await roots(5_000)).toBe(root + other);
    expect(await roots(10 * HOUR)).toBe(root + other);
    give(['first'], 'first', ['root']);
    expect(await roots(5_000)).toBe(root + other);
    expect(await roots(1.2 * HOUR)).toBe(root);
  });

  it('follows its files: a change that is taken back in time leaves no trace', async () => {
    const oldRoot = make('old');
    make('new');
    make('first', { issuer: 'old' });
    make('second', { issuer: 'new' });
    const authority = await open(give(['first'], 'first', ['old']));
    const pass = async (ms: number): Promise<{ chain: string; roots: string }> => {
      clock.advance(ms);
      await authority.settle();
      return issue(authority);
    };
    give(['second'], 'second', ['new']);
    await pass(5_000);
    give(['first'], 'first', ['old']);
    await pass(5_000);
    const { chain, roots } = await pass(3 * HOUR);
    expect(roots).toBe(oldRoot);
    expect(splitCertificates(chain)[1]).toBe(readFileSync(path('first.crt'), 'utf8'));
  });

  it('follows its files: under a new root it signs when everybody trusts that, and the old root goes when nothing needs it', async () => {
    const oldRoot = make('old');
    const newRoot = make('new');
    make('first', { issuer: 'old' });
    make('second', { issuer: 'new' });
    const authority = await open(give(['first'], 'first', ['old']));
    give(['second'], 'second', ['new']);
    const pass = async (ms: number): Promise<{ chain: string; roots: string }> => {
      clock.advance(ms);
      await authority.settle();
      return issue(authority);
    };
    const announced = await pass(5_000);
    expect(announced.roots).toBe(oldRoot + newRoot);
    expect(verifyWithOpenssl(announced.chain, oldRoot, { atMs: clock.wallMs() })).toBe('');
    expect(verifyWithOpenssl((await pass(HOUR)).chain, oldRoot, { atMs: clock.wallMs() })).toBe('');
    const changed = await pass(HOUR / 10);
    expect(verifyWithOpenssl(changed.chain, newRoot, { atMs: clock.wallMs() })).toBe('');
    expect(changed.roots).toBe(oldRoot + newRoot);
    expect((await pass(1.2 * HOUR)).roots).toBe(newRoot);
  });

  it('keeps what it has while the files are no good, and says so once', async () => {
    make('root');
    make('first', { issuer: 'root' });
    make('second', { issuer: 'root' });
    const authority = await open(give(['first'], 'first', ['root']));
    give(['second'], 'first', ['root']);
    for (let n = 0; n < 5; n += 1) {
      clock.advance(5_000);
      await authority.settle();
    }
    expect(splitCertificates((await issue(authority)).chain)[1]).toBe(readFileSync(path('first.crt'), 'utf8'));
    expect(log.lines.filter((line) => line.startsWith('error'))).toEqual(['error the files of the CA are no good; it keeps the certificates before them']);
    expect(log.text).not.toContain('PRIVATE KEY');
  });

  it('is warned about 30, 14 and 7 days and one day before it expires, and when it has, each once', async () => {
    make('root', { days: 400 });
    make('first', { issuer: 'root', days: 40 });
    const authority = await open(give(['first'], 'first', ['root']));
    const warned: number[] = [];
    for (let day = 0; day < 42; day += 1) {
      const before = log.lines.length;
      clock.advance(DAY);
      await authority.settle();
      if (log.lines.slice(before).some((line) => line.includes('expires within') || line.includes('has expired'))) warned.push(day + 1);
    }
    expect(warned).toEqual([10, 26, 33, 39, 40]);
    expect(log.lines.filter((line) => line.includes('that signs'))).toEqual([
      ...[30, 14, 7].map((days) => `warn the CA certificate that signs expires within ${days} days; give the CA a new one`),
      'warn the CA certificate that signs expires within a day; give the CA a new one',
      'error the CA certificate that signs has expired; give the CA a new one',
    ]);
    await expect(issue(authority)).rejects.toThrow('the certificate of the CA expired at');
  });

  it('is not changed by command', async () => {
    make('root');
    const authority = await open(give(['root'], 'root', ['root']));
    await expect(authority.rotate('root')).rejects.toThrow('the keys of this CA are given as files; replace the files to change them');
  });
});
