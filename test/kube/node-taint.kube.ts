/** The taint that holds pods back from a new node, against a real API server with deploy/overlays/node-taint applied: its agent takes it away, and can do nothing else to nodes. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NodeTaint } from '../../src/agent/node-taint.ts';
import { createLogger } from '../../src/core/log.ts';
import { ApiClient } from '../../src/kube/api-client.ts';
import type { ApiObject } from '../../src/kube/api-client.ts';
import { kubeconfigCredentials } from '../../src/kube/credentials.ts';
import { Cluster } from './cluster/cluster.ts';

const OVERLAY = join(import.meta.dirname, '../../deploy/overlays/node-taint');
const SYSTEM = 'orlop-system';
const TAINT = { key: 'orlop.io/agent-not-ready', effect: 'NoSchedule' };
const OTHER = { key: 'dedicated', value: 'team', effect: 'NoSchedule' };

describe('the taint of nodes', { timeout: 60_000 }, () => {
  let cluster: Cluster;
  let client: ApiClient;

  beforeAll(async () => {
    cluster = await Cluster.up({ name: 'nodetaint', nodes: 0 });
    await cluster.kubectl(['apply', '-k', OVERLAY]);
    const pod = { metadata: { name: 'agent-1', namespace: SYSTEM }, spec: { nodeName: 'node-1', serviceAccountName: 'orlop-agent', containers: [{ name: 'agent', image: 'none' }] } };
    await cluster.apply([
      ...['node-1', 'node-2'].map((name) => ({ apiVersion: 'v1', kind: 'Node', metadata: { name }, spec: { taints: [TAINT, OTHER] } })),
      { apiVersion: 'v1', kind: 'Pod', ...pod },
    ]);
    client = await agent();
  }, 300_000);

  afterAll(async () => {
    client.close();
    await cluster.down();
  }, 60_000);

  /** With the token of the agent of node-1, as its kubelet has it. */
  async function agent(): Promise<ApiClient> {
    const token = (await cluster.kubectl(['create', 'token', 'orlop-agent', '-n', SYSTEM, '--bound-object-kind', 'Pod', '--bound-object-name', 'agent-1'])).trim();
    const administrator = await kubeconfigCredentials(cluster.kubeconfig);
    const { ca } = (await administrator.present()).tls;
    return new ApiClient({ server: administrator.server, present: async () => ({ headers: { authorization: `Bearer ${token}` }, tls: { ca } }) });
  }

  /** But those that Kubernetes itself puts on nodes that have no kubelet. */
  const taints = async (node: string): Promise<string[]> =>
    (await cluster.kubectl(['get', 'node', node, '-o', 'jsonpath={.spec.taints[*].key}'])).split(' ').filter((key) => !key.startsWith('node.kubernetes.io/'));

  it('is all of a node that an agent may change, and of its own node alone', async () => {
    const patch = async (node: string, body: ApiObject): Promise<string> =>
      client.send(`/api/v1/nodes/${node}`, { method: 'PATCH', body }).then(() => 'written', (error: unknown) => (error as Error).message);
    // Admission policies come into force some time after they are written.
    await expect.poll(async () => patch('node-2', { spec: { taints: [OTHER] } }), { timeout: 30_000 }).toContain('its own node only');
    expect(await patch('node-1', { spec: { taints: [TAINT] } })).toContain('orlop.io/agent-not-ready only');
    expect(await patch('node-1', { spec: { taints: [TAINT, OTHER, { key: 'more', effect: 'NoExecute' }] } })).toContain('orlop.io/agent-not-ready only');
    for (const body of [{ metadata: { labels: { zone: 'a' } } }, { metadata: { annotations: { a: 'b' } } }, { metadata: { finalizers: ['a.example/b'] } }, { spec: { unschedulable: true } }, { spec: { providerID: 'cloud://x' } }]) {
      expect(await patch('node-1', body), JSON.stringify(body)).toContain('nothing but its taint');
    }
    expect(await taints('node-1')).toEqual([TAINT.key, OTHER.key]);
  });

  it('is taken away when the agent is ready, and no other', async () => {
    const taint = new NodeTaint({ client, node: 'node-1', taint: TAINT.key, log: createLogger('test', 'silent'), isReady: () => true });
    await expect.poll(async () => taints('node-1'), { timeout: 20_000 }).toEqual([OTHER.key]);
    taint.close();
    expect(await taints('node-2')).toEqual([TAINT.key, OTHER.key]);
  });
});
