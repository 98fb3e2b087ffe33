/** `orlop certs`, asked of an admin socket that serves a real issuer's certificates. */
import { spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { certificateRoutes } from '../../src/agent/certificate-routes.ts';
import type { IdentityReport } from '../../src/agent/certificate-routes.ts';
import type { WorkloadCertificate } from '../../src/certs/certificate.ts';
import type { IdentityState } from '../../src/certs/issuer.ts';
import { renderAll, renderOne } from '../../src/cli/certs.ts';
import { serveOnSocket } from '../../src/telemetry/http-endpoints.ts';
import { RotatingSource } from '../certs/rotating-source.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');
const CART = 'spiffe://cluster.local/ns/shop/sa/cart';
const LATE = 'spiffe://cluster.local/ns/shop/sa/late';
const LIFETIME_MS = 1_800_000;

let runDir: string;
let server: Server;
let certificate: WorkloadCertificate;
let identities: IdentityState[];

beforeAll(async () => {
  runDir = mkdtempSync(join(tmpdir(), 'orlop-certs-'));
  certificate = await new RotatingSource().issue(CART, LIFETIME_MS);
  identities = [
    { identity: CART, state: 'valid', certificate, nextMs: certificate.notBeforeMs + LIFETIME_MS / 2, lastError: '' },
    { identity: LATE, state: 'requested', certificate: undefined, nextMs: certificate.notBeforeMs, lastError: 'the CA is away' },
  ];
  const pods = [{ id: 'shop/cart-1', identity: CART }, { id: 'shop/cart-2', identity: CART }, { id: 'shop/late-1', identity: LATE }];
  server = await serveOnSocket(certificateRoutes({ identities: () => identities, pods: () => pods }), join(runDir, 'admin.sock'));
});

afterAll(() => {
  server.close();
  server.closeAllConnections();
  rmSync(runDir, { recursive: true });
});

async function certs(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, 'certs', '--run-dir', runDir, ...args]);
  const ended = new Promise<number | null>((resolve) => {
    child.on('close', resolve);
  });
  const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { code, out, err };
}

describe('orlop certs', () => {
  test('a line for each identity', async () => {
    const { code, out } = await certs();
    expect(code).toBe(0);
    expect(out).toMatch(/^IDENTITY +SERIAL +ISSUED +EXPIRES +STATE\n/);
    expect(out.trimEnd().split('\n')).toHaveLength(3);
    expect(out).toMatch(new RegExp(`^${CART} +${certificate.serial} +\\S+ \\S+ ago +in 29m \\d+s +valid$`, 'm'));
    expect(out).toMatch(new RegExp(`^${LATE} +- +- +- +requested: the CA is away$`, 'm'));
  });

  test('of a pod: chain, roots, who else has it', async () => {
    const { code, out } = await certs('cart-2');
    expect(code).toBe(0);
    expect(out).toMatch(new RegExp(`^${CART}\\n  pods   shop/cart-1, shop/cart-2\\n  state  valid, renewed in 1[1-5]m \\d+s\\n`));
    const root = new X509Certificate(certificate.roots);
    expect(out).toContain(`chain\n  ${CART}\n    issuer   ${root.issuer.split('\n').join(', ')}\n    serial   ${certificate.serial}\n    valid    `);
    expect(out).toContain(`roots\n  ${root.subject.split('\n').join(', ')}  spiffe://cluster.local\n`);
  });

  test('as JSON, with the certificates themselves', async () => {
    const { out } = await certs('shop/cart-1', '-o', 'json');
    const report = JSON.parse(out) as IdentityReport;
    expect(report.chain.map(({ pem }) => pem).join('')).toBe(certificate.chain);
    expect(report.roots.map(({ pem }) => pem).join('')).toBe(certificate.roots);
    expect(JSON.parse((await certs('--output', 'json')).out)).toHaveLength(2);
  });

  test('never a key', async () => {
    const outputs = await Promise.all([certs(), certs('cart-1'), certs('-o', 'json'), certs('cart-1', '-o', 'json')]);
    const everything = outputs.map(({ out, err }) => out + err).join('');
    expect(everything).not.toContain('PRIVATE');
    for (const line of certificate.key.trim().split('\n').slice(1, -1)) expect(everything).not.toContain(line);
  });

  test('mistakes are told in a line', async () => {
    expect(await certs('cart-9')).toEqual({ code: 1, out: '', err: 'No enrolled pod "cart-9" on this node. There are: shop/cart-1, shop/cart-2, shop/late-1\n' });
    expect(await certs('-o', 'xml')).toMatchObject({ code: 64 });
    const { code, err } = await certs('--run-dir', '/nowhere');
    expect([code, err]).toEqual([69, 'orlop certs: no agent answers at /nowhere/admin.sock (ENOENT); name its --run-dir\n']);
  });
});

test('what has expired, and what could not be renewed, says so', () => {
  const leaf = { subject: '', issuer: 'CN=root', uris: [CART], serial: '4f', notBeforeMs: 0, notAfterMs: 60_000, pem: '' };
  const report: IdentityReport = { identity: CART, state: 'expired', pods: [], nextMs: 95_500, lastError: 'refused', chain: [leaf], roots: [] };
  expect(renderAll([report], 90_061_000)).toContain(`${CART}  4f      1d 1h ago  1d 1h ago  expired: refused\n`);
  expect(renderOne(report, 95_000)).toContain('  state  expired, tried again in 0s\n  error  refused\n');
  expect(renderOne(report, 95_000)).toContain('    valid    1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z, expired 35s ago\n');
  expect(renderAll([], 0)).toBe('no pod of this node has an identity\n');
});
