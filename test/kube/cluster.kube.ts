/** What a cluster of two nodes does, and the light form: the ground that tests of Orlop on Kubernetes stand on. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AppsV1Api, CoreV1Api } from '@kubernetes/client-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand, sleep } from '../../src/lab/command.ts';
import { Cluster } from './cluster/cluster.ts';
import { BUSYBOX_IMAGE } from './cluster/images.ts';

const NAMESPACE = 'shop';

/** A web server on each node that says its name, and a client on each. */
const WORKLOADS = `
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
        command: [sh, -c, 'echo "serving as $(hostname)"; hostname > /var/www/index.html; exec httpd -f -p 8080 -h /var/www']
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
---
apiVersion: v1
kind: Service
metadata: {name: pods, namespace: ${NAMESPACE}}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: ${NAMESPACE}}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{name: http, port: 81, targetPort: 8080}]}
`;

describe('a cluster of two nodes', () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await Cluster.up({ name: 'test', nodes: 2, keep: process.env['KEEP'] !== undefined });
    await cluster.apply(WORKLOADS);
    await cluster.kubectl(['-n', NAMESPACE, 'rollout', 'status', 'ds/web', '--timeout=60s']);
    await cluster.kubectl(['-n', NAMESPACE, 'rollout', 'status', 'deploy/client', '--timeout=60s']);
  });

  afterAll(async () => {
    if (process.env['KEEP'] === undefined) await cluster.down();
  });

  const fetch = async (host: string): Promise<string> => {
    const { stdout, stderr } = await cluster.exec('deploy/client', ['timeout', '5', 'wget', '-q', '-O-', `http://${host}/`], { namespace: NAMESPACE });
    return stdout.trim() || stderr;
  };

  /** As a process of the first node: needs neither the API server nor a kubelet. */
  const fetchFromNode = async (host: string): Promise<string> => {
    const [command = '', ...args] = cluster.nodes[0]?.argv(['curl', '-s', `http://${host}/`]) ?? [];
    return (await runCommand(command, args)).stdout.trim();
  };

  const webPods = async (): Promise<{ name: string; address: string; node: string }[]> => {
    const { items } = await cluster.client.makeApiClient(CoreV1Api).listNamespacedPod({ namespace: NAMESPACE, labelSelector: 'app=web' });
    return items.map(({ metadata, spec, status }) => ({ name: metadata?.name ?? '', address: status?.podIP ?? '', node: spec?.nodeName ?? '' }));
  };

  it('has two nodes that are ready, of the version that was built', async () => {
    const { items } = await cluster.client.makeApiClient(CoreV1Api).listNode();
    expect(items.map(({ metadata, status }) => [metadata?.name, status?.nodeInfo?.kubeletVersion])).toEqual([['test-node1', 'v1.33.13'], ['test-node2', 'v1.33.13']]);
  });

  it('carries traffic between pods of one node and of two', async () => {
    const pods = await webPods();
    expect(new Set(pods.map(({ node }) => node)).size).toBe(2);
    for (const { name, address } of pods) expect(await fetch(`${address}:8080`)).toBe(name);
  });

  it('spreads a Service over its pods, by address and by name', async () => {
    const { spec } = await cluster.client.makeApiClient(CoreV1Api).readNamespacedService({ namespace: NAMESPACE, name: 'web' });
    const names = (await webPods()).map(({ name }) => name);
    for (const host of [spec?.clusterIP ?? '', 'web', `web.${NAMESPACE}.svc.cluster.local`]) expect(names).toContain(await fetch(host));
  });

  it('is reached from this machine through a Service of type LoadBalancer', async () => {
    const core = cluster.client.makeApiClient(CoreV1Api);
    const address = await cluster.until('the address of the load balancer', async () => {
      const { status } = await core.readNamespacedService({ namespace: NAMESPACE, name: 'outside' });
      return status?.loadBalancer?.ingress?.[0]?.ip;
    });
    const names = (await webPods()).map(({ name }) => name);
    await cluster.until('an answer of a pod through the load balancer', async () => {
      const { stdout } = await runCommand('curl', ['-s', '-m', '2', `http://${address}:81/`]);
      return names.includes(stdout.trim());
    });
  });

  it('answers a headless Service with its pods', async () => {
    const { stdout } = await cluster.exec('deploy/client', ['nslookup', `pods.${NAMESPACE}.svc.cluster.local`], { namespace: NAMESPACE });
    for (const { address } of await webPods()) expect(stdout).toContain(address);
  });

  it('answers a port by its name, and says what does not exist', async () => {
    const lookUp = async (...args: string[]): Promise<string> => (await cluster.exec('deploy/client', ['nslookup', ...args], { namespace: NAMESPACE })).stdout;
    expect(await lookUp('-type=srv', `_http._tcp.web.${NAMESPACE}.svc.cluster.local`)).toContain(`web.${NAMESPACE}.svc.cluster.local`);
    expect(await lookUp(`nobody.${NAMESPACE}.svc.cluster.local`)).toContain('NXDOMAIN');
  });

  it('gives pods the address and the account to ask the API server with', async () => {
    const script = 'timeout 5 wget -q --no-check-certificate --header "Authorization: Bearer $(cat token)" -O- https://kubernetes.default.svc/version';
    const { stdout, stderr } = await cluster.exec('deploy/client', ['sh', '-c', `cd /var/run/secrets/kubernetes.io/serviceaccount && ${script}`], { namespace: NAMESPACE });
    expect(stdout, stderr).toContain('v1.33.13');
  });

  it('gives logs, and exit codes of what is executed', async () => {
    const [pod] = await webPods();
    expect(await cluster.logs(pod?.name ?? '', { namespace: NAMESPACE })).toBe(`serving as ${pod?.name ?? ''}\n`);
    expect(await cluster.exec(pod?.name ?? '', ['sh', '-c', 'echo said; exit 7'], { namespace: NAMESPACE })).toMatchObject({ code: 7, stdout: 'said\n' });
  });

  it('replaces a pod that is deleted', async () => {
    const [before] = await webPods();
    await cluster.kubectl(['-n', NAMESPACE, 'delete', 'pod', before?.name ?? '']);
    await cluster.kubectl(['-n', NAMESPACE, 'rollout', 'status', 'ds/web', '--timeout=60s']);
    const after = await webPods();
    expect(after.map(({ name }) => name)).not.toContain(before?.name);
    for (const { name, address } of after) expect(await fetch(`${address}:8080`)).toBe(name);
  });

  it('keeps pods running while the API server is away, and goes on afterwards', async () => {
    const [pod] = await webPods();
    await cluster.disturb('apiserver', 'kill');
    await expect(cluster.kubectl(['get', 'nodes', '--request-timeout=2s'])).rejects.toThrow('kubectl');
    expect(await fetchFromNode(`${pod?.address ?? ''}:8080`)).toBe(pod?.name);
    await cluster.disturb('apiserver', 'start');
    const apps = cluster.client.makeApiClient(AppsV1Api);
    await cluster.until('the API server back', async () => apps.readNamespacedDaemonSet({ namespace: NAMESPACE, name: 'web' }).then(() => true, () => false));
  });

  it('keeps pods running while a node\'s kubelet and containerd are away', async () => {
    const [pod] = await webPods();
    const node = pod?.node ?? '';
    for (const program of ['kubelet', 'containerd'] as const) await cluster.disturb(`${program}/${node}`, 'kill');
    expect(await fetchFromNode(`${pod?.address ?? ''}:8080`)).toBe(pod?.name);
    for (const program of ['containerd', 'kubelet'] as const) await cluster.disturb(`${program}/${node}`, 'start');
    await cluster.until('exec on the node', async () => (await cluster.exec(pod?.name ?? '', ['true'], { namespace: NAMESPACE })).code === 0);
  });
});

