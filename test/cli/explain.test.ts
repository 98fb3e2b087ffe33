/** `orlop authz` and `orlop explain` as they are used: from a directory of YAML, and of an agent's admin socket. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { policyRoutes } from '../../src/agent/policy-routes.ts';
import { renderAuthz } from '../../src/cli/authz.ts';
import { buildSnapshot } from '../../src/mesh/build.ts';
import { authzReport } from '../../src/mesh/authz-report.ts';
import type { Snapshot, Workload } from '../../src/mesh/snapshot.ts';
import { serveOnSocket } from '../../src/telemetry/http-endpoints.ts';
import { policy } from '../mesh/security-world.ts';
import { application } from '../mesh/world.ts';

/** Each starts processes, which take their time on a busy machine. */
const STARTS = { timeout: 60_000 };
const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');
const YAML = `${application('shop', ['cart', 'web'])}---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
${policy('ALLOW', '[{from: [{source: {namespaces: [shop]}}], to: [{operation: {methods: [GET]}}]}]', { name: 'readers', more: ', selector: {matchLabels: {app: cart}}' })}`;

let directory: string;
let server: Server;
let snapshot: Snapshot;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-explain-'));
  writeFileSync(join(directory, 'all.yaml'), YAML);
  snapshot = buildSnapshot([{ name: 'all.yaml', text: YAML }]);
  server = await serveOnSocket(policyRoutes(() => snapshot), join(directory, 'admin.sock'));
});

afterAll(() => {
  server.close();
  server.closeAllConnections();
  rmSync(directory, { recursive: true });
});

async function orlop(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, ...args]);
  const ended = new Promise<number | null>((resolve) => {
    child.on('close', resolve);
  });
  const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { code, out, err };
}

describe('orlop explain', () => {
  test('says which rule allows, and ends well', STARTS, async () => {
    const { code, out } = await orlop('explain', 'shop/web-v1', 'cart:9080', 'GET', '/items', '--config', directory);
    expect(code).toBe(0);
    expect(out).toContain('shop/web-v1 → GET cart:9080/items');
    expect(out).toContain('local: handed over on the same node');
    expect(out).toContain('mutual TLS STRICT (PeerAuthentication istio-system/default)');
    expect(out).toContain('ALLOWED by AuthorizationPolicy shop/readers rules[0]: from namespaces=[shop] to methods=[GET]');
  });

  test('says why not, and ends with 1', STARTS, async () => {
    const { code, out } = await orlop('explain', 'shop/web-v1', 'cart', 'POST', '--config', directory);
    expect(code).toBe(1);
    expect(out).toContain('REFUSED: no rule of the ALLOW policies takes it');
  });

  test('gets the same answer from a running agent', STARTS, async () => {
    const question = ['explain', 'shop/web-v1', 'cart:9080', 'GET', '/items', '-H', 'X-A: 1'];
    const [offline, live] = await Promise.all([orlop(...question, '--config', directory), orlop(...question, '--run-dir', directory)]);
    expect(live).toEqual(offline);
    expect((await orlop('explain', 'shop/nobody', 'cart', '--run-dir', directory)).err).toMatch(/neither a pod nor a service account/);
  });

  test('a question that cannot be answered ends with 64, as does a directory that is none', STARTS, async () => {
    const [wrong, missing] = await Promise.all([orlop('explain', 'shop/web-v1', 'crat', '--config', directory), orlop('explain', 'a/b', 'c', '--config', '/nowhere')]);
    expect(wrong).toMatchObject({ code: 64, err: expect.stringContaining('there is no service "crat.shop.svc.cluster.local"') as string });
    expect(missing).toMatchObject({ code: 64, err: expect.stringContaining('is not a directory') as string });
  });
});

describe('orlop authz', () => {
  const LINES = [
    /^shop\/cart-v1 {2}spiffe:\/\/cluster\.local\/ns\/shop\/sa\/default$/m,
    /^any +STRICT +PeerAuthentication istio-system\/default$/m,
    /^ALLOW +shop\/readers +0 +from namespaces=\[shop\] to methods=\[GET\]; HTTP only$/m,
    /^what no rule takes is refused$/m,
  ];

  test('from files and from a running agent alike', STARTS, async () => {
    const [offline, live] = await Promise.all([orlop('authz', 'cart-v1', '--config', directory), orlop('authz', 'shop/cart-v1', '--run-dir', directory)]);
    expect(live).toEqual(offline);
    for (const line of LINES) expect(offline.out).toMatch(line);
  });

  test('fits the terminal', () => {
    const cart = snapshot.workloads.find(({ id }) => id === 'shop/cart-v1') as Workload;
    const lines = renderAuthz(authzReport(snapshot, cart), 50).split('\n');
    expect(Math.max(...lines.map((line) => line.length))).toBe(50);
  });

  test('a pod that is not there ends with an error that names those that are', STARTS, async () => {
    expect(await orlop('authz', 'nobody', '--run-dir', directory)).toMatchObject({ code: 1, err: expect.stringContaining('shop/cart-v1, shop/web-v1') as string });
  });
});
