/** Pods that start: captured before their first instruction, held back while their node has no agent, and found when they came up all the same. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from '../../src/lab/command.ts';
import { Cluster } from './cluster/cluster.ts';
import { BUSYBOX_IMAGE } from './cluster/images.ts';
import type { KubeNode } from './cluster/node.ts';
import { installOrlop, loadOrlop, SYSTEM_NAMESPACE } from './orlop.ts';
import { webOn } from './web.ts';

const PRINCIPAL = 'spiffe://cluster.local/ns/shop/sa/client';
const CONFIG = '/etc/cni/net.d/10-bridge.conflist';
const FETCH = ['wget', '-q', '-O', '/dev/null', 'http://web/'];

/** On the second node a server that takes mutual TLS alone, and one outside the mesh. */
const APPLICATION = (node: string): string => `
apiVersion: v1
kind: Namespace
metadata: {name: shop, annotations: {orlop.io/mesh: enabled}}
---
apiVersion: v1
kind: Namespace
metadata: {name: outside}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: client, namespace: shop}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
${webOn(node)}---
apiVersion: v1
kind: Pod
metadata: {name: sink, namespace: outside}
spec: {nodeName: ${node}, containers: [{name: sink, image: ${BUSYBOX_IMAGE}, command: [nc, -ll, -p, '9000', -e, cat]}]}
`;

function pod(name: string, node: string, { namespace = 'shop', metadata = {}, spec = {} }: { namespace?: string; metadata?: object; spec?: object } = {}): object {
  return {
    apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, ...metadata },
    spec: { nodeName: node, terminationGracePeriodSeconds: 1, ...(namespace === 'shop' ? { serviceAccountName: 'client' } : {}), containers: [{ name: 'main', image: BUSYBOX_IMAGE, command: ['sleep', 'infinity'] }], ...spec },
  };
}

