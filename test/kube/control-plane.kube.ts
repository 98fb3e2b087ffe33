/**
 * Orlop's own requests against a real API server, with the rights that deploy/ grants and no others: what is followed, whose tokens are, where
 * keys are kept. Nodes and pods are objects only.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Authority } from '../../src/certs/authority.ts';
import { Leadership } from '../../src/control/leadership.ts';
import { NodeIdentities } from '../../src/control/node-identities.ts';
import { publishedRoots } from '../../src/control/published-roots.ts';
import { SecretStore } from '../../src/control/secret-store.ts';
import { TokenReview } from '../../src/control/token-review.ts';
import { systemClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';
import { systemRandom } from '../../src/core/random.ts';
import { ApiClient, ApiError } from '../../src/kube/api-client.ts';
import { ApiSource } from '../../src/kube/api-source.ts';
import { kubeconfigCredentials } from '../../src/kube/credentials.ts';
import { Cluster } from './cluster/cluster.ts';

const NAMESPACE = 'orlop-system';
const DEPLOY = join(import.meta.dirname, '../../deploy');
const log = createLogger('test', 'silent');
const HOUR_MS = 3_600_000;

/** A CRD as small as the API server takes it. */
function crd(group: string, version: string, kind: string, plural: string): object {
  return {
    apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', metadata: { name: `${plural}.${group}` },
    spec: { group, scope: 'Namespaced', names: { kind, plural }, versions: [{ name: version, served: true, storage: true, schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } } }] },
  };
}

function pod(name: string, namespace: string, node: string, serviceAccountName: string): object {
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, labels: { app: name } }, spec: { nodeName: node, serviceAccountName, containers: [{ name: 'app', image: 'none' }] } };
}

const serviceAccount = (name: string, namespace: string): object => ({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace } });

