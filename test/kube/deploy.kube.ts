/** `kubectl apply -k deploy/` on two nodes: running pods join when their namespace is annotated, are encrypted between nodes, and leave no trace. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from '../../src/lab/command.ts';
import { Cluster } from './cluster/cluster.ts';
import { BUSYBOX_IMAGE } from './cluster/images.ts';
import type { KubeNode } from './cluster/node.ts';
import { agentOf, loadOrlop } from './orlop.ts';

const DEPLOY = join(import.meta.dirname, '../../deploy');
const SYSTEM = 'orlop-system';
const NAMESPACE = 'shop';
/** Kubernetes looks again after half of the grace period of pods that did not end at once: that of agents is 630 s. */
const NAMESPACE_GONE_MS = 400_000;

/** On each node a server that says whom it takes its caller to be, and a client. */
const APPLICATION = `
apiVersion: v1
kind: Namespace
metadata: {name: ${NAMESPACE}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web, namespace: ${NAMESPACE}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: ${BUSYBOX_IMAGE}
        command: [sh, -c, 'hostname > /var/www/index.html; exec httpd -f -p 8080 -h /var/www']
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client, namespace: ${NAMESPACE}}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: client, image: ${BUSYBOX_IMAGE}, command: [sleep, infinity]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: ${NAMESPACE}}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
`;

