/** Whether an agent that ends is the last of its node: only then its CNI plugin goes. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { OwnDaemonSet } from '../../src/agent/own-daemonset.ts';
import { createLogger } from '../../src/core/log.ts';
import { ApiServer } from '../kube-api/api-server.ts';

const NAME = { namespace: 'orlop-system', name: 'orlop-agent' };

let server: ApiServer;

beforeEach(async () => {
  server = new ApiServer();
  await server.start();
  put();
});

afterEach(async () => {
  await server.stop();
});

function put(metadata: object = {}): void {
  server.put({ apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { ...NAME, ...metadata } });
}

/** As it is at the start of the agent. */
async function open(): Promise<OwnDaemonSet> {
  const daemonSet = new OwnDaemonSet(server.client(), { ...NAME, node: 'node-1' }, createLogger('test', 'silent'));
  await expect.poll(() => server.requests.length).toBe(1);
  expect(await daemonSet.isLeaving()).toBe(false);
  return daemonSet;
}

it('it is when the node no longer has the labels that agents are for', async () => {
  server.put({ apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: NAME, spec: { template: { spec: { nodeSelector: { mesh: 'yes' } } } } });
  const labelled = (labels: object): void => server.put({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1', labels } });
  labelled({ mesh: 'yes' });
  const daemonSet = await open();
  labelled({ mesh: 'no' });
  expect(await daemonSet.isLeaving()).toBe(true);
});

it('it is not while the DaemonSet is there', async () => {
  expect(await (await open()).isLeaving()).toBe(false);
});

it.each([
  ['it is about to be deleted', () => put({ deletionTimestamp: '2026-11-21T10:00:00Z' })],
  ['its namespace is about to be deleted', () => server.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAME.namespace, deletionTimestamp: '2026-11-21T10:00:00Z' } })],
  ['it is gone', () => server.delete('DaemonSet', NAME.name, NAME.namespace)],
  ['the service account is gone', () => (server.failing = 401)],
  ['the rights are gone', () => (server.failing = 403)],
])('it is when %s', async (_, happen) => {
  const daemonSet = await open();
  happen();
  expect(await daemonSet.isLeaving()).toBe(true);
});

it('it is not when the API server fails, or is away', async () => {
  const daemonSet = await open();
  server.failing = 500;
  expect(await daemonSet.isLeaving()).toBe(false);
  await server.stop();
  expect(await daemonSet.isLeaving()).toBe(false);
});

it('it is also when the API server was slow to answer at the start', async () => {
  server.failing = 500;
  const daemonSet = new OwnDaemonSet(server.client(), { ...NAME, node: 'node-1' }, createLogger('test', 'silent'));
  await expect.poll(() => server.requests.length).toBe(1);
  server.failing = undefined;
  await expect.poll(() => server.requests.length, { timeout: 20_000 }).toBe(2);
  expect(await daemonSet.isLeaving()).toBe(false);
  server.delete('DaemonSet', NAME.name, NAME.namespace);
  expect(await daemonSet.isLeaving()).toBe(true);
});

it('it is not when the agent never had the right to know', async () => {
  server.failing = 403;
  const daemonSet = await open();
  expect(await daemonSet.isLeaving()).toBe(false);
});
