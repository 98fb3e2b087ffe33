/** The agents of both nodes are replaced under load: nothing is refused and nothing is cut, neither new connections nor those that are open for long. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LoadReport } from '../lab/steady-load.ts';
import { Cluster } from './cluster/cluster.ts';
import { deployOrlop, loadOrlop, SYSTEM_NAMESPACE } from './orlop.ts';

const CHECKOUT = join(import.meta.dirname, '../..');
const NAMESPACE = 'shop';
const FLAG = '/load/flag';

/** A pod of Orlop's image, for its Node, on one node of the cluster: programs are those of this checkout. */
function pod(name: string, node: string, script: string): string {
  return `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: ${NAMESPACE}, labels: {app: ${name}}}
spec:
  nodeName: ${node}
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 0}
  containers:
  - name: main
    image: orlop:dev
    imagePullPolicy: Never
    command: [/usr/bin/node, ${script}]
    env: [{name: POD_NAME, value: ${name}}]
    volumeMounts: [{name: checkout, mountPath: /checkout, readOnly: true}, {name: load, mountPath: /load}]
  volumes: [{name: checkout, hostPath: {path: ${CHECKOUT}}}, {name: load, emptyDir: {}}]
---`;
}

function service(name: string, protocol: string, port: number): string {
  return `
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: ${NAMESPACE}}
spec: {selector: {app: ${name}}, ports: [{name: ${protocol}, port: ${port}}]}
---`;
}