describe('pods that start', { timeout: 180_000 }, () => {
  let cluster: Cluster;
  let first: KubeNode;
  let second: KubeNode;
  const originals = new Map<KubeNode, string>();
  let namespaces: string;

  beforeAll(async () => {
    cluster = await Cluster.up({ name: 'cni', nodes: 2 });
    [first, second] = cluster.nodes as [KubeNode, KubeNode];
    for (const node of [first, second]) originals.set(node, await onNode(node, 'cat', CONFIG));
    await loadOrlop(cluster);
    await installOrlop(cluster);
    await cluster.apply(APPLICATION(second.name));
    await cluster.kubectl(['wait', '--for=condition=Ready', '--timeout=60s', 'pod/web', '-n', 'shop']);
    await cluster.kubectl(['wait', '--for=condition=Ready', '--timeout=60s', 'pod/sink', '-n', 'outside']);
  }, 400_000);

  afterAll(async () => {
    await cluster.down();
  }, 60_000);

  async function onNode(node: KubeNode, ...argv: string[]): Promise<string> {
    const [command = '', ...rest] = node.argv(argv);
    const { code, stdout, stderr } = await runCommand(command, rest);
    if (code !== 0) throw new Error(stderr);
    return stdout;
  }

  /** As a plugin does that starts anew. */
  async function overwriteConfig(): Promise<void> {
    await onNode(first, 'sh', '-c', `printf '%s' '${originals.get(first) ?? ''}' > ${CONFIG}`);
  }

  async function agentOf(node: KubeNode): Promise<string> {
    return (await cluster.kubectl(['get', 'pods', '-n', SYSTEM_NAMESPACE, '-l', 'app.kubernetes.io/name=orlop-agent', `--field-selector=spec.nodeName=${node.name}`, '-o', 'jsonpath={.items[*].metadata.name}'])).trim();
  }

  async function metric(node: KubeNode, pattern: RegExp): Promise<number> {
    const text = (await runCommand('curl', ['-s', `http://${node.names.address}:15020/metrics`])).stdout;
    return text.split('\n').filter((line) => pattern.test(line)).reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }

  async function phase(name: string, namespace = 'shop'): Promise<string> {
    return cluster.kubectl(['get', 'pod', name, '-n', namespace, '-o', 'jsonpath={.status.phase}']);
  }

  /** Requests that the server's agent has seen of the clients, by whom it took them to be. */
  const requests = async (principal: string): Promise<number> => metric(second, new RegExp(`^istio_requests_total\\{reporter="destination".*source_principal="${principal}".*connection_security_policy="mutual_tls"`));

  it('are captured from their first packet on: init containers and first lines that connect at once, ten times', async () => {
    const spec = {
      nodeName: first.name, serviceAccountName: 'client', restartPolicy: 'Never',
      initContainers: [{ name: 'init', image: BUSYBOX_IMAGE, command: FETCH }],
      containers: [{ name: 'main', image: BUSYBOX_IMAGE, command: FETCH }],
    };
    const before = await requests(PRINCIPAL);
    namespaces = await onNode(first, 'ls', '/run/netns');
    await cluster.apply([{ apiVersion: 'batch/v1', kind: 'Job', metadata: { name: 'eager', namespace: 'shop' }, spec: { completions: 5, parallelism: 5, backoffLimit: 0, template: { spec } } }]);
    await cluster.kubectl(['wait', '--for=condition=Complete', '--timeout=90s', 'job/eager', '-n', 'shop']);
    expect(await requests(PRINCIPAL) - before).toBe(10);
    expect(await metric(first, /^orlop_cni_answers_total\{outcome="enrolled"\}/)).toBe(5);
    expect(await metric(first, /^orlop_pods_repaired_total /)).toBe(0);
    const tookMs = [...(await cluster.logs(await agentOf(first), { namespace: SYSTEM_NAMESPACE })).matchAll(/"tookMs":(\d+)/g)].map(([, ms]) => Number(ms));
    console.log(`enrolled before they started: ${tookMs.join(', ')} ms`);
  });

  it('start at once when they take no part', async () => {
    const before = await metric(first, /^orlop_cni_answers_total\{outcome="not_enrolled"\}/);
    await cluster.apply([pod('stranger', first.name, { namespace: 'outside' })]);
    await cluster.kubectl(['wait', '--for=condition=Ready', '--timeout=60s', 'pod/stranger', '-n', 'outside']);
    expect(await metric(first, /^orlop_cni_answers_total\{outcome="not_enrolled"\}/)).toBe(before + 1);
    await cluster.kubectl(['delete', 'pod', 'stranger', '-n', 'outside']);
  });

  it('leave nothing when they end', async () => {
    await cluster.kubectl(['delete', 'job', 'eager', '-n', 'shop']);
    await cluster.until('their network namespaces are gone', async () => (await onNode(first, 'ls', '/run/netns')) === namespaces);
    expect(JSON.parse(await onNode(first, 'cat', '/run/orlop/sandboxes.json'))).toEqual([]);
    await cluster.until('nobody is enrolled', async () => (await metric(first, /^orlop_enrolled_pods /)) === 0);
  });

  it('are captured from the first packet on also when their sandbox is made anew', async () => {
    const fetch = { name: 'main', image: BUSYBOX_IMAGE, command: ['sh', '-c', `${FETCH.join(' ')} && exec sleep infinity`] };
    await cluster.apply([pod('anew', first.name, { spec: { containers: [fetch] } })]);
    await cluster.kubectl(['wait', '--for=condition=Ready', '--timeout=60s', 'pod/anew', '-n', 'shop']);
    const [uid = '', address] = (await cluster.kubectl(['get', 'pod', 'anew', '-n', 'shop', '-o', 'jsonpath={.metadata.uid} {.status.podIP}'])).split(' ');
    const before = await requests(PRINCIPAL);
    await onNode(first, 'sh', '-c', `for pid in $(grep -l ${uid} /proc/[0-9]*/cgroup | cut -d/ -f3); do [ "$(cat /proc/$pid/comm)" != pause ] || kill -9 $pid; done`);
    await cluster.until('it is there again, at another address, and has fetched', async () => {
      const state = await cluster.kubectl(['get', 'pod', 'anew', '-n', 'shop', '-o', 'jsonpath={.status.podIP} {.status.containerStatuses[0].ready}']);
      return !state.startsWith(`${address ?? ''} `) && state.endsWith(' true') && (await requests(PRINCIPAL)) === before + 1;
    }, 120_000);
    expect(await metric(first, /^orlop_pods_repaired_total /)).toBe(0);
    await cluster.kubectl(['delete', 'pod', 'anew', '-n', 'shop']);
  });

  it('are captured again soon when another plugin overwrites the network configuration', async () => {
    await overwriteConfig();
    await cluster.until('the entry is back', async () => (await onNode(first, 'cat', CONFIG)).includes('"orlop-cni"'));
    expect(await metric(first, /^orlop_cni_repairs_total /)).toBe(1);
  });

  describe('on a node whose agent is away', () => {
    const affinity = (node: string | undefined): string => JSON.stringify({
      spec: { template: { spec: { affinity: node === undefined ? null : { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'NotIn', values: [node] }] }] } } } } } },
    });

    beforeAll(async () => {
      await cluster.kubectl(['patch', 'daemonset', 'orlop-agent', '-n', SYSTEM_NAMESPACE, '--type=merge', '-p', affinity(first.name)]);
      await cluster.until('the agent has gone', async () => (await agentOf(first)) === '');
    }, 120_000);

    it('are held back, with a reason; what must start and what declines starts', async () => {
      await cluster.apply([pod('held', first.name), pod('declines', first.name, { metadata: { annotations: { 'orlop.io/mesh': 'disabled' } } }), pod('system', first.name, { namespace: 'kube-system' })]);
      await cluster.kubectl(['wait', '--for=condition=Ready', '--timeout=60s', 'pod/declines', '-n', 'shop']);
      await cluster.kubectl(['wait', '--for=condition=Ready', '--timeout=60s', 'pod/system', '-n', 'kube-system']);
      await cluster.until('the kubelet tells why', async () => {
        const events = await cluster.kubectl(['get', 'events', '-n', 'shop', '--field-selector=involvedObject.name=held,reason=FailedCreatePodSandBox', '-o', 'jsonpath={.items[*].message}']);
        return events.includes('no Orlop agent has answered on this node within 15000 ms; the pod is held back until one does; /run/orlop/cni.sock: ');
      }, 60_000);
      expect(await phase('held')).toBe('Pending');
    });

    it('come up outside the mesh when the entry has been overwritten as well, and are found when the agent is back', async () => {
      await overwriteConfig();
      const sink = await cluster.kubectl(['get', 'pod', 'sink', '-n', 'outside', '-o', 'jsonpath={.status.podIP}']);
      const late = { containers: [{ name: 'main', image: BUSYBOX_IMAGE, command: ['nc', sink, '9000'], stdin: true, tty: true }] };
      await cluster.apply([pod('late', first.name, { spec: late })]);
      await cluster.kubectl(['wait', '--for=condition=Ready', '--timeout=90s', 'pod/late', '-n', 'shop']);
      expect((await cluster.exec('late', ['timeout', '5', ...FETCH], { namespace: 'shop' })).code).not.toBe(0);
      await cluster.kubectl(['patch', 'daemonset', 'orlop-agent', '-n', SYSTEM_NAMESPACE, '--type=merge', '-p', affinity(undefined)]);
      await cluster.kubectl(['wait', '--for=condition=Ready', '--timeout=120s', 'pod/held', '-n', 'shop']);
      await cluster.kubectl(['rollout', 'status', '-n', SYSTEM_NAMESPACE, '--timeout=120s', 'daemonset/orlop-agent']);
      await cluster.until('it is found', async () => (await metric(first, /^orlop_pods_repaired_total /)) > 0);
      const logs = await cluster.logs(await agentOf(first), { namespace: SYSTEM_NAMESPACE });
      expect(logs).toMatch(/"pod":"shop\/late","connections":1,"msg":"the pod had come up outside the mesh/);
      const before = await requests(PRINCIPAL);
      for (const name of ['held', 'late']) expect((await cluster.exec(name, ['timeout', '5', ...FETCH], { namespace: 'shop' })).code, name).toBe(0);
      expect(await requests(PRINCIPAL)).toBe(before + 2);
      expect(await onNode(first, 'cat', CONFIG)).toContain('"orlop-cni"');
    });
  });

  it('are as before when the agents are removed', async () => {
    await cluster.kubectl(['delete', 'daemonset', 'orlop-agent', '-n', SYSTEM_NAMESPACE, '--cascade=foreground', '--timeout=60s']);
    for (const node of [first, second]) {
      expect(JSON.parse(await onNode(node, 'cat', CONFIG)), node.name).toEqual(JSON.parse(originals.get(node) ?? ''));
      expect(await onNode(node, 'ls', '/etc/cni/net.d', '/opt/cni/bin')).not.toContain('orlop');
    }
    await cluster.apply([pod('after', first.name)]);
    await cluster.kubectl(['wait', '--for=condition=Ready', '--timeout=60s', 'pod/after', '-n', 'shop']);
  });
});
