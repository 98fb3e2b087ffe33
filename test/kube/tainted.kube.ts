/** deploy/overlays/node-taint on two nodes that have the taint: the control plane is scheduled all the same, and pods when the agent of their node is ready. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildImage } from '../../deploy/image/build.ts';
import { runCommand } from '../../src/lab/command.ts';
import { Cluster } from './cluster/cluster.ts';
import { BUSYBOX_IMAGE } from './cluster/images.ts';
import type { KubeNode } from './cluster/node.ts';
import { SYSTEM_NAMESPACE } from './orlop.ts';

const OVERLAY = join(import.meta.dirname, '../../deploy/overlays/node-taint');
const TAINT = 'orlop.io/agent-not-ready';
const NAMESPACE = 'shop';

interface Pod {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly nodeName?: string };
  readonly status: { readonly phase: string; readonly conditions?: readonly { readonly type: string; readonly message?: string }[] };
}

/** For the scheduler to place: only on this node. */
function pod(name: string, node: KubeNode): object {
  const command = ['sh', '-c', 'echo hello > /var/www/index.html; exec httpd -f -p 8080 -h /var/www'];
  return {
    apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: NAMESPACE, labels: { app: name } },
    spec: { nodeSelector: { 'kubernetes.io/hostname': node.name }, containers: [{ name, image: BUSYBOX_IMAGE, command }] },
  };
}

describe('nodes with the taint', { timeout: 240_000 }, () => {
  let cluster: Cluster;
  let directory: string;
  let image: string;
  let first: KubeNode;
  let second: KubeNode;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'orlop-tainted-'));
    image = buildImage(join(directory, 'orlop.tar'), 'dev').path;
    cluster = await Cluster.up({ name: 'tainted', nodes: 2 });
    [first, second] = cluster.nodes as [KubeNode, KubeNode];
    await taint(first, second);
    await cluster.apply([
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE, annotations: { 'orlop.io/mesh': 'enabled' } } },
      { apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace: NAMESPACE }, spec: { selector: { app: 'web' }, ports: [{ name: 'http', port: 80, targetPort: 8080 }] } },
    ]);
    await cluster.until('pods can be made', async () => (await cluster.tryKubectl(['get', 'serviceaccount', 'default', '-n', NAMESPACE])).code === 0);
    await cluster.apply([pod('client', first), pod('web', second)]);
    await cluster.kubectl(['apply', '-k', OVERLAY]);
  }, 400_000);

  afterAll(async () => {
    await cluster.down();
    rmSync(directory, { recursive: true });
  }, 60_000);

  async function taint(...nodes: KubeNode[]): Promise<void> {
    await cluster.kubectl(['taint', 'node', ...nodes.map(({ name }) => name), `${TAINT}=:NoSchedule`]);
  }

  async function isTainted({ name }: KubeNode): Promise<boolean> {
    return (await cluster.kubectl(['get', 'node', name, '-o', 'jsonpath={.spec.taints[*].key}'])).includes(TAINT);
  }

  async function pods(namespace: string): Promise<Pod[]> {
    return (JSON.parse(await cluster.kubectl(['get', 'pods', '-n', namespace, '-o', 'json'])) as { items: Pod[] }).items;
  }

  /** Why a pod is on no node; undefined when it is on one. */
  async function heldBack(name: string): Promise<string | undefined> {
    const found = (await pods(NAMESPACE)).find(({ metadata }) => metadata.name === name);
    return found?.spec.nodeName === undefined ? (found?.status.conditions?.find(({ type }) => type === 'PodScheduled')?.message ?? '') : undefined;
  }

  const ask = async ({ names: { address } }: KubeNode, path: string): Promise<string> => (await runCommand('curl', ['-s', `http://${address}:${path}`])).stdout;

  /** The node's agent is ready when its taint goes; then the pod is there, and in the mesh. */
  async function started(name: string, node: KubeNode, podsOfNode: number): Promise<void> {
    await cluster.until(`${node.name} without its taint`, async () => !(await isTainted(node)), 90_000);
    expect(await ask(node, '15021/healthz/ready')).toBe('ready\n');
    await cluster.kubectl(['wait', '--for=condition=Ready', '--timeout=60s', `pod/${name}`, '-n', NAMESPACE]);
    await cluster.until(`${name} enrolled`, async () => (await ask(node, '15020/metrics')).includes(`\norlop_enrolled_pods ${podsOfNode}\n`));
  }

  it('take the control plane and agents, and no other pods while agents cannot start', async () => {
    // Nodes do not have the image yet.
    await cluster.until('control plane and agents scheduled', async () => {
      const placed = (await pods(SYSTEM_NAMESPACE)).map(({ spec }) => spec.nodeName);
      return [first, second].every(({ name }) => placed.filter((node) => node === name).length === 2);
    });
    for (const name of ['client', 'web']) await cluster.until(`${name} held back`, async () => (await heldBack(name))?.includes(`untolerated taint {${TAINT}`));
  });

  it('take pods as soon as their own agent is ready', async () => {
    await first.loadImage(image);
    await started('client', first, 1);
    expect(await heldBack('web')).toContain('untolerated taint');
    expect(await isTainted(second)).toBe(true);
    // The next one asks for the image sooner: kubelets make ever longer pauses.
    await cluster.kubectl(['delete', 'pods', '-n', SYSTEM_NAMESPACE, '-l', 'app.kubernetes.io/name=orlop-agent', `--field-selector=spec.nodeName=${second.name}`, '--wait=false']);
    await second.loadImage(image);
    await started('web', second, 1);
    const { code, stdout, stderr } = await cluster.exec('client', ['timeout', '5', 'wget', '-q', '-O-', 'http://web/'], { namespace: NAMESPACE });
    expect(code, stderr).toBe(0);
    expect(stdout).toBe('hello\n');
    expect(await ask(second, '15020/metrics')).toMatch(/^istio_requests_total\{reporter="destination",source_workload="client".*connection_security_policy="mutual_tls"/m);
  });

  it('that get it again lose it again', async () => {
    await taint(second);
    await cluster.apply([pod('late', second)]);
    await cluster.until('late held back', async () => (await heldBack('late'))?.includes('untolerated taint'));
    await started('late', second, 2);
  });
});