describe('a cluster without nodes', () => {
  it('has an API server to which a test gives nodes and pods as objects', async () => {
    await using cluster = await Cluster.up({ name: 'light', nodes: 0 });
    await cluster.apply([
      { apiVersion: 'v1', kind: 'Node', metadata: { name: 'fake' } },
      { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web', namespace: 'default' }, spec: { nodeName: 'fake', containers: [{ name: 'web', image: 'none' }] } },
    ]);
    const core = cluster.client.makeApiClient(CoreV1Api);
    expect((await core.listNamespacedPod({ namespace: 'default', fieldSelector: 'spec.nodeName=fake' })).items.map(({ metadata }) => metadata?.name)).toEqual(['web']);
  });
});

describe('the end of a cluster', () => {
  it('leaves nothing on the machine', async () => {
    const cluster = await Cluster.up({ name: 'gone', nodes: 2 });
    expect(tracesOf('gone')).not.toEqual([]);
    await cluster.down();
    expect(tracesOf('gone')).toEqual([]);
  });

  it('comes by itself when whoever brought it up is killed', async () => {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'cluster/up-until-killed.ts'), 'orphan'], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    expect(tracesOf('orphan')).not.toEqual([]);
    child.kill('SIGKILL');
    while (tracesOf('orphan').length > 0) await sleep(50);
  });
});

/** Processes, mounts, namespaces, links, control groups and files that carry a cluster's name. */
function tracesOf(name: string): string[] {
  const groups = readFileSync('/proc/self/mounts', 'utf8').split('\n').map((line) => line.split(' ')).filter(([, , type]) => type?.startsWith('cgroup') === true);
  return [
    ...readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && cgroupOf(pid).includes(`orlop-kube/${name}`)).map((pid) => `process ${pid}`),
    ...readFileSync('/proc/self/mounts', 'utf8').split('\n').filter((line) => line.includes(`orlop-kube/${name}`) || line.includes(`/ok-${name}`)),
    ...readdirSync('/sys/class/net').filter((link) => link === `ok-${name}`),
    ...groups.map(([, path]) => `${path ?? ''}/orlop-kube/${name}`).filter((path) => existsSync(path)),
    ...[`/var/tmp/orlop-kube/${name}`, `/run/netns/ok-${name}`].filter((path) => existsSync(path)),
  ];
}

/** Empty for a process that has ended, also while its parent has not noticed yet. */
function cgroupOf(pid: string): string {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')) ? '' : readFileSync(`/proc/${pid}/cgroup`, 'utf8');
  } catch {
    return '';
  }
}
