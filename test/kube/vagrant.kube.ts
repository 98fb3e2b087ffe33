/**
 * The scripts of vagrant/ on two nodes made of namespaces: the network of pods that they make, and what they deploy on it. What comes before, packages
 * and kubeadm on machines of their own, cannot be tried here; test/vagrant looks at it.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from '../../src/lab/command.ts';
import type { Outcome } from '../../src/lab/command.ts';
import { Cluster } from './cluster/cluster.ts';
import { BUSYBOX_IMAGE } from './cluster/images.ts';
import type { KubeNode } from './cluster/node.ts';
import { loadOrlop } from './orlop.ts';

const CHECKOUT = join(import.meta.dirname, '../..');
const PROVISION = join(CHECKOUT, 'vagrant/provision');

const POD_ON_EACH_NODE = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web, namespace: default}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: ${BUSYBOX_IMAGE}, command: [sh, -c, 'echo $HOSTNAME > /var/www/index.html; exec httpd -f -p 8080 -h /var/www']}]
`;

describe('the provisioning of vagrant/', { timeout: 300_000 }, () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await Cluster.up({ name: 'vagrant', nodes: 2 });
    await loadOrlop(cluster);
  }, 400_000);

  afterAll(async () => {
    await cluster.down();
  }, 60_000);

  async function onNode(node: KubeNode, ...command: string[]): Promise<Outcome> {
    const [program = '', ...argv] = node.argv(command);
    return runCommand(program, argv);
  }

  it('makes a network by which pods of both nodes reach each other under their own addresses, however often it is run', async () => {
    const addresses = cluster.nodes.map(({ names }) => names.address);
    for (let i = 0; i < 2; i += 1) {
      for (const node of cluster.nodes) expect(await onNode(node, join(PROVISION, 'network.sh'), node.names.address, ...addresses)).toMatchObject({ code: 0, stderr: '' });
    }
    for (const node of cluster.nodes) expect((await onNode(node, 'iptables-save', '-t', 'nat')).stdout.match(/-s 10\.244\.0\.0\/16 ! -d 10\.244\.0\.0\/16 -j MASQUERADE/g)).toHaveLength(1);
    await cluster.apply(POD_ON_EACH_NODE);
    await cluster.kubectl(['rollout', 'status', '--timeout=60s', 'daemonset/web']);
    const { items: [one, other] } = JSON.parse(await cluster.kubectl(['get', 'pods', '-l', 'app=web', '-o', 'json'])) as { items: { metadata: { name: string }; status: { podIP: string; hostIP: string } }[] };
    for (const pod of [one, other]) expect(pod?.status.podIP).toMatch(new RegExp(`^10\\.244\\.${pod?.status.hostIP.split('.')[3] ?? ''}\\.`));
    const { stdout } = await cluster.exec(one?.metadata.name ?? '', ['timeout', '5', 'wget', '-q', '-O-', `http://${other?.status.podIP ?? ''}:8080/`]);
    expect(stdout.trim()).toBe(other?.metadata.name);
  });

  it('deploys Orlop and bookinfo, and says what to try', async () => {
    const child = spawn(join(PROVISION, 'deploy.sh'), ['2', CHECKOUT], { env: { ...process.env, KUBECONFIG: cluster.kubeconfig, PATH: `${cluster.programs}:${process.env['PATH'] ?? ''}` } });
    const ended = new Promise<number | null>((resolve) => {
      child.once('close', resolve);
    });
    const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
    expect(code, out + err).toBe(0);
    expect(out).toContain('every pod is ready');
    expect(out).toContain('Bookinfo is in the mesh. Try');
    const page = /^ {2}kubectl (exec .*)$/m.exec(out)?.[1] ?? '';
    await cluster.until('a page', async () => {
      const { stdout } = await runCommand('sh', ['-c', `${cluster.programs}/kubectl --kubeconfig=${cluster.kubeconfig} ${page}`]);
      return stdout.includes('reviews');
    });
  });
});
