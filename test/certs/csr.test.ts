import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Authority } from '../../src/certs/authority.ts';
import { MemoryCaStore } from '../../src/certs/ca-state.ts';
import { createCsr, CsrError, readCsr } from '../../src/certs/csr.ts';
import { encodePem } from '../../src/certs/pem.ts';
import { CSR_BYTES_MAX } from '../../src/core/limits.ts';
import { FakeClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';

const IDENTITY = 'spiffe://cluster.local/ns/bookinfo/sa/reviews';
let directory: string;
let ca: Authority;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-csr-'));
  const lifetimes = { leafMs: 86_400_000, intermediateMs: 86_400_000 * 365, rootMs: 86_400_000 * 3650 };
  ca = await Authority.open({ trustDomain: 'cluster.local', lifetimes, keys: { store: new MemoryCaStore() }, clock: new FakeClock(), log: createLogger('test', 'silent') });
});

afterAll(async () => {
  await ca.close();
  rmSync(directory, { recursive: true });
});

/** A request as OpenSSL makes it. */
function opensslCsr(key: readonly string[], ...extra: string[]): string {
  const file = join(directory, 'key.pem');
  execFileSync('openssl', ['genpkey', '-quiet', '-out', file, ...key]);
  return execFileSync('openssl', ['req', '-new', '-key', file, '-subj', '/', ...extra], { encoding: 'utf8' });
}

function der(pem: string): Buffer {
  return Buffer.from(pem.replace(/-----.*-----/g, ''), 'base64');
}

function pemOf(bytes: Buffer): string {
  return encodePem(new Uint8Array(bytes).buffer, 'CERTIFICATE REQUEST');
}

const EC = (curve: string): string[] => ['-algorithm', 'EC', '-pkeyopt', `ec_paramgen_curve:${curve}`];
const RSA = (bits: number): string[] => ['-algorithm', 'RSA', '-pkeyopt', `rsa_keygen_bits:${bits}`];

describe('a signing request', () => {
  it.each([
    ['P-256', EC('P-256')],
    ['P-384', EC('P-384')],
    ['RSA 2048', RSA(2048)],
  ])('with a key of %s is signed', async (_, key) => {
    const { chain } = await ca.sign({ csr: opensslCsr(key), identity: IDENTITY, lifetimeMs: 0 });
    expect(new X509Certificate(chain).subjectAltName).toBe(`URI:${IDENTITY}`);
  });

  it.each([
    ['P-521', EC('P-521')],
    ['secp256k1', EC('secp256k1')],
    ['RSA 1024', RSA(1024)],
    ['Ed25519', ['-algorithm', 'ED25519']],
  ])('with a key of %s is refused', async (_, key) => {
    await expect(readCsr(opensslCsr(key))).rejects.toThrow('the key must be of ECDSA P-256 or P-384, or RSA of 2048 to 4096 bits');
  });

  it('signed with SHA-1 is refused', async () => {
    await expect(readCsr(opensslCsr(RSA(2048), '-sha1'))).rejects.toThrow('must be signed with SHA-256, SHA-384 or SHA-512');
  });

  it('has no say in the names, usages or constraints of its certificate', async () => {
    const csr = opensslCsr(
      EC('P-256'),
      '-addext', 'subjectAltName=URI:spiffe://cluster.local/ns/kube-system/sa/admin,DNS:orlop-control.orlop-system.svc,IP:10.0.0.1',
      '-addext', 'basicConstraints=critical,CA:TRUE',
      '-addext', 'keyUsage=keyCertSign',
      '-subj', '/CN=admin',
    );
    const certificate = new X509Certificate((await ca.sign({ csr, identity: IDENTITY, lifetimeMs: 0 })).chain);
    expect(certificate.subjectAltName).toBe(`URI:${IDENTITY}`);
    expect(certificate.ca).toBe(false);
    expect(certificate.subject).toBeFalsy();
  });

  it('whose signature another key made is refused', async () => {
    const mine = der((await createCsr(IDENTITY)).csr);
    const theirs = der((await createCsr(IDENTITY)).csr);
    // The same names and key, the signature of the other one: requests differ in length by the encoding of the signature only.
    const key = /\x06\x08\*\x86H\xce=\x03\x01\x07\x03B\x00/;
    const at = (bytes: Buffer): number => (key.exec(bytes.toString('latin1')) as RegExpExecArray).index + 13;
    const forged = Buffer.from(mine);
    theirs.copy(forged, at(mine), at(theirs), at(theirs) + 65);
    await expect(readCsr(pemOf(forged))).rejects.toThrow('the sender does not hold the key it asks for');
  });

  it('with any one octet changed proves no other key, and breaks nothing', async () => {
    const { csr } = await createCsr(IDENTITY);
    const good = der(csr);
    const proven = Buffer.from((await readCsr(csr)).rawData);
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), async (index, flip) => {
        const bad = Buffer.from(good);
        bad[index] = (bad[index] as number) ^ flip;
        try {
          // A signature can be written in several ways (unused bits, leading zeros); that is no forgery.
          expect(Buffer.from((await readCsr(pemOf(bad))).rawData).equals(proven)).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(CsrError);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('of arbitrary octets is refused, and breaks nothing', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async (bytes) => {
        await expect(readCsr(pemOf(Buffer.from(bytes)))).rejects.toBeInstanceOf(CsrError);
      }),
    );
  });

  it('that is nested as deep as fits, or blank, is refused too', async () => {
    let nested = Buffer.from([5, 0]);
    while (nested.length < 11_000) nested = Buffer.concat([nested.length < 128 ? Buffer.from([0x30, nested.length]) : Buffer.from([0x30, 0x82, nested.length >> 8, nested.length & 255]), nested]);
    await expect(readCsr(pemOf(nested))).rejects.toBeInstanceOf(CsrError);
    await expect(readCsr(`-----BEGIN CERTIFICATE REQUEST-----\n${' '.repeat(16_000)}`)).rejects.toBeInstanceOf(CsrError);
  });

  it('that is too long, or not PEM of one request, is refused with the reason', async () => {
    const { csr } = await createCsr(IDENTITY);
    await expect(readCsr(csr + ' '.repeat(CSR_BYTES_MAX))).rejects.toThrow(`${CSR_BYTES_MAX} is the limit`);
    await expect(readCsr(csr + csr)).rejects.toThrow('not one PEM block');
    await expect(readCsr('')).rejects.toThrow('not one PEM block');
    await expect(readCsr(csr.replaceAll('CERTIFICATE REQUEST', 'CERTIFICATE'))).rejects.toThrow('not one PEM block');
    await expect(readCsr(pemOf(Buffer.concat([der(csr), Buffer.from([0])])))).rejects.toBeInstanceOf(CsrError);
  });
});
