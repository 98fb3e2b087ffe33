/** `orlop install`, `upgrade` and `uninstall` on two nodes: what runs, what an upgrade that fails leaves running, and that nothing is left at the end. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildImage } from '../../deploy/image/build.ts';
import { runCommand } from '../../src/lab/command.ts';
import { Cluster } from './cluster/cluster.ts';
import { BUSYBOX_IMAGE } from './cluster/images.ts';
import { orlop } from './command-line.ts';

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

  it('leaves nothing on nodes, in pods and in the cluster', async () => {
    const { code, out, err } = await orlop(cluster, ['uninstall']);
    expect(code, out + err).toBe(0);
    for (const { name } of cluster.nodes) expect(out).toContain(`√ node ${name}: `);
    expect(out).toContain('nothing is left');
    expect(await everything()).toEqual(before);
    for (const node of cluster.nodes) {
      const [program = '', ...argv] = node.argv(['sh', '-c', 'ls -A /sys/fs/bpf; ls -A /run/orlop; for pid in $(ls /proc | grep "^[0-9]*$"); do nsenter -t $pid -n iptables-save; nsenter -t $pid -n ip rule; done 2>/dev/null']);
      const { stdout } = await runCommand(program, argv);
      expect(stdout).toContain('from all lookup local');
      expect(stdout.split('\n').filter((line) => /orlop|admin\.sock|objects\.gz/i.test(line))).toEqual([]);
      expect(stdout).not.toContain('fwmark 0x111');
    }
  });
});
