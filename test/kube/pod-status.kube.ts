/** What an agent may write on pods, against a real API server with deploy/ applied: its annotation, on pods of its own node, and nothing else. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';
import { systemRandom } from '../../src/core/random.ts';
import { ApiClient } from '../../src/kube/api-client.ts';
import type { ApiObject } from '../../src/kube/api-client.ts';
import { kubeconfigCredentials } from '../../src/kube/credentials.ts';
import { PodStatusWriter } from '../../src/kube/pod-status.ts';
import { Cluster } from './cluster/cluster.ts';

const DEPLOY = join(import.meta.dirname, '../../deploy');
const SYSTEM = 'orlop-system';

function pod(name: string, namespace: string, nodeName: string): object {
  const serviceAccountName = namespace === SYSTEM ? 'orlop-agent' : 'default';
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, labels: { app: name }, annotations: { owner: 'team' } }, spec: { nodeName, serviceAccountName, containers: [{ name: 'app', image: 'none' }] } };
}

describe('the status of pods on a real API server', () => {
  let cluster: Cluster;
  const clients: ApiClient[] = [];

  beforeAll(async () => {
    cluster = await Cluster.up({ name: 'podstatus', nodes: 0 });
    await cluster.kubectl(['apply', '-k', DEPLOY]);
    await cluster.apply([
      ...['node-1', 'node-2'].map((name) => ({ apiVersion: 'v1', kind: 'Node', metadata: { name } })),
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } },
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace: 'shop' } },
      pod('agent-1', SYSTEM, 'node-1'), pod('web', 'shop', 'node-1'), pod('far', 'shop', 'node-2'),
    ]);
  }, 300_000);

  afterAll(async () => {
    for (const client of clients) client.close();
    await cluster.down();
  }, 60_000);

  /** With the token of the agent of node-1, as its kubelet has it; or one that is bound to no pod. */
  async function agent(bound = true): Promise<ApiClient> {
    const token = (await cluster.kubectl(['create', 'token', 'orlop-agent', '-n', SYSTEM, ...(bound ? ['--bound-object-kind', 'Pod', '--bound-object-name', 'agent-1'] : [])])).trim();
    const administrator = await kubeconfigCredentials(cluster.kubeconfig);
    const { ca } = (await administrator.present()).tls;
    const client = new ApiClient({ server: administrator.server, present: async () => ({ headers: { authorization: `Bearer ${token}` }, tls: { ca } }) });
    clients.push(client);
    return client;
  }

  const read = async (kind: string, more: readonly string[]): Promise<ApiObject> => JSON.parse(await cluster.kubectl(['get', kind, '-n', 'shop', '-o', 'json', ...more])) as ApiObject;
  const metadataOf = async (name: string): Promise<ApiObject> => (await read('pod', [name]))['metadata'] as ApiObject;
  const annotation = async (name: string): Promise<unknown> => ((await metadataOf(name))['annotations'] as ApiObject)['orlop.io/status'];

  it('is written on pods of the agent\'s own node, with an event, and taken away again', async () => {
    const writer = new PodStatusWriter({ client: await agent(), node: 'node-1', clock: systemClock, random: systemRandom, log: createLogger('test', 'silent') });
    const uid = String((await metadataOf('web'))['uid']);
    const say = (text: string | undefined): void => writer.set(new Map([['shop/web', { uid, annotation: text, eventAfter: () => ({ type: 'Normal', reason: 'Enrolled', message: 'In the mesh' }) }]]));
    say('{"state":"enrolled"}');
    await expect.poll(async () => annotation('web'), { timeout: 20_000 }).toBe('{"state":"enrolled"}');
    await expect.poll(async () => cluster.kubectl(['describe', 'pod', 'web', '-n', 'shop']), { timeout: 20_000 }).toMatch(/Normal +Enrolled .* In the mesh/);
    say(undefined);
    await writer.close(10_000);
    expect(await annotation('web')).toBeUndefined();
  }, 60_000);

  it('is all that an agent may write, and on no other node\'s pods: the token of a node that was taken over changes nothing elsewhere', async () => {
    const client = await agent();
    const patch = async (name: string, body: ApiObject, part = '/status', by = client): Promise<string> =>
      by.send(`/api/v1/namespaces/shop/pods/${name}${part}`, { method: 'PATCH', body }).then(() => 'written', (error: unknown) => (error as Error).message);
    const status = { metadata: { annotations: { 'orlop.io/status': 'x' } } };
    // Admission policies come into force some time after they are written.
    await expect.poll(async () => patch('far', status), { timeout: 30_000 }).toContain('pods of its own node only');
    expect(await patch('web', status)).toBe('written');
    // The pod that had the name before.
    expect(await patch('web', { metadata: { ...status.metadata, uid: 'ffffffff-0000-0000-0000-000000000000' } })).toContain('metadata.uid');
    expect(await patch('web', status, '/status', await agent(false))).toContain('pods of its own node only');
    expect(await patch('web', status, '')).toContain('forbidden');
    expect(await patch('web', { metadata: { annotations: { 'orlop.io/mesh': 'disabled' } } })).toContain('orlop.io/status only');
    expect(await patch('web', { metadata: { annotations: { owner: null } } })).toContain('orlop.io/status only');
    for (const body of [{ metadata: { labels: { app: 'bank' } } }, { metadata: { finalizers: ['a.example/b'] } }, { status: { podIP: '10.0.0.66', podIPs: [{ ip: '10.0.0.66' }] } }, { status: { phase: 'Failed' } }]) {
      expect(await patch('web', body), JSON.stringify(body)).toContain('nothing but its annotation');
    }
    expect(await patch('web', { metadata: { annotations: { 'orlop.io/status': null } } })).toBe('written');
  }, 60_000);

  it('events name the node that they come from, and are about pods', async () => {
    const client = await agent();
    const event = (over: ApiObject): ApiObject => ({
      apiVersion: 'v1', kind: 'Event', metadata: { namespace: 'shop', generateName: 'web.' }, involvedObject: { kind: 'Pod', namespace: 'shop', name: 'web' },
      reason: 'Enrolled', message: 'x', type: 'Normal', source: { component: 'orlop-agent', host: 'node-1' }, reportingComponent: 'orlop.io/agent', reportingInstance: 'node-1', ...over,
    });
    const post = async (over: ApiObject): Promise<string> => client.send('/api/v1/namespaces/shop/events', { method: 'POST', body: event(over) }).then(() => 'written', (error: unknown) => (error as Error).message);
    expect(await post({})).toBe('written');
    expect(await post({ source: { component: 'orlop-agent', host: 'node-2' } })).toContain('names its own node');
    expect(await post({ reportingComponent: 'kubelet' })).toContain('names its own node');
    expect(await post({ involvedObject: { kind: 'Secret', namespace: 'shop', name: 'x' } })).toContain('about pods');
  }, 60_000);
});