describe('deploy/ on two nodes', { timeout: 600_000 }, () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await Cluster.up({ name: 'deploy', nodes: 2 });
    await loadOrlop(cluster);
    await cluster.kubectl(['apply', '-k', DEPLOY]);
    await cluster.apply(APPLICATION);
    for (const what of [`daemonset/orlop-agent -n ${SYSTEM}`, `deployment/orlop-control -n ${SYSTEM}`, `daemonset/web -n ${NAMESPACE}`, `deployment/client -n ${NAMESPACE}`]) await cluster.kubectl(['rollout', 'status', '--timeout=120s', ...what.split(' ')]);
  }, 400_000);

  afterAll(async () => {
    await cluster.down();
  }, 60_000);

  async function agents(): Promise<string[]> {
    return (await cluster.kubectl(['get', 'pods', '-n', SYSTEM, '-l', 'app.kubernetes.io/name=orlop-agent', '-o', 'name'])).trim().split('\n');
  }

  /** Lines of all agents' metrics. */
  async function metrics(name: string): Promise<string[]> {
    const texts = await Promise.all((await agents()).map(async (pod) => cluster.kubectl(['get', '--raw', `/api/v1/namespaces/${SYSTEM}/pods/${pod.replace('pod/', '')}:15020/proxy/metrics`])));
    return texts.join('\n').split('\n').filter((line) => line.startsWith(name));
  }

  const enrolled = async (): Promise<number> => (await metrics('orlop_enrolled_pods ')).reduce((sum, line) => sum + Number(line.split(' ')[1]), 0);

  async function fetchPage(): Promise<string> {
    const { code, stdout, stderr } = await cluster.exec('deploy/client', ['timeout', '5', 'wget', '-q', '-O-', 'http://web/'], { namespace: NAMESPACE });
    expect(code, stderr).toBe(0);
    return stdout.trim();
  }

  async function restarts(): Promise<string> {
    return cluster.kubectl(['get', 'pods', '-n', NAMESPACE, '-o', 'jsonpath={.items[*].status.containerStatuses[*].restartCount}']);
  }

  it('carries nobody that has not asked for it', async () => {
    expect(await fetchPage()).toMatch(/^web-/);
    expect(await enrolled()).toBe(0);
  });

  it('takes running pods in when their namespace is annotated, without a restart, and encrypts between nodes', async () => {
    await cluster.kubectl(['annotate', 'namespace', NAMESPACE, 'orlop.io/mesh=enabled']);
    await cluster.until('all pods enrolled', async () => (await enrolled()) === 3);
    const pages = new Set<string>();
    for (let i = 0; i < 20; i += 1) pages.add(await fetchPage());
    expect(pages.size).toBe(2);
    const requests = await metrics('istio_requests_total{reporter="destination",source_workload="client"');
    expect(requests.length).toBeGreaterThan(0);
    for (const line of requests) expect(line).toContain('connection_security_policy="mutual_tls"');
    expect(await restarts()).toBe('0 0 0');
  });

  it('has API servers ask before they store an object, through the Service of the control plane', async () => {
    await cluster.kubectl(['apply', '-k', join(DEPLOY, 'crds')]);
    const wrong = { apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata: { name: 'wrong', namespace: NAMESPACE }, spec: { hosts: ['web'], http: [{ timout: '5s' }] } };
    await cluster.until('a wrong object is refused', async () => (await cluster.tryKubectl(['apply', '--dry-run=server', '-f', '-'], JSON.stringify(wrong))).stderr.includes('did you mean "timeout"?'));
    await cluster.kubectl(['delete', '-k', join(DEPLOY, 'crds')]);
  });

  it('takes an agent that is deleted for one that starts: pods are served again by the next', async () => {
    const [first = ''] = await agents();
    await cluster.kubectl(['delete', '-n', SYSTEM, first]);
    await cluster.kubectl(['rollout', 'status', '--timeout=60s', 'daemonset/orlop-agent', '-n', SYSTEM]);
    await cluster.until('all pods enrolled again', async () => (await enrolled()) === 3);
    expect(await fetchPage()).toMatch(/^web-/);
  });

  it('goes on while the API server is away, also with an agent that is killed meanwhile and has to start', async () => {
    const [{ name, names: { netns } }] = cluster.nodes as readonly [KubeNode];
    const ready = async (): Promise<string> => (await runCommand('ip', ['netns', 'exec', netns, 'curl', '-s', 'http://127.0.0.1:15021/healthz/ready'])).stdout;
    // Some seconds after the last change.
    await cluster.until('the objects are saved', async () => agentOf(name).some((pid) => existsSync(`/proc/${pid}/root/run/orlop/objects.gz`)), 70_000);
    await cluster.disturb('apiserver', 'kill');
    await cluster.until('the agent says that it may be out of date', async () => (await ready()).startsWith('ready, but degraded: the API server'));
    for (const pid of agentOf(name)) process.kill(pid, 'SIGKILL');
    await cluster.until('the agent has gone', async () => (await ready()) === '');
    await cluster.until('the next one serves with what was saved', async () => (await ready()).startsWith('ready, but degraded: the API server'));
    await cluster.disturb('apiserver', 'start');
    await cluster.until('it is followed again', async () => (await ready()) === 'ready\n');
    await cluster.until('all pods enrolled again', async () => (await enrolled().catch(() => 0)) === 3);
    expect(await fetchPage()).toMatch(/^web-/);
  });

  it('lets pods go when the annotation goes', async () => {
    await cluster.kubectl(['annotate', 'namespace', NAMESPACE, 'orlop.io/mesh-']);
    await cluster.until('no pod enrolled', async () => (await enrolled()) === 0);
    expect(await fetchPage()).toMatch(/^web-/);
  });

  it('leaves nothing in pods and cluster when it is deleted', async () => {
    await cluster.kubectl(['delete', '-k', DEPLOY, '--wait=false']);
    await cluster.until('agents and control plane are gone', async () => (await cluster.kubectl(['get', 'pods', '-n', SYSTEM, '-o', 'name'])) === '');
    await cluster.until('the namespace is gone', async () => (await cluster.tryKubectl(['get', 'namespace', SYSTEM])).code !== 0, NAMESPACE_GONE_MS);
    expect(await fetchPage()).toMatch(/^web-/);
    expect((await cluster.exec('deploy/client', ['cat', '/proc/sys/net/ipv4/tcp_fwmark_accept', '/proc/sys/net/ipv4/fwmark_reflect'], { namespace: NAMESPACE })).stdout).toBe('0\n0\n');
    const left = await cluster.kubectl(['get', 'namespaces,clusterroles,clusterrolebindings', '-o', 'name']);
    expect(left).not.toContain('orlop');
    expect(await restarts()).toBe('0 0 0');
  });
});
