/** Kubeconfigs: which server a context leads to, and what is said of those that lead nowhere. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { kubeconfigCredentials } from '../../src/kube/credentials.ts';

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-kubeconfig-'));
  path = join(directory, 'config');
  const server = (name: string): object => ({ name, cluster: { server: `https://${name}.example:6443`, 'insecure-skip-tls-verify': true } });
  writeFileSync(path, JSON.stringify({
    apiVersion: 'v1', kind: 'Config', 'current-context': 'test',
    clusters: [server('one'), server('two')],
    users: [{ name: 'me', user: { token: 'secret' } }],
    contexts: [{ name: 'test', context: { cluster: 'one', user: 'me' } }, { name: 'live', context: { cluster: 'two', user: 'me' } }],
  }));
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(directory, { recursive: true });
});

it('takes the current context, or the one that is named', async () => {
  expect((await kubeconfigCredentials(path)).server.host).toBe('one.example:6443');
  const live = await kubeconfigCredentials(path, 'live');
  expect(live.server.host).toBe('two.example:6443');
  expect((await live.present()).headers).toMatchObject({ Authorization: 'Bearer secret' });
});

it('takes the file that kubectl would', async () => {
  vi.stubEnv('KUBECONFIG', path);
  expect((await kubeconfigCredentials(undefined)).server.host).toBe('one.example:6443');
});

it('says which contexts there are when one is misspelt', async () => {
  await expect(kubeconfigCredentials(path, 'life')).rejects.toThrow(`the kubeconfig ${path} has no context life; it has: test, live`);
});

it('says what to do when there is none', async () => {
  vi.stubEnv('KUBECONFIG', undefined);
  vi.stubEnv('HOME', directory);
  await expect(kubeconfigCredentials(undefined)).rejects.toThrow('there is no kubeconfig');
  await expect(kubeconfigCredentials(join(directory, 'other'))).rejects.toThrow(`the kubeconfig ${directory}/other cannot be read`);
});
