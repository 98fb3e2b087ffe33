/** deploy/overlays/iptables on two nodes: running pods join, are encrypted between nodes, and have nothing of Orlop's in them when they have left. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from '../../src/lab/command.ts';
import { Cluster } from './cluster/cluster.ts';
import { BUSYBOX_IMAGE } from './cluster/images.ts';
import type { KubeNode } from './cluster/node.ts';
import { loadOrlop, SYSTEM_NAMESPACE } from './orlop.ts';
import { differences, takeFingerprint } from './story/fingerprint.ts';
import type { Fingerprint } from './story/fingerprint.ts';
import { webOn } from './web.ts';

const OVERLAY = join(import.meta.dirname, '../../deploy/overlays/iptables');

/** A client on one node and a server on the other. */
const APPLICATION = (client: string, web: string): string => `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop}
spec: {nodeName: ${client}, containers: [{name: client, image: ${BUSYBOX_IMAGE}, command: [sleep, infinity]}]}
---
${webOn(web)}`;

describe('deploy/overlays/iptables on two nodes', { timeout: 120_000 }, () => {
  let cluster: Cluster;
  let before: Fingerprint;

  beforeAll(async () => {
    cluster = await Cluster.up({ name: 'iptables', nodes: 2 });
    const [first, second] = cluster.nodes as [KubeNode, KubeNode];
    await loadOrlop(cluster);
    await cluster.kubectl(['apply', '-k', OVERLAY]);
    await cluster.apply(APPLICATION(first.name, second.name));
    for (const workload of ['deployment/orlop-control', 'daemonset/orlop-agent']) await cluster.kubectl(['rollout', 'status', '-n', SYSTEM_NAMESPACE, '--timeout=120s', workload]);
    await cluster.kubectl(['wait', '--for=condition=Ready', '--timeout=60s', 'pod', '--all', '-n', 'shop']);
    before = await inPods();
  }, 400_000);

  afterAll(async () => {
    await cluster.down();
  }, 60_000);

  /** Rules, chains, routes, settings and listeners in the network namespaces of pods; not the frames of tables, which iptables makes and cannot remove. */
  async function inPods(): Promise<Fingerprint> {
    return new Map([...await takeFingerprint(cluster)].filter(([place]) => place.includes(' pod ')).map(([place, lines]) => [place, lines.filter((line) => !/^(?:table .* \{|\})$/.test(line))]));
  }

  const came = async (): Promise<string[]> => differences(before, await inPods());

  /** Lines of both agents' metrics. */
  async function metrics(name: string): Promise<string[]> {
    const texts = await Promise.all(cluster.nodes.map(async ({ names: { address } }) => (await runCommand('curl', ['-s', `http://${address}:15020/metrics`])).stdout));
    return texts.join('\n').split('\n').filter((line) => line.startsWith(name));
  }

  const enrolled = async (): Promise<number> => (await metrics('orlop_enrolled_pods ')).reduce((sum, line) => sum + Number(line.split(' ')[1]), 0);

  async function fetchPage(): Promise<string> {
    const { code, stdout, stderr } = await cluster.exec('client', ['timeout', '5', 'wget', '-q', '-O-', 'http://web/'], { namespace: 'shop' });
    expect(code, stderr).toBe(0);
    return stdout.trim();
  }

  it('takes running pods in by rules, and encrypts between nodes', async () => {
    await cluster.kubectl(['annotate', 'namespace', 'shop', 'orlop.io/mesh=enabled']);
    await cluster.until('both pods enrolled', async () => (await enrolled()) === 2);
    expect(await fetchPage()).toBe('hello');
    const requests = await metrics('istio_requests_total{reporter="destination",source_workload="client"');
    expect(requests.length).toBeGreaterThan(0);
    for (const line of requests) expect(line).toContain('connection_security_policy="mutual_tls"');
    const added = await came();
    // What the next test finds nowhere is seen where it is.
    for (const { name } of cluster.nodes) {
      for (const what of ['(?:nftables|iptables-legacy-save): .*ORLOP_', 'rules: .*fwmark 0x111', 'routes: local default .*table 100']) expect(added).toContainEqual(expect.stringMatching(`^\\+ ${name} pod .*${what}`));
    }
  });

  it('leaves no rule, route, chain or setting in pods that are let go', async () => {
    await cluster.kubectl(['annotate', 'namespace', 'shop', 'orlop.io/mesh-']);
    await expect.poll(came, { timeout: 30_000, interval: 500 }).toEqual([]);
    expect(await enrolled()).toBe(0);
    expect(await fetchPage()).toBe('hello');
  });
});
