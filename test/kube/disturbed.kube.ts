/**
 * What is disturbed on a cluster with a mesh, under steady requests between pods of both nodes: what fails is counted and told, and that
 * requests are answered again afterwards takes no hand. And what becomes of pods that end, or cannot join.
 */
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand, sleep } from '../../src/lab/command.ts';
import { Cluster } from './cluster/cluster.ts';
import { BUSYBOX_IMAGE } from './cluster/images.ts';
import type { KubeNode } from './cluster/node.ts';
import { agentOf, deployOrlop, loadOrlop, SYSTEM_NAMESPACE } from './orlop.ts';
import { PATIENT_SERVER } from './traffic/patient-server.ts';
import type { Failure } from './traffic/request-loop.ts';
import { programPod, REQUESTS_AT_A_TIME, tell, Traffic } from './traffic/traffic.ts';
import type { Passed } from './traffic/traffic.ts';

const NAMESPACE = 'traffic';
const API_SERVER_AWAY_MS = 60_000;
const NODES_NOTICED_MS = 10_000;
const server = (index: number, nodeName: string): object =>
  programPod(`server-${index}`, NAMESPACE, { argv: [PATIENT_SERVER, '8080'], nodeName, labels: { app: 'server' }, port: 8080 });
const service = (name: string): object => ({ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: NAMESPACE }, spec: { selector: { app: 'server' }, ports: [{ name: 'http', port: 80, targetPort: 8080 }] } });

const isRefused = ({ reason }: Failure): boolean => reason.startsWith('ECONNREFUSED');

