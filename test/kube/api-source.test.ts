/** What a mesh knows of a cluster: all that is there and all that changes, whatever happens to the API server meanwhile. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';
import { systemRandom } from '../../src/core/random.ts';
import { ApiSource } from '../../src/kube/api-source.ts';
import type { Snapshot } from '../../src/mesh/snapshot.ts';
import { RecordedLog } from '../certs/recorded-log.ts';
import { ApiServer } from '../kube-api/api-server.ts';
import type { Unstored } from '../kube-api/api-server.ts';

const NETWORKING = 'networking.istio.io/v1';
const SECURITY = 'security.istio.io/v1';
const GATEWAY_API = 'gateway.networking.k8s.io/v1';

const pod = (name: string, address: string, node = 'node-1', more: object = {}): Unstored => ({
  apiVersion: 'v1', kind: 'Pod',
  metadata: { name, namespace: 'shop', uid: `uid-${name}`, labels: { app: name }, annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{}' }, managedFields: [{ manager: 'kubelet' }] },
  spec: { nodeName: node, serviceAccountName: name, containers: [{ name: 'app', env: [{ name: 'PASSWORD', value: 'secret' }], ports: [{ name: 'http', containerPort: 8080 }], readinessProbe: { httpGet: { path: '/ready', port: 'http', httpHeaders: [{ name: 'authorization', value: 'secret' }] } } }] },
  status: { phase: 'Running', podIPs: [{ ip: address }], conditions: [{ type: 'Ready', status: 'True' }] },
  ...more,
});

const rule = (name: string, code: unknown): Unstored => ({
  apiVersion: NETWORKING, kind: 'VirtualService', metadata: { name, namespace: 'shop' }, spec: { hosts: [name], http: [{ directResponse: { status: code } }] }, status: { conditions: [] },
});

let server: ApiServer;
let directory: string;
const sources: ApiSource[] = [];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-api-source-'));
  server = new ApiServer();
  await server.start();
  server.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels: { 'orlop.io/mesh': 'enabled' } } });
  server.put(pod('web', '10.0.0.1'));
  server.install(NETWORKING, 'VirtualService');
});

afterEach(async () => {
  for (const source of sources.splice(0)) source.close();
  await server.stop();
  rmSync(directory, { recursive: true });
});

const savedPath = (): string => join(directory, 'objects.gz');

async function open(): Promise<ApiSource> {
  const source = await ApiSource.open({ client: server.client(), node: 'node-1', savedPath: savedPath(), clock: systemClock, random: systemRandom, log: createLogger('test', 'silent') });
  sources.push(source);
  return source;
}

function pods(source: ApiSource): string[] {
  return (source.snapshot.get()?.workloads ?? []).map(({ name }) => name).sort();
}

function statusOf(source: ApiSource, name = 'web'): number | undefined {
  return source.snapshot.get()?.virtualServices.find((one) => one.name === name)?.spec.http?.[0]?.directResponse?.status;
}

describe('the API server as the source', () => {
  it('is read whole before anything is in force, and followed from there', async () => {
    server.put(rule('web', 200));
    const source = await open();
    expect(pods(source)).toEqual(['web']);
    expect(statusOf(source)).toBe(200);
    expect(source.stale).toBeUndefined();
    server.put(rule('web', 201));
    server.put(pod('cart', '10.0.0.2'));
    await expect.poll(() => [statusOf(source), pods(source)]).toEqual([201, ['cart', 'web']]);
    server.delete('Pod', 'web', 'shop');
    server.delete('VirtualService', 'web', 'shop');
    await expect.poll(() => [statusOf(source), pods(source)]).toEqual([undefined, ['cart']]);
  });

  it('tells of pods all that a mesh needs, and keeps nothing that their containers run with', async () => {
    server.put(pod('far', '10.0.1.1', 'node-2'));
    const source = await open();
    const [own, far] = ['web', 'far'].map((name) => source.snapshot.get()?.workloads.find((one) => one.name === name));
    expect(own).toMatchObject({ enrolled: true, node: 'node-1', serviceAccount: 'web', ready: true, phase: 'Running', addresses: ['10.0.0.1'], labels: { app: 'web' }, probes: [{ kind: 'http', port: 8080, path: '/ready' }] });
    expect(far).toMatchObject({ enrolled: true, node: 'node-2', serviceAccount: 'far', ports: [{ name: 'http', port: 8080 }], probes: [] });
    expect(JSON.stringify(source.snapshot.get())).not.toMatch(/secret|PASSWORD|managedFields|last-applied/);
  });

  it('takes endpoints from EndpointSlices, and the mesh\'s settings from their ConfigMap', async () => {
    server.put({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace: 'shop' }, spec: { clusterIP: '10.96.0.1', ports: [{ name: 'http', port: 80, targetPort: 8080 }] } });
    server.put({ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata: { name: 'web-1', namespace: 'shop', labels: { 'kubernetes.io/service-name': 'web' } }, addressType: 'IPv4', ports: [{ name: 'http', port: 8080 }], endpoints: [{ addresses: ['10.0.0.1'], conditions: { ready: true, serving: true }, targetRef: { kind: 'Pod', name: 'web', namespace: 'shop', uid: 'x' } }] });
    server.put({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'istio', namespace: 'istio-system' }, data: { mesh: 'trustDomain: example.org\n' } });
    server.put({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'other', namespace: 'istio-system' }, data: { x: 'y' } });
    const source = await open();
    expect(source.snapshot.get()?.services).toMatchObject([{ host: 'web.shop.svc.cluster.local', endpoints: [{ address: '10.0.0.1', ready: true, workload: 'shop/web', ports: { http: 8080 } }] }]);
    expect(source.snapshot.get()?.mesh.trustDomain).toBe('example.org');
    expect(Object.keys(source.snapshot.get()?.objects ?? {})).not.toContain('ConfigMap istio-system/other');
  });

  it('lists in chunks, however many objects there are', async () => {
    for (let i = 0; i < 1200; i += 1) server.put(pod(`p${i}`, `10.1.${i >> 8}.${i & 255}`, 'node-2'));
    const source = await open();
    expect(source.snapshot.get()?.workloads).toHaveLength(1201);
    expect(server.requests.filter((line) => line.startsWith('GET /api/v1/pods?') && !line.includes('watch=')).length).toBe(3);
  });

  it('looks again only at what has changed', async () => {
    server.put(pod('cart', '10.0.0.2'));
    const source = await open();
    const before = source.snapshot.get() as Snapshot;
    server.put(pod('cart', '10.0.0.3'));
    await expect.poll(() => source.snapshot.get()?.version).toBe(before.version + 1);
    const workload = (snapshot: Snapshot | undefined, name: string): unknown => snapshot?.workloads.find((one) => one.name === name);
    expect(workload(source.snapshot.get(), 'web')).toBe(workload(before, 'web'));
    expect(workload(source.snapshot.get(), 'cart')).not.toBe(workload(before, 'cart'));
  });

  it('keeps an object as it was last right, and says which one is wrong', async () => {
    server.put(rule('web', 200));
    const source = await open();
    server.put(rule('web', 'soon'));
    await expect.poll(() => source.snapshot.get()?.problems.filter(({ severity }) => severity !== 'warning').map(({ file, severity }) => `${file} ${severity}`).sort()).toEqual(['VirtualService shop/web error', 'VirtualService shop/web info']);
    expect(statusOf(source)).toBe(200);
  });
});

describe('a pod that is about to start', () => {
  const soon = (): AbortSignal => AbortSignal.timeout(20_000);

  it('is known as soon as the server has told of it and of its namespace, whose word may be the one that counts', async () => {
    const source = await open();
    const asked = source.livePods.until('new/web', ({ uid }) => uid === 'second', soon());
    server.put({ ...pod('web', ''), metadata: { name: 'web', namespace: 'new', uid: 'first' }, status: { phase: 'Pending' } });
    await expect.poll(() => pods(source)).toEqual(['web', 'web']);
    expect(source.livePods.find('new/web')).toBeUndefined();
    server.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'new', annotations: { 'orlop.io/mesh': 'enabled' } } });
    await expect.poll(() => source.livePods.find('new/web')).toMatchObject({ uid: 'first', enrolled: true, addresses: [] });
    server.put({ ...pod('web', ''), metadata: { name: 'web', namespace: 'new', uid: 'second', annotations: { 'orlop.io/mesh': 'disabled' } }, status: { phase: 'Pending' } });
    expect(await asked).toMatchObject({ uid: 'second', enrolled: false });
  });

  it('is not waited for longer than is asked', async () => {
    const source = await open();
    await expect(source.livePods.until('shop/never', () => true, AbortSignal.abort(new Error('too late')))).rejects.toThrow('too late');
    await expect(source.livePods.until('shop/never', () => true, AbortSignal.timeout(1))).rejects.toThrow(/timeout/);
  });
});

describe('kinds of the mesh', () => {
  it('that are not installed are not missed; those that come later are followed', async () => {
    const source = await open();
    server.install(SECURITY, 'AuthorizationPolicy');
    server.put({ apiVersion: SECURITY, kind: 'AuthorizationPolicy', metadata: { name: 'deny', namespace: 'shop' }, spec: {} });
    await expect.poll(() => source.snapshot.get()?.authorizationPolicies.map(({ name }) => name), { timeout: 5000 }).toEqual(['deny']);
    server.uninstall(SECURITY, 'AuthorizationPolicy');
    await expect.poll(() => source.snapshot.get()?.authorizationPolicies, { timeout: 5000 }).toEqual([]);
    expect(source.stale).toBeUndefined();
  });

  it('are read in an older version where the newer is not served', async () => {
    server.install('security.istio.io/v1beta1', 'PeerAuthentication');
    server.put({ apiVersion: 'security.istio.io/v1beta1', kind: 'PeerAuthentication', metadata: { name: 'default', namespace: 'shop' }, spec: { mtls: { mode: 'STRICT' } } });
    const source = await open();
    expect(source.snapshot.get()?.peerAuthentications.map(({ name }) => name)).toEqual(['default']);
    expect(source.snapshot.get()?.problems).toEqual([]);
  });
});

describe('the definition of a kind', () => {
  it('is known by its annotations, as they change', async () => {
    const define = (channel: string): void => server.put({ apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', metadata: { name: 'httproutes.gateway.networking.k8s.io', annotations: { channel } } });
    server.install(GATEWAY_API, 'HTTPRoute');
    define('standard');
    const source = await open();
    expect(source.annotations('HTTPRoute')).toEqual({ channel: 'standard' });
    expect(source.annotations('VirtualService')).toEqual({});
    expect(source.annotations('TCPRoute')).toBeUndefined();
    const { version } = source.snapshot.get() as Snapshot;
    define('experimental');
    // Whoever follows the snapshot looks again.
    await expect.poll(() => source.snapshot.get()?.version).toBeGreaterThan(version);
    expect(source.annotations('HTTPRoute')).toEqual({ channel: 'experimental' });
  });
});

describe('the status of a kind', () => {
  it('that its definition has no place for is missed aloud, once, until it has', async () => {
    const path = `/apis/${NETWORKING}`;
    const without = { kind: 'APIResourceList', groupVersion: NETWORKING, resources: [{ name: 'virtualservices', kind: 'VirtualService' }] };
    server.intercept = ({ url }) => (url === path ? { status: 200, body: without } : undefined);
    server.put(rule('web', 200));
    const log = new RecordedLog();
    const source = await ApiSource.open({ client: server.client(), node: undefined, savedPath: undefined, clock: systemClock, random: systemRandom, log });
    sources.push(source);
    await expect.poll(() => server.requests.filter((line) => line === `GET ${path}`).length, { timeout: 5_000 }).toBeGreaterThan(2);
    expect(log.lines.filter((line) => line.includes('get no status'))).toEqual([expect.stringMatching(/^warn .*: add subresources: {status: {}} to its versions/)]);
    expect(log.text).toContain('"kind":"VirtualService"');
    expect([...source.stored()]).toEqual([]);
    server.intercept = undefined;
    await expect.poll(() => [...source.stored()].map(({ name }) => name), { timeout: 10_000 }).toEqual(['VirtualService shop/web']);
  });

  it('is not missed where the kind has none', async () => {
    server.install(GATEWAY_API, 'ReferenceGrant');
    server.intercept = ({ url }) => (url === `/apis/${GATEWAY_API}` ? { status: 200, body: { resources: [{ name: 'referencegrants', kind: 'ReferenceGrant' }] } } : undefined);
    const log = new RecordedLog();
    sources.push(await ApiSource.open({ client: server.client(), node: undefined, savedPath: undefined, clock: systemClock, random: systemRandom, log }));
    expect(log.text).not.toContain('get no status');
  });
});

describe('a watch', () => {
  const lists = (): number => server.requests.filter((line) => line.startsWith('GET /api/v1/pods?') && !line.includes('watch=')).length;
  const watches = (): URLSearchParams[] => server.requests.filter((line) => line.startsWith('GET /api/v1/pods?') && line.includes('watch=')).map((line) => new URLSearchParams(line.slice(line.indexOf('?'))));

  it('is resumed where it ended, with what happened meanwhile, and without a new list', async () => {
    const source = await open();
    const before = lists();
    await server.stop();
    server.put(pod('cart', '10.0.0.2'));
    await server.start();
    await expect.poll(() => pods(source), { timeout: 10_000 }).toEqual(['cart', 'web']);
    expect(lists()).toBe(before);
  });

  it('is resumed from a bookmark, when the history before it has gone', async () => {
    const source = await open();
    // Told by the watch, which is open then.
    server.put(pod('cart', '10.0.0.2'));
    await expect.poll(() => pods(source)).toEqual(['cart', 'web']);
    expect(watches().every((query) => query.get('allowWatchBookmarks') === 'true')).toBe(true);
    const before = { lists: lists(), watches: watches().length };
    server.compact();
    server.bookmark();
    server.endWatches('pods');
    server.put(pod('late', '10.0.0.3'));
    await expect.poll(() => pods(source), { timeout: 15_000 }).toEqual(['cart', 'late', 'web']);
    expect({ lists: lists(), watches: watches().length }).toEqual({ lists: before.lists, watches: before.watches + 1 });
  }, 20_000);

  it('whose history has gone is begun anew from a list: what vanished unseen vanishes here', async () => {
    server.put(pod('cart', '10.0.0.2'));
    const source = await open();
    await server.stop();
    server.delete('Pod', 'web', 'shop');
    server.put(pod('late', '10.0.0.4'));
    server.compact();
    await server.start();
    await expect.poll(() => pods(source), { timeout: 15_000 }).toEqual(['cart', 'late']);
    expect(source.stale).toBeUndefined();
  }, 20_000);
});

describe('while the API server is away', () => {
  it('what was known stays in force, and it is said that it may be old', async () => {
    const source = await open();
    await server.stop();
    await expect.poll(() => source.stale).toMatch(/the API server 127\.0\.0\.1:\d+ cannot be followed .* the configuration of .* is in force/);
    expect(pods(source)).toEqual(['web']);
    await server.start();
    await expect.poll(() => source.stale, { timeout: 15_000 }).toBeUndefined();
  }, 20_000);

  it('an agent starts with what an earlier one saved, without anything secret in it, and takes over what is new when the server is back', async () => {
    server.put({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'key', namespace: 'shop' }, data: { key: 'c2VjcmV0' } });
    server.put(rule('web', 200));
    const first = await open();
    await expect.poll(() => existsSync(savedPath()), { timeout: 10_000 }).toBe(true);
    first.close();
    await server.stop();
    expect(gunzipSync(readFileSync(savedPath())).toString()).not.toMatch(/secret|PASSWORD|"Secret"|c2VjcmV0/);
    const second = await open();
    expect(pods(second)).toEqual(['web']);
    expect(statusOf(second)).toBe(200);
    expect(second.livePods.find('shop/web')).toMatchObject({ uid: 'uid-web', enrolled: true });
    expect(second.stale).toMatch(/cannot be followed/);
    server.put(rule('web', 201));
    await server.start();
    await expect.poll(() => [statusOf(second), second.stale], { timeout: 20_000 }).toEqual([201, undefined]);
  }, 40_000);

  it('one that finds nothing usable waits for the server', async () => {
    writeFileSync(savedPath(), 'rubbish');
    await server.stop();
    const opening = open();
    await new Promise((resolve) => {
      setTimeout(resolve, 5_500);
    });
    await server.start();
    expect(pods(await opening)).toEqual(['web']);
  }, 30_000);

  it('a server that answers with errors, or cuts answers short, is asked again', async () => {
    const source = await open();
    server.failing = 500;
    server.endWatches();
    await expect.poll(() => source.stale).toMatch(/500/);
    server.put(pod('cart', '10.0.0.2'));
    server.failing = undefined;
    await expect.poll(() => pods(source), { timeout: 15_000 }).toEqual(['cart', 'web']);
  }, 20_000);
});
