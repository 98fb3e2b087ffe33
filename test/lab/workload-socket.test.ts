/** Programs in the pods of a lab of two nodes ask their agents for certificates, which come from one CA. */
import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join as joinPath } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { IdentityReport } from '../../src/agent/certificate-routes.ts';
import { verifyChain } from '../../src/certs/verify-chain.ts';
import { Lab } from '../../src/lab/lab.ts';
import { agentsUpToDate } from '../../src/lab/mesh-view.ts';
import { join, labOf } from './topology.ts';

const ORLOP = joinPath(import.meta.dirname, '../../bin/orlop');
const CLIENT = joinPath(process.env['XDG_CACHE_HOME'] ?? joinPath(homedir(), '.cache'), 'orlop/bin/spiffe-client');

describe('programs in pods', () => {
  let lab: Lab;

  beforeAll(async () => {
    if (!existsSync(CLIENT)) throw new Error(`${CLIENT} is missing; run scripts/spiffe-client.sh`);
    const topology = labOf('sds', ['sds1', 'sds2']) + join([
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'cart', namespace: 'default' } },
      pod('cart', 'sds1', 'cart'), pod('cart-too', 'sds2', 'cart'), pod('plain', 'sds2'), pod('outsider', 'sds1', 'cart', 'disabled'),
    ]);
    lab = await Lab.up([], { sources: [{ file: 'workload topology', text: topology }] });
    await agentsUpToDate(lab);
  }, 120_000);

  afterAll(async () => {
    await lab?.down();
  });

  async function runDirectory(node: string): Promise<string> {
    return (await lab.agent(node).status()).runDirectory;
  }

  async function socketOf(node: string): Promise<string> {
    return joinPath(await runDirectory(node), 'workload/workload.sock');
  }

  /** The first line that a client of the Workload API in this pod prints. */
  async function ask(name: string, node: string): Promise<Record<string, unknown>> {
    const { stdout } = await lab.exec(name, ['timeout', '3', CLIENT, `unix://${await socketOf(node)}`]);
    return JSON.parse(stdout.split('\n')[0] ?? '') as Record<string, unknown>;
  }

  async function certs(node: string, ...args: string[]): Promise<unknown> {
    const { stdout, stderr } = spawnSync(ORLOP, ['certs', '--run-dir', await runDirectory(node), '-o', 'json', ...args], { encoding: 'utf8' });
    expect(stderr).toBe('');
    return JSON.parse(stdout) as unknown;
  }

  it('have their own identity, on whichever node', async () => {
    const [cart, cartToo, plain] = await Promise.all([ask('cart', 'sds1'), ask('cart-too', 'sds2'), ask('plain', 'sds2')]);
    for (const one of [cart, cartToo]) expect(one).toMatchObject({ id: 'spiffe://cluster.local/ns/default/sa/cart' });
    expect(plain).toMatchObject({ id: 'spiffe://cluster.local/ns/default/sa/default' });
  });

  it('may run as any user: the socket is within everybody\'s reach', async () => {
    for (let path = await socketOf('sds1'); path !== '/'; path = dirname(path)) {
      const { mode } = statSync(path);
      expect(mode & 0o001 || mode & 0o002, path).not.toBe(0);
    }
  });

  it('have none where they are not in the mesh, or ask the agent of another node', async () => {
    for (const refused of await Promise.all([ask('outsider', 'sds1'), ask('cart', 'sds2')])) {
      expect(refused).toMatchObject({ error: expect.stringContaining('PermissionDenied') as string });
    }
  });

  it('have certificates that those of the other node verify, and that orlop certs shows', async () => {
    const [here, there] = [await certs('sds1', 'cart') as IdentityReport, await certs('sds2', 'cart-too') as IdentityReport];
    expect([here.pods, there.pods]).toEqual([['default/cart'], ['default/cart-too']]);
    expect(here.chain[0]?.serial).toBe((await ask('cart', 'sds1'))['serial']);
    expect(here.chain[0]?.serial).not.toBe(there.chain[0]?.serial);
    const pem = (certificates: IdentityReport['chain']): string => certificates.map((certificate) => certificate.pem).join('');
    verifyChain(pem(here.chain), pem(there.roots), Date.now());
    verifyChain(pem(there.chain), pem(here.roots), Date.now());
    expect(await certs('sds2')).toHaveLength(2);
  });
});

function pod(name: string, nodeName: string, serviceAccountName?: string, mesh?: string): object {
  const annotations = mesh === undefined ? {} : { 'orlop.io/mesh': mesh };
  const containers = [{ name: 'shell', command: ['sleep', 'infinity'] }];
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'default', annotations }, spec: { nodeName, ...(serviceAccountName !== undefined && { serviceAccountName }), containers } };
}