describe('an upgrade of the agents', { timeout: 300_000 }, () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await Cluster.up({ name: 'upgrade', nodes: 2 });
    await loadOrlop(cluster);
    await deployOrlop(cluster);
    const objects = cluster.nodes.flatMap(({ name: node }, i) => [
      pod(`web-${i}`, node, '/checkout/lab/apps/echo.ts') + service(`web-${i}`, 'http', 8080),
      pod(`tcp-${i}`, node, '/checkout/lab/apps/tcp-echo.ts') + service(`tcp-${i}`, 'tcp', 9000),
      // Something that stays: its load is run in it.
      pod(`client-${i}`, node, '/checkout/lab/apps/tcp-echo.ts'),
    ]);
    await cluster.apply(`apiVersion: v1\nkind: Namespace\nmetadata: {name: ${NAMESPACE}, annotations: {orlop.io/mesh: enabled}}\n---${objects.join('')}`);
    await cluster.kubectl(['wait', 'pod', '--all', '-n', NAMESPACE, '--for=condition=Ready', '--timeout=60s']);
    await cluster.until('all pods enrolled', async () => (await enrolled()) === objects.length);
  }, 400_000);

  afterAll(async () => {
    await cluster?.down();
  }, 60_000);

  async function agents(): Promise<string[]> {
    return (await cluster.kubectl(['get', 'pods', '-n', SYSTEM_NAMESPACE, '-l', 'app.kubernetes.io/name=orlop-agent', '-o', 'name'])).trim().split('\n');
  }

  async function ready(): Promise<string[]> {
    const template = '{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}';
    const lines = (await cluster.kubectl(['get', 'pods', '-n', SYSTEM_NAMESPACE, '-l', 'app.kubernetes.io/name=orlop-agent', '-o', `jsonpath=${template}`])).split('\n');
    return lines.filter((line) => line.endsWith(' True')).map((line) => `pod/${line.split(' ')[0]}`);
  }

  /** What the agents say, for a failure that is to be understood. */
  async function agentLogs(): Promise<string> {
    const pods = await cluster.kubectl(['get', 'pods', '-n', SYSTEM_NAMESPACE, '-o', 'wide']);
    const logs = await Promise.all((await agents()).map(async (agent) => `${agent}\n${await cluster.kubectl(['logs', '-n', SYSTEM_NAMESPACE, '--tail=25', agent])}`));
    return [pods, ...logs, await cluster.kubectl(['get', 'events', '-n', SYSTEM_NAMESPACE, '--sort-by=.lastTimestamp'])].join('\n');
  }

  async function enrolled(): Promise<number> {
    const texts = await Promise.all((await agents()).map(async (agent) => cluster.kubectl(['get', '--raw', `/api/v1/namespaces/${SYSTEM_NAMESPACE}/pods/${agent.replace('pod/', '')}:15020/proxy/metrics`])));
    return texts.join('\n').split('\n').filter((line) => line.startsWith('orlop_enrolled_pods ')).reduce((sum, line) => sum + Number(line.split(' ')[1]), 0);
  }

  async function inClient(i: number, args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await cluster.exec(`client-${i}`, ['/usr/bin/node', ...args], { namespace: NAMESPACE });
    expect(code, stderr).toBe(0);
    return stdout;
  }

  /** Requests, downloads and long connections from a pod on each node to both nodes, while `meanwhile` happens. */
  async function underLoad(meanwhile: () => Promise<void>): Promise<LoadReport[]> {
    const clients = cluster.nodes.map((_, i) => i);
    await Promise.all(clients.map(async (i) => inClient(i, ['-e', `require('fs').writeFileSync('${FLAG}', '')`])));
    const urls = clients.flatMap((i) => [`http://web-${i}:8080/`, `http://web-${i}:8080/`, `http://web-${i}:8080/?drip=3000`]);
    const sessions = clients.flatMap((i) => ['--session', `tcp-${i}:9000`]);
    const loads = clients.map(async (i) => JSON.parse(await inClient(i, ['/checkout/test/lab/steady-load.ts', FLAG, '6', ...urls, ...sessions])) as LoadReport);
    await cluster.until('the load has begun', async () => (await Promise.all(clients.map(async (i) => inClient(i, ['-p', `require('fs').existsSync('${FLAG}.begun')`])))).every((text) => text.trim() === 'true'), 60_000);
    await meanwhile();
    await sleep(2_000);
    await Promise.all(clients.map(async (i) => inClient(i, ['-e', `require('fs').rmSync('${FLAG}')`])));
    return Promise.all(loads);
  }

  it('refuses no connection and cuts none: requests, long downloads and open TCP connections on and between two nodes', async () => {
    const before = await agents();
    let rolloutMs = 0;
    const reports = await underLoad(async () => {
      const startedMs = performance.now();
      await cluster.kubectl(['rollout', 'restart', '-n', SYSTEM_NAMESPACE, 'daemonset/orlop-agent']);
      // `kubectl rollout status` would wait for the old ones to end, and they do not before their connections are closed.
      await cluster.until('an agent on each node that was not there before is ready', async () => (await ready()).filter((agent) => !before.includes(agent)).length === 2, 180_000).catch(async (error: unknown) => {
        throw new Error(`${String(error)}\n${await agentLogs()}`);
      });
      rolloutMs = performance.now() - startedMs;
    });
    const total = (of: (report: LoadReport) => number): number => reports.reduce((sum, report) => sum + of(report), 0);
    process.stdout.write(`upgrade of both nodes in ${(rolloutMs / 1000).toFixed(1)} s: ${total(({ requests }) => requests)} requests, ${total(({ exchanges }) => exchanges)} exchanges on open connections, `
      + `${total(({ failures }) => failures.length)} failed; slowest request ${Math.max(...reports.map(({ slowestMs }) => slowestMs))} ms\n`);
    for (const { statuses, failures, exchanges, requests } of reports) {
      expect(failures).toEqual([]);
      expect(statuses).toEqual({ 200: requests });
      expect(exchanges).toBeGreaterThan(0);
    }
    // Those that were replaced end by themselves once the connections that they had are closed.
    await cluster.until('the agents from before have ended', async () => (await agents()).every((agent) => !before.includes(agent)), 90_000);
    expect((await agents()).length).toBe(2);
    expect(await enrolled()).toBe(6);
  });
});
