/**
 * Orlop's own requests against a real API server, with the rights that deploy/ grants and no others: what is followed, whose tokens are, where
 * keys are kept. Nodes and pods are objects only.
 */
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Authority } from '../../src/certs/authority.ts';
import { CaClient } from '../../src/certs/ca-client.ts';
import { createCsr } from '../../src/certs/csr.ts';
import { Control } from '../../src/control/control.ts';
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
const NAME = 'orlop-control.orlop-system.svc';
const DEPLOY = join(import.meta.dirname, '../../deploy');
const log = createLogger('test', 'silent');
const HOUR_MS = 3_600_000;
const LIFETIMES = { leafMs: HOUR_MS, intermediateMs: 24 * HOUR_MS, rootMs: 240 * HOUR_MS };

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
      const ca = await Authority.open({ trustDomain: 'cluster.local', lifetimes: LIFETIMES, keys: { store }, clock: systemClock, log });
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

  it('a node gets the identities of its own pods signed, and of no others', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'orlop-control-plane-'));
    await cluster.apply([serviceAccount('near', 'shop'), serviceAccount('far', 'shop'), pod('near', 'shop', 'node-1', 'near'), pod('far', 'shop', 'node-2', 'far')]);
    const control = await startControl(directory);
    closing.push(() => control.stop(), () => rmSync(directory, { recursive: true }));
    const ask = async (agent: string, account: string): Promise<string> => {
      const tokenFile = join(directory, agent);
      writeFileSync(tokenFile, await token('orlop-agent', { audience: 'istio-ca', pod: agent }));
      const ca = new CaClient({ address: `127.0.0.1:${control.port}`, serverName: NAME, rootsFile: join(directory, 'roots.pem'), tokenFile, clock: systemClock });
      const identity = `spiffe://cluster.local/ns/shop/sa/${account}`;
      try {
        const { chain } = await ca.sign({ csr: (await createCsr(identity)).csr, identity, lifetimeMs: 0 });
        return new X509Certificate(chain).subjectAltName ?? '';
      } catch (error) {
        return (error as Error).message;
      } finally {
        ca.close();
      }
    };
    expect(await ask('agent-1', 'near')).toBe('URI:spiffe://cluster.local/ns/shop/sa/near');
    expect(await ask('agent-2', 'far')).toBe('URI:spiffe://cluster.local/ns/shop/sa/far');
    expect(await ask('agent-2', 'near')).toMatch(/ refused: no pod with service account shop\/near is on node node-2$/);
    expect(await ask('agent-1', 'far')).toMatch(/ refused: no pod with service account shop\/far is on node node-1$/);
    await cluster.kubectl(['delete', 'pod', '-n', 'shop', 'far', '--force', '--grace-period=0']);
    await expect.poll(async () => ask('agent-2', 'far'), { timeout: 20_000 }).toMatch(/ refused: no pod with service account shop\/far is on node node-2$/);
  }, 60_000);

  /** `orlop control`, as its service account. */
  async function startControl(directory: string): Promise<Control> {
    const config = JSON.parse(await cluster.kubectl(['config', 'view', '--raw', '-o', 'json'])) as { users: { user: object }[] };
    for (const user of config.users) user.user = { token: await token('orlop-control') };
    const place = { kubeconfig: join(directory, 'kubeconfig') };
    writeFileSync(place.kubeconfig, JSON.stringify(config), { mode: 0o600 });
    const listen = { address: '127.0.0.1', port: 0 };
    return Control.start({
      config: place, nodes: { place, namespace: NAMESPACE, identity: 'signing', agents: [`${NAMESPACE}/orlop-agent`], audience: 'istio-ca', webhook: listen }, listen, names: [NAME],
      keys: 'secret', lifetimes: LIFETIMES, rootsOut: join(directory, 'roots.pem'), httpPort: 0, runDirectory: directory, logLevel: 'silent',
    });
  }

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
