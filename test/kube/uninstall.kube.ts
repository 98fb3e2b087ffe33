/** `orlop install`, `upgrade` and `uninstall` on two nodes: what runs, what an upgrade that fails leaves running, and that nothing is left at the end. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildImage } from '../../deploy/image/build.ts';
import { runCommand } from '../../src/lab/command.ts';
import { Cluster } from './cluster/cluster.ts';
import { BUSYBOX_IMAGE } from './cluster/images.ts';
import { orlop, orlopKilledAt } from './command-line.ts';

const SYSTEM = 'orlop-system';

const APPLICATION = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, annotations: {orlop.io/mesh: enabled}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: web, image: ${BUSYBOX_IMAGE}, command: [sleep, infinity]}]}
`;

/** With what others say of them in their status: see `OTHERS`. */
const SPOKEN_OF = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: orlop}
spec: {controllerName: orlop.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: entry, namespace: shop}
spec: {gatewayClassName: orlop, listeners: [{name: web, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec: {parentRefs: [{name: entry}], rules: [{backendRefs: [{name: web, port: 80}]}]}
`;
const TIME = '2026-01-01T00:00:00Z';
const RECONCILED = { type: 'Reconciled', status: 'True', reason: 'Reconciled', message: '', lastTransitionTime: TIME };
const OTHERS = {
  'virtualservice/web': { conditions: [RECONCILED] },
  'httproute/web': { parents: [{ parentRef: { name: 'elsewhere' }, controllerName: 'example.com/controller', conditions: [{ ...RECONCILED, type: 'Accepted' }] }] },
};
const ALL_SPOKEN_OF = ['virtualservice/web', 'destinationrule/web', 'peerauthentication/default', 'gatewayclass/orlop', 'gateways.gateway.networking.k8s.io/entry', 'httproute/web'];

/** Of everything in the cluster, what is no event and does not come and go by itself. */
const NO_STATE = /^(events|leases|endpoints|endpointslices|componentstatuses)(\.|$)/;

describe('on two nodes', { timeout: 240_000 }, () => {
  let cluster: Cluster;
  let before: string[];

  beforeAll(async () => {
    const directory = mkdtempSync(join(tmpdir(), 'orlop-uninstall-'));
    try {
      buildImage(join(directory, 'orlop.tar'), 'dev');
      cluster = await Cluster.up({ name: 'uninstall', nodes: 2 });
      await cluster.loadImage(join(directory, 'orlop.tar'));
    } finally {
      rmSync(directory, { recursive: true });
    }
    await cluster.apply(APPLICATION);
    await cluster.kubectl(['rollout', 'status', '--timeout=60s', 'daemonset/web', '-n', 'shop']);
    before = await everything();
  }, 400_000);

  afterAll(async () => {
    await cluster.down();
  }, 60_000);

  async function everything(): Promise<string[]> {
    const kinds = (await cluster.kubectl(['api-resources', '--verbs=list', '-o', 'name', '--cached=false'])).trim().split('\n').filter((kind) => !NO_STATE.test(kind));
    return (await cluster.kubectl(['get', kinds.join(','), '-A', '-o', 'jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name} {.metadata.annotations} {.metadata.labels}{"\\n"}{end}'])).trim().split('\n').sort();
  }

  async function enrolled(): Promise<number> {
    const pods = (await cluster.kubectl(['get', 'pods', '-n', SYSTEM, '-l', 'app.kubernetes.io/name=orlop-agent', '-o', 'jsonpath={.items[*].metadata.name}'])).split(' ');
    const metrics = await Promise.all(pods.map(async (pod) => cluster.kubectl(['get', '--raw', `/api/v1/namespaces/${SYSTEM}/pods/${pod}:15020/proxy/metrics`])));
    return metrics.reduce((sum, text) => sum + Number(/^orlop_enrolled_pods (\d+)/m.exec(text)?.[1] ?? 0), 0);
  }

  it('waits until every pod is ready, and says on how many nodes', async () => {
    const { code, out, err } = await orlop(cluster, ['install']);
    expect(code, out + err).toBe(0);
    expect(out).toContain(`DaemonSet ${SYSTEM}/orlop-agent: 2 of 2 nodes ready`);
    expect(out).toContain('every pod is ready');
    await cluster.until('both pods enrolled', async () => (await enrolled()) === 2);
  });

  it('stops at a version that does not run, says why, and goes back', async () => {
    const failed = await orlop(cluster, ['upgrade', '--image', 'docker.io/library/orlop:missing', '--timeout', '15s']);
    expect(failed.code, failed.out).toBe(1);
    expect(failed.err).toMatch(/orlop-control: \d of 2 replicas ready \(.*ErrImage|ImagePullBackOff/);
    expect(failed.err).toContain('orlop upgrade --rollback');
    // No agent was touched.
    expect(await enrolled()).toBe(2);
    const { code, out, err } = await orlop(cluster, ['upgrade', '--rollback']);
    expect(code, out + err).toBe(0);
    expect(await cluster.kubectl(['get', 'daemonset,deployment', '-n', SYSTEM, '-o', 'jsonpath={.items[*].spec.template.spec.containers[*].image}'])).toBe('docker.io/library/orlop:dev docker.io/library/orlop:dev');
  });

  async function onNode(node: Cluster['nodes'][number], script: string): Promise<string> {
    const [program = '', ...argv] = node.argv(['sh', '-c', script]);
    return (await runCommand(program, argv)).stdout;
  }

  async function statuses(): Promise<unknown[]> {
    return Promise.all(ALL_SPOKEN_OF.map(async (name) => (JSON.parse(await cluster.kubectl(['get', name, '-n', 'shop', '-o', 'json'])) as { status?: unknown }).status));
  }

  it('finishes what was interrupted, and takes back what it says of objects, and nothing of others', async () => {
    // What others say is there first, as it stays.
    await cluster.kubectl(['scale', '-n', SYSTEM, '--replicas=0', 'deployment/orlop-control']);
    await cluster.kubectl(['wait', '-n', SYSTEM, '--for=delete', 'pod', '-l', 'app.kubernetes.io/name=orlop-control', '--timeout=60s']);
    await cluster.apply(SPOKEN_OF);
    for (const [name, status] of Object.entries(OTHERS)) await cluster.kubectl(['patch', name, '-n', 'shop', '--subresource=status', '--type=merge', '--field-manager=other', '-p', JSON.stringify({ status })]);
    const unspoken = await statuses();
    await cluster.kubectl(['scale', '-n', SYSTEM, '--replicas=2', 'deployment/orlop-control']);
    await cluster.until('all are spoken of', async () => (await statuses()).every((status) => JSON.stringify(status ?? {}).includes('"Accepted"')));
    expect(JSON.stringify(await statuses())).toContain('"Honored"');

    const asked = await orlop(cluster, ['uninstall', '--dry-run']);
    expect(asked.out).toContain('what Orlop says in the status of 1 httproutes.gateway.networking.k8s.io would be taken back');
    expect(asked.out).toContain('STRICT is asked for by PeerAuthentication shop/default');
    const killed = await orlopKilledAt(cluster, ['uninstall'], 'letting pods go');
    expect(killed.code).toBeNull();
    expect(killed.out).not.toContain('√ node');
    await cluster.until('agents gone', async () => (await cluster.kubectl(['get', 'pods', '-n', SYSTEM, '-l', 'app.kubernetes.io/name=orlop-agent', '-o', 'name'])) === '');
    const [first] = cluster.nodes;
    if (first === undefined) throw new Error('there is no node');
    await onNode(first, 'touch /run/orlop/stale');

    const { code, out, err } = await orlop(cluster, ['uninstall']);
    expect(code, out + err).toBe(0);
    for (const { name } of cluster.nodes) expect(out).toContain(`√ node ${name}: `);
    expect(out).toMatch(/removed \S+\/run\/orlop\/stale/);
    expect(await statuses()).toEqual(unspoken);
    expect(await cluster.kubectl(['get', 'namespace', '-o', 'name'])).not.toContain(SYSTEM);

    await cluster.kubectl(['delete', ...ALL_SPOKEN_OF.filter((name) => !name.startsWith('gatewayclass')), 'service/web', '-n', 'shop']);
    await cluster.kubectl(['delete', 'gatewayclass/orlop']);
    const again = await orlop(cluster, ['install']);
    expect(again.code, again.out + again.err).toBe(0);
    await cluster.until('both pods enrolled again', async () => (await enrolled()) === 2);
  });

  it('leaves nothing on nodes, in pods and in the cluster', async () => {
    const { code, out, err } = await orlop(cluster, ['uninstall']);
    expect(code, out + err).toBe(0);
    for (const { name } of cluster.nodes) expect(out).toContain(`√ node ${name}: `);
    expect(out).toContain('nothing is left');
    expect(await everything()).toEqual(before);
    for (const node of cluster.nodes) {
      const stdout = await onNode(node, 'ls -A /sys/fs/bpf; ls -d /run/orlop; for pid in $(ls /proc | grep "^[0-9]*$"); do nsenter -t $pid -n iptables-save; nsenter -t $pid -n ip rule; done 2>/dev/null');
      expect(stdout).toContain('from all lookup local');
      expect(stdout.split('\n').filter((line) => /orlop|admin\.sock|objects\.gz/i.test(line))).toEqual([]);
      expect(stdout).not.toContain('fwmark 0x111');
    }
  });
});
