/**
 * Certificates that live for seconds, under steady load between two nodes and within each: the intermediate changes twice and the
 * root once, and the CA is away for longer than a certificate lives. No request fails.
 * By hand for as long as one likes: ORLOP_ROTATION_LIFETIME_S=20 ORLOP_ROTATION_FLOW_S=300.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { IdentityReport } from '../../src/agent/certificate-routes.ts';
import type { CaStatus } from '../../src/certs/ca-status.ts';
import { runCommand } from '../../src/lab/command.ts';
import { Lab } from '../../src/lab/lab.ts';
import { agentsUpToDate, scrapeAll, total } from '../../src/lab/mesh-view.ts';
import { applied, echo, mesh, NAMESPACE, pod, STRICT } from './mesh.ts';
import type { LoadReport } from './steady-load.ts';

const CHECKOUT = joinPath(import.meta.dirname, '../..');
const ORLOP = joinPath(CHECKOUT, 'bin/orlop');
const LIFETIME_S = Number(process.env['ORLOP_ROTATION_LIFETIME_S'] ?? 10);
const FLOW_S = Number(process.env['ORLOP_ROTATION_FLOW_S'] ?? 0);
/** The CA waits so long before a new root signs, and again before the old one is dropped. */
const OVERLAP_S = LIFETIME_S + 10;
/** Longer than a certificate lives, as the CA's 30 s are than 20 s. */
const OUTAGE_S = 1.5 * LIFETIME_S;
const CHURN_PAUSE_MS = 1_000;

let lab: Lab;

beforeAll(async () => {
  const args = ['--intermediate-lifetime', '1h', '--root-lifetime', '2h'];
  const topology = [
    mesh('rotation', { control: { certificateLifetime: `${LIFETIME_S}s`, args } }),
    ...['node1', 'node2'].flatMap((node, index) => [pod(`client${index + 1}`, { node }), echo(`server${index + 1}`, { node })]),
    pod('churner', { node: 'node1' }),
  ].join('');
  lab = await Lab.up([], { sources: [{ file: 'rotation topology', text: topology }] });
  await applied(lab, STRICT);
}, 120_000);

afterAll(async () => {
  await lab?.down();
});

it('no request fails while certificates, intermediates and the root change, and the CA is away', async () => {
  const started = Date.now();
  const loads = [startLoad('client1', 'node1', 'server2'), startLoad('client2', 'node2', 'server1')];
  for (const load of loads) load.catch(() => undefined);
  const churn = new AbortController();
  const churned = newTunnelsAgainAndAgain(churn.signal);
  const first = await caStatus();

  await sleep(LIFETIME_S * 500);
  await rotate('intermediate');
  await sleep(LIFETIME_S * 500);
  await rotate('root');
  // The new one signs, and every certificate has changed to it.
  await sleep((OVERLAP_S + LIFETIME_S) * 1000);
  const changed = await caStatus();
  expect(changed.roots.find(({ use }) => use === 'signs')?.serial).not.toBe(first.roots[0]?.serial);

  // Certificates expire while nobody can renew them. What is connected stays so; nobody can come in anew.
  setTunnels(false);
  churn.abort();
  expect(await churned).toBeGreaterThan(3);
  await lab.control('stop');
  await sleep(OUTAGE_S * 1000);
  await lab.control('start');
  await expect.poll(async () => (await caStatus()).signer.serial, { timeout: 10_000 }).toBe(changed.signer.serial);
  await untilEveryCertificateIsAlive();
  setTunnels(true);
  await rotate('intermediate');
  await sleep(Math.max(LIFETIME_S * 1000, FLOW_S * 1000 - (Date.now() - started)));

  const last = await caStatus();
  expect(new Set([first, changed, last].map(({ signer }) => signer.serial)).size).toBe(3);
  expect(last.roots.map(({ serial }) => serial)).not.toContain(first.roots[0]?.serial);
  for (const file of ['client1', 'client2'].map(flagOf)) rmSync(file);
  for (const load of loads) {
    const report = await load;
    process.stdout.write(`${JSON.stringify(report)}\n`);
    expect(report.failures).toEqual([]);
    expect(Object.keys(report.statuses)).toEqual(['200']);
    expect(report.requests).toBeGreaterThan(100 * LIFETIME_S);
    // Each server has shown its certificates one after the other, and clients have seen the one root, both, and the other.
    expect(report.serials).toBeGreaterThan(4);
    expect(report.roots).toBeGreaterThanOrEqual(3);
    expect(report.tunnels).toBeGreaterThan(50);
  }
  expect(total(await scrapeAll(lab), 'istio_requests_total', { reporter: 'destination', connection_security_policy: 'mutual_tls', response_code: '200' })).toBeGreaterThan(0);
}, 600_000);