describe('a mesh that is disturbed', { timeout: 300_000 }, () => {
  let cluster: Cluster;
  let traffic: Traffic;

  beforeAll(async () => {
    cluster = await Cluster.up({ name: 'disturbed', nodes: 2 });
    await loadOrlop(cluster);
    await deployOrlop(cluster);
    await cluster.apply([
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE, annotations: { 'orlop.io/mesh': 'enabled' } } },
      service('server'), ...cluster.nodes.map(({ name }, i) => server(i + 1, name)),
    ]);
    await cluster.kubectl(['wait', '--for=condition=Ready', 'pod', '-n', NAMESPACE, '-l', 'app=server', '--timeout=120s']);
    traffic = await Traffic.start(cluster, NAMESPACE, ['http://server/']);
  }, 600_000);

  afterAll(async () => {
    await cluster.down();
  }, 60_000);

  const annotation = async (pod: string): Promise<{ state?: string; reason?: string }> =>
    JSON.parse((await cluster.kubectl(['get', 'pod', pod, '-n', NAMESPACE, '-o', 'jsonpath={.metadata.annotations.orlop\\.io/status}'])) || '{}') as { state?: string; reason?: string };
  const eventsOf = async (pod: string): Promise<string> => cluster.kubectl(['get', 'events', '-n', NAMESPACE, '--field-selector', `involvedObject.name=${pod}`, '-o', 'jsonpath={range .items[*]}{.reason}: {.message}{"\\n"}{end}']);

  /** Requests while `happening`, told in the log; then all is answered again. */
  async function disturb(what: string, happening: () => Promise<unknown>): Promise<Passed> {
    const passed = await traffic.during(async () => {
      await happening();
      await traffic.untilFlowing();
    });
    process.stdout.write(`${tell(what, passed)}\n`);
    expect(passed.requests).toBeGreaterThan(0);
    return passed;
  }

  it('pods of all nodes are told that they are in', async () => {
    for (const pod of ['server-1', 'server-2', 'client-1', 'client-2']) {
      await cluster.until(`${pod} told`, async () => (await annotation(pod)).state === 'enrolled');
      await cluster.until(`${pod} has its event`, async () => (await eventsOf(pod)).includes('Enrolled: In the mesh by annotation orlop.io/mesh: enabled of namespace traffic'));
    }
  });

  it('an agent that is killed comes back by itself, and serves the pods that it had; what was under way is lost, and who comes meanwhile waits', async () => {
    const [{ name }] = cluster.nodes as readonly [KubeNode];
    const { failed, failures } = await disturb('agent killed with -9', async () => {
      const before = agentOf(name);
      expect(before.length).toBeGreaterThan(0);
      for (const pid of before) process.kill(pid, 'SIGKILL');
      await cluster.until('another agent runs', async () => agentOf(name).some((pid) => !before.includes(pid)));
    });
    expect(failures.filter(isRefused)).toEqual([]);
    expect(failed).toBeLessThanOrEqual(cluster.nodes.length * REQUESTS_AT_A_TIME);
  });

  it('nothing fails while the API server is away, and what changes afterwards is followed', async () => {
    const { failed } = await disturb(`API server away for ${API_SERVER_AWAY_MS / 1000} s`, async () => {
      await cluster.disturb('apiserver', 'kill');
      await sleep(API_SERVER_AWAY_MS);
      await cluster.disturb('apiserver', 'start');
      await cluster.until('the API server answers', async () => (await cluster.tryKubectl(['get', '--raw', '/readyz'])).code === 0);
    });
    expect(failed).toBe(0);
    await cluster.kubectl(['annotate', 'pod', 'client-1', '-n', NAMESPACE, 'orlop.io/mesh=disabled']);
    await cluster.until('the change is followed', async () => (await annotation('client-1')).state === undefined);
    await cluster.kubectl(['annotate', 'pod', 'client-1', '-n', NAMESPACE, 'orlop.io/mesh-']);
    await cluster.until('and the next', async () => (await annotation('client-1')).state === 'enrolled');
  });

  it('an agent that is killed while the API server is away serves by what it had saved, and who asks its pods is answered', async () => {
    const [{ name }] = cluster.nodes as readonly [KubeNode];
    await cluster.until('the objects are saved', async () => agentOf(name).some((pid) => existsSync(`/proc/${pid}/root/run/orlop/objects.gz`)), 70_000);
    const { failed, failures } = await disturb('API server away, and an agent killed with -9 meanwhile', async () => {
      await cluster.disturb('apiserver', 'kill');
      const before = agentOf(name);
      for (const pid of before) process.kill(pid, 'SIGKILL');
      await cluster.until('another agent runs', async () => agentOf(name).some((pid) => !before.includes(pid)));
      await traffic.untilFlowing();
      await cluster.disturb('apiserver', 'start');
      await cluster.until('the API server answers', async () => (await cluster.tryKubectl(['get', '--raw', '/readyz'])).code === 0);
      // A node that has not reported for long may be taken for lost at first, with the endpoints on it.
      await sleep(NODES_NOTICED_MS);
    });
    expect(failures.filter(isRefused)).toEqual([]);
    // The kubelet waits 10 s now, which is longer than the clients do: what was under way, and each of them once more.
    expect(failed).toBeLessThanOrEqual(2 * cluster.nodes.length * REQUESTS_AT_A_TIME);
  });

  it('nothing fails while the control plane is replaced', async () => {
    const { failed } = await disturb('control plane deleted', async () => {
      await cluster.kubectl(['delete', 'pods', '-n', SYSTEM_NAMESPACE, '-l', 'app.kubernetes.io/name=orlop-control', '--now']);
      await cluster.kubectl(['rollout', 'status', '-n', SYSTEM_NAMESPACE, 'deployment/orlop-control', '--timeout=120s']);
    });
    expect(failed).toBe(0);
  });

  it('Services that are made while kube-proxy is dead are reached by pods of the mesh', async () => {
    const { failed } = await disturb('kube-proxy dead', async () => {
      for (const { name } of cluster.nodes) await cluster.disturb(`kube-proxy/${name}`, 'kill');
      await cluster.apply([service('new')]);
      const address = (await cluster.kubectl(['get', 'service', 'new', '-n', NAMESPACE, '-o', 'jsonpath={.spec.clusterIP}'])).trim();
      const ask = `fetch('http://${address}/').then((r) => r.text()).then((t) => process.stdout.write(t))`;
      await cluster.until('the new Service answers', async () => (await cluster.exec('client-1', ['/usr/bin/node', '--eval', ask], { namespace: NAMESPACE })).stdout.startsWith('server-'));
      for (const { name } of cluster.nodes) await cluster.disturb(`kube-proxy/${name}`, 'start');
    });
    expect(failed).toBe(0);
  });

  it('a CNI configuration that somebody overwrites is mended, and pods that start meanwhile are in the mesh all the same', async () => {
    const [node] = cluster.nodes as readonly [KubeNode];
    const onNode = async (script: string): Promise<string> => {
      const [command = '', ...argv] = node.argv(['sh', '-c', script]);
      return (await runCommand(command, argv)).stdout.trim();
    };
    const find = 'grep -l orlop /etc/cni/net.d/*.conflist';
    const file = await onNode(find);
    expect(file).not.toBe('');
    const original = JSON.parse(await onNode(`cat ${file}`)) as { plugins: { type: string }[] };
    const without = { ...original, plugins: original.plugins.filter(({ type }) => !type.startsWith('orlop')) };
    expect(without.plugins.length).toBe(original.plugins.length - 1);
    const { failed } = await disturb('CNI configuration overwritten', async () => {
      await onNode(`cat > ${file}.new <<'END'\n${JSON.stringify(without)}\nEND\nmv ${file}.new ${file}`);
      await cluster.apply([programPod('meanwhile', NAMESPACE, { argv: [PATIENT_SERVER, '8080'], nodeName: node.name, port: 8080 })]);
      await cluster.until('mended', async () => (await onNode(find)) === file);
      await cluster.until('the pod that started meanwhile is in', async () => (await annotation('meanwhile')).state === 'enrolled');
    });
    expect(failed).toBe(0);
  });

  it('a pod that ends is served until it has: what is under way is answered, and who still asks, too', async () => {
    const [node] = cluster.nodes as readonly [KubeNode];
    await cluster.apply([server(3, node.name)]);
    await cluster.kubectl(['wait', '--for=condition=Ready', 'pod/server-3', '-n', NAMESPACE, '--timeout=60s']);
    const address = (await cluster.kubectl(['get', 'pod', 'server-3', '-n', NAMESPACE, '-o', 'jsonpath={.status.podIP}'])).trim();
    // From the other node, so through a tunnel; the server ends 4 s after it is asked to.
    const ask = async (path: string): Promise<string> => (await cluster.exec('client-2', ['/usr/bin/node', '--eval', `fetch('http://${address}:8080${path}').then((r) => r.text()).then((t) => process.stdout.write(t))`], { namespace: NAMESPACE })).stdout.trim();
    const { failed } = await disturb('a pod ends', async () => {
      const slow = ask('/?delay=5000');
      await cluster.until('it is asked', async () => (await ask('/under-way')) === '1');
      await cluster.kubectl(['delete', 'pod', 'server-3', '-n', NAMESPACE, '--wait=false']);
      await cluster.until('it is leaving, and answers', async () => (await ask('/')) === 'server-3 leaving');
      expect(await slow).toBe('server-3');
      await cluster.kubectl(['wait', '--for=delete', 'pod/server-3', '-n', NAMESPACE, '--timeout=60s']);
    });
    expect(failed).toBe(0);
  });

  it('a Job completes, and its pod is let go', async () => {
    const [node] = cluster.nodes as readonly [KubeNode];
    await cluster.apply([{
      apiVersion: 'batch/v1', kind: 'Job', metadata: { name: 'once', namespace: NAMESPACE },
      spec: { backoffLimit: 0, template: { spec: { restartPolicy: 'Never', nodeName: node.name, containers: [{ name: 'job', image: BUSYBOX_IMAGE, command: ['sh', '-c', 'timeout 5 wget -q -O- http://server/ && sleep 3'] }] } } },
    }]);
    await cluster.kubectl(['wait', '--for=condition=Complete', 'job/once', '-n', NAMESPACE, '--timeout=60s']);
    const pod = (await cluster.kubectl(['get', 'pods', '-n', NAMESPACE, '-l', 'job-name=once', '-o', 'jsonpath={.items[0].metadata.name}'])).trim();
    expect(await cluster.logs(pod, { namespace: NAMESPACE })).toMatch(/^server-/);
    await cluster.until('released', async () => /Enrolled: [^]*Released: No longer in the mesh: it has ended/.test(await eventsOf(pod)));
    expect(await annotation(pod)).toEqual({});
  });

  it('a pod of the host network is told why it is not in', async () => {
    const [node] = cluster.nodes as readonly [KubeNode];
    await cluster.apply([{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'host', namespace: NAMESPACE }, spec: { nodeName: node.name, hostNetwork: true, containers: [{ name: 'host', image: BUSYBOX_IMAGE, command: ['sleep', 'infinity'] }] } }]);
    await cluster.until('told', async () => (await annotation('host')).state === 'not enrolled');
    expect(await annotation('host')).toEqual({ state: 'not enrolled', reason: 'it uses the host network, which it shares with others' });
    await cluster.until('its event', async () => (await eventsOf('host')).includes('NotEnrolled: Not in the mesh: it uses the host network'));
  });

  it('a namespace with Istio\'s label is in too', async () => {
    const [node] = cluster.nodes as readonly [KubeNode];
    await cluster.apply([
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'ambient', labels: { 'istio.io/dataplane-mode': 'ambient' } } },
      programPod('web', 'ambient', { argv: [PATIENT_SERVER, '8080'], nodeName: node.name, port: 8080 }),
    ]);
    await cluster.until('told', async () => (await cluster.kubectl(['get', 'pod', 'web', '-n', 'ambient', '-o', 'jsonpath={.metadata.annotations.orlop\\.io/status}'])).includes('istio.io/dataplane-mode: ambient'));
  });

  it('nothing fails when pods leave and join again while they run, and what they were told is taken back', async () => {
    const { failed } = await disturb('all pods leave the mesh and join it again', async () => {
      await cluster.kubectl(['annotate', 'namespace', NAMESPACE, 'orlop.io/mesh-']);
      await traffic.untilFlowing();
      await cluster.kubectl(['annotate', 'namespace', NAMESPACE, 'orlop.io/mesh=enabled']);
      await traffic.untilFlowing();
      await cluster.kubectl(['annotate', 'namespace', NAMESPACE, 'orlop.io/mesh-']);
    });
    expect(failed).toBe(0);
    for (const pod of ['server-1', 'client-2', 'host']) await cluster.until(`${pod} told nothing`, async () => (await annotation(pod)).state === undefined);
    await cluster.until('it is told why', async () => (await eventsOf('server-1')).includes('Released: No longer in the mesh: neither it nor namespace traffic has orlop.io/mesh: enabled'));
  });
});