describe('on a real API server', () => {
  let cluster: Cluster;
  const closing: (() => unknown)[] = [];

  beforeAll(async () => {
    cluster = await Cluster.up({ name: 'control', nodes: 0 });
    await cluster.kubectl(['apply', '-k', DEPLOY]);
    await cluster.apply(['node-1', 'node-2'].map((name) => ({ apiVersion: 'v1', kind: 'Node', metadata: { name } })));
    await cluster.apply([
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels: { 'orlop.io/mesh': 'enabled' } } },
      serviceAccount('default', 'shop'), serviceAccount('orlop-agent', 'shop'),
      pod('agent-1', NAMESPACE, 'node-1', 'orlop-agent'), pod('agent-2', NAMESPACE, 'node-2', 'orlop-agent'), pod('web', 'shop', 'node-1', 'default'), pod('false-agent', 'shop', 'node-1', 'orlop-agent'),
    ]);
  }, 300_000);

  afterAll(async () => {
    for (const close of closing.splice(0)) await close();
    await cluster.down();
  }, 60_000);

  async function token(account: string, options: { namespace?: string; audience?: string; pod?: string } = {}): Promise<string> {
    const { namespace = NAMESPACE, audience, pod: bound } = options;
    return (await cluster.kubectl(['create', 'token', account, '-n', namespace, ...(audience === undefined ? [] : ['--audience', audience]), ...(bound === undefined ? [] : ['--bound-object-kind', 'Pod', '--bound-object-name', bound])])).trim();
  }

  /** As one of Orlop's service accounts. */
  async function clientOf(account: string): Promise<ApiClient> {
    const administrator = await kubeconfigCredentials(cluster.kubeconfig);
    const authorization = `Bearer ${await token(account)}`;
    const { ca } = (await administrator.present()).tls;
    const client = new ApiClient({ server: administrator.server, present: async () => ({ headers: { authorization }, tls: { ca } }) });
    closing.push(() => client.close());
    return client;
  }

  async function follow(): Promise<ApiSource> {
    const source = await ApiSource.open({ client: await clientOf('orlop-agent'), node: 'node-1', savedPath: undefined, clock: systemClock, random: systemRandom, log });
    closing.push(() => source.close());
    return source;
  }

  it('the cluster is followed, kinds that are installed later too, and through an absence of the server', async () => {
    const source = await follow();
    const names = (): string[] => (source.snapshot.get()?.workloads ?? []).filter(({ namespace }) => namespace === 'shop').map(({ name }) => name).sort();
    expect(names()).toEqual(['false-agent', 'web']);
    expect(source.snapshot.get()?.workloads.find(({ name }) => name === 'web')).toMatchObject({ node: 'node-1', serviceAccount: 'default', enrolled: true });
    await cluster.apply([crd('networking.istio.io', 'v1', 'VirtualService', 'virtualservices')]);
    await cluster.kubectl(['wait', '--for=condition=Established', 'crd/virtualservices.networking.istio.io']);
    await cluster.apply([{ apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata: { name: 'web', namespace: 'shop' }, spec: { hosts: ['web.example'], http: [{ directResponse: { status: 204 } }] } }]);
    await expect.poll(() => source.snapshot.get()?.virtualServices.map(({ name }) => name), { timeout: 20_000 }).toEqual(['web']);
    await cluster.disturb('apiserver', 'kill');
    await expect.poll(() => source.stale, { timeout: 20_000 }).toMatch(/cannot be followed/);
    expect(names()).toEqual(['false-agent', 'web']);
    await cluster.disturb('apiserver', 'start');
    await expect.poll(async () => (await cluster.tryKubectl(['get', '--raw', '/readyz'])).code, { timeout: 60_000 }).toBe(0);
    await cluster.apply([pod('late', 'shop', 'node-2', 'default')]);
    await expect.poll(() => [names(), source.stale], { timeout: 60_000 }).toEqual([['false-agent', 'late', 'web'], undefined]);
  }, 180_000);

  it('a token tells the node of the agent that it is bound to, and nothing else does', async () => {
    const identities = new NodeIdentities();
    const review = new TokenReview({ client: await clientOf('orlop-control'), agents: new Set([`${NAMESPACE}/orlop-agent`]), audience: 'istio-ca', keys: { verify: async () => undefined }, identities, clock: systemClock, log });
    await expect(review.authenticate(await token('orlop-agent', { audience: 'istio-ca', pod: 'agent-1' }))).resolves.toBe('node-1');
    await expect(review.authenticate(await token('orlop-agent', { audience: 'istio-ca', pod: 'agent-2' }))).resolves.toBe('node-2');
    await expect(review.authenticate(await token('orlop-agent', { audience: 'istio-ca' }))).resolves.toBeUndefined();
    await expect(review.authenticate(await token('orlop-agent', { pod: 'agent-1' }))).resolves.toBeUndefined();
    await expect(review.authenticate(await token('orlop-agent', { namespace: 'shop', audience: 'istio-ca', pod: 'false-agent' }))).resolves.toBeUndefined();
    await expect(review.authenticate(await token('default', { namespace: 'shop', audience: 'istio-ca', pod: 'web' }))).resolves.toBeUndefined();
    await expect(review.authenticate('rubbish')).resolves.toBeUndefined();
  }, 60_000);

  it('replicas share one CA in a Secret, one of them leads, and the roots are published', async () => {
    const replica = async (identity: string): Promise<{ ca: Authority; leadership: Leadership; client: ApiClient }> => {
      const client = await clientOf('orlop-control');
      const leadership = new Leadership({ client, namespace: NAMESPACE, name: 'orlop-control', identity, clock: systemClock, random: systemRandom, log });
      await leadership.start();
      const store = new SecretStore(client, { namespace: NAMESPACE, name: 'orlop-ca' }, leadership);
      const ca = await Authority.open({ trustDomain: 'cluster.local', lifetimes: { leafMs: HOUR_MS, intermediateMs: 24 * HOUR_MS, rootMs: 240 * HOUR_MS }, keys: { store }, clock: systemClock, log });
      closing.push(async () => {
        await ca.close();
        await leadership.close();
      });
      return { ca, leadership, client };
    };
    const [one, other] = await Promise.all([replica('one'), replica('other')]);
    expect(one.ca.roots.get()).toBe(other.ca.roots.get());
    expect([one.leadership.leads, other.leadership.leads].filter(Boolean)).toHaveLength(1);
    const [leader, follower] = one.leadership.leads ? [one, other] : [other, one];
    await leader.ca.rotate('root');
    await expect.poll(() => follower.ca.roots.get(), { timeout: 15_000 }).toBe(leader.ca.roots.get());
    const published = publishedRoots({ client: leader.client, namespace: NAMESPACE, name: 'orlop-ca-roots', leader: leader.leadership, roots: () => leader.ca.roots.get(), clock: systemClock, log });
    closing.push(() => published.close());
    await published.start();
    expect(await cluster.kubectl(['get', 'configmap', '-n', NAMESPACE, 'orlop-ca-roots', '-o', 'jsonpath={.data.root-cert\\.pem}'])).toBe(leader.ca.roots.get());
    await leader.leadership.close();
    await expect.poll(() => follower.leadership.leads, { timeout: 10_000 }).toBe(true);
  }, 60_000);

  it('neither account can list Secrets; the agent can read none, the control plane one that it knows by name, as gateways name their certificates', async () => {
    await cluster.apply([{ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'other', namespace: NAMESPACE } }]);
    const forbidden = { status: 403, reason: 'Forbidden' } satisfies Partial<ApiError>;
    const [agent, control] = [await clientOf('orlop-agent'), await clientOf('orlop-control')];
    for (const client of [agent, control]) {
      for (const path of ['/api/v1/secrets', `/api/v1/namespaces/${NAMESPACE}/secrets`]) await expect(client.send(path), path).rejects.toMatchObject(forbidden);
    }
    for (const name of ['other', 'orlop-ca']) await expect(agent.send(`/api/v1/namespaces/${NAMESPACE}/secrets/${name}`), name).rejects.toMatchObject(forbidden);
    await expect(control.send(`/api/v1/namespaces/${NAMESPACE}/secrets/other`)).resolves.toMatchObject({ kind: 'Secret' });
  }, 60_000);
});