function flagOf(client: string): string {
  return `${lab.paths.podScratch(NAMESPACE, client)}/load`;
}

function setTunnels(on: boolean): void {
  for (const file of ['client1', 'client2'].map((client) => `${flagOf(client)}.tunnels`)) {
    if (on) writeFileSync(file, '');
    else rmSync(file);
  }
}

async function startLoad(client: string, node: string, far: string): Promise<LoadReport> {
  for (const file of [flagOf(client), `${flagOf(client)}.tunnels`]) writeFileSync(file, '');
  const { runDirectory } = await lab.agent(node).status();
  const { address } = await lab.pod(far);
  // By its address the pod speaks to the other's port 15008 itself, as a foreign agent would; by the name of the Service through its agent.
  await annotate(client, { 'traffic.sidecar.istio.io/excludeOutboundIPRanges': `${address.ipv4}/32` });
  const tunnel = ['--tunnel', `${runDirectory}/workload/workload.sock`, '--tunnel', address.ipv4];
  const { stdout, stderr } = await lab.exec(client, ['node', joinPath(CHECKOUT, 'test/lab/steady-load.ts'), flagOf(client), '4', 'http://server1:8080/', 'http://server2:8080/', ...tunnel]);
  if (stdout === '') throw new Error(`the load of ${client} failed: ${stderr}`);
  return JSON.parse(stdout) as LoadReport;
}

/** A pod that joins the mesh, calls the other node, and leaves: its agent makes new tunnels each time. Resolves with how often. */
async function newTunnelsAgainAndAgain(signal: AbortSignal): Promise<number> {
  let times = 0;
  for (; !signal.aborted; times += 1) {
    await annotate('churner', { 'orlop.io/mesh': 'enabled' });
    const { stdout, stderr } = await lab.exec('churner', ['curl', '-sS', '-m', '10', '-o', '/dev/null', '-w', '%{http_code}', 'http://server2:8080/']);
    expect(stdout, stderr).toBe('200');
    await annotate('churner', { 'orlop.io/mesh': 'disabled' });
    await sleep(CHURN_PAUSE_MS);
  }
  return times;
}

async function annotate(name: string, annotations: Readonly<Record<string, string>>): Promise<void> {
  await lab.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: NAMESPACE, annotations } }));
  await agentsUpToDate(lab);
}

async function rotate(what: 'root' | 'intermediate'): Promise<void> {
  const { code, stderr } = await runCommand(ORLOP, ['control', 'rotate', what, '--run-dir', lab.paths.caDirectory]);
  expect(code, stderr).toBe(0);
}

async function caStatus(): Promise<CaStatus> {
  const { stdout, stderr } = await runCommand(ORLOP, ['control', 'status', '--run-dir', lab.paths.caDirectory]);
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout) as CaStatus;
}

/** `orlop certs` of both nodes says so. */
async function untilEveryCertificateIsAlive(): Promise<void> {
  const { nodes } = await lab.status();
  await expect.poll(async () => {
    const reports = await Promise.all(nodes.map(async ({ agent }) => runCommand(ORLOP, ['certs', '--run-dir', agent.runDirectory, '-o', 'json'])));
    return reports.flatMap(({ stdout }) => JSON.parse(stdout) as IdentityReport[]).filter(({ chain }) => (chain[0]?.notAfterMs ?? 0) <= Date.now());
  }, { timeout: 60_000, interval: 500 }).toEqual([]);
}
