/**
 * What the control plane says of objects, on a real API server with the rights of deploy/: to their author before they are stored, and in their status
 * after. Two replicas run as processes of this machine; API servers without nodes reach the webhook by its address instead of its Service.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { CaClient } from '../../src/certs/ca-client.ts';
import { createCsr } from '../../src/certs/csr.ts';
import { systemClock } from '../../src/core/clock.ts';
import { ApiClient, ApiError } from '../../src/kube/api-client.ts';
import { kubeconfigCredentials } from '../../src/kube/credentials.ts';
import { CONTROL_KINDS } from '../../src/kube/resources.ts';
import { runCommand } from '../../src/lab/command.ts';
import { checkObject } from '../../src/mesh/build.ts';
import { CONTROLLER_NAME } from '../../src/mesh/gateway/resources.ts';
import { Cluster } from './cluster/cluster.ts';

const SYSTEM = 'orlop-system';
const ROOT = join(import.meta.dirname, '../..');
const ORLOP = join(ROOT, 'bin/orlop');
const EXAMPLES = join(ROOT, 'test/data/istio/validation');
const NETWORKING = 'networking.istio.io/v1';
const IDENTITY = 'spiffe://cluster.local/ns/shop/sa/web';

/** Kinds without effect, whose definitions only Istio brings, by their plurals. */
const LATER: Readonly<Record<string, string>> = { Sidecar: 'sidecars', WorkloadGroup: 'workloadgroups', ProxyConfig: 'proxyconfigs', EnvoyFilter: 'envoyfilters', Telemetry: 'telemetries', WasmPlugin: 'wasmplugins' };
const HONOURED: Readonly<Record<string, string>> = {
  VirtualService: 'virtualservices', DestinationRule: 'destinationrules', ServiceEntry: 'serviceentries', WorkloadEntry: 'workloadentries',
  PeerAuthentication: 'peerauthentications', RequestAuthentication: 'requestauthentications', AuthorizationPolicy: 'authorizationpolicies',
};

function crd([kind, plural]: [string, string]): object {
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
  const versions = (CONTROL_KINDS.get(kind) ?? []).map((apiVersion) => apiVersion.split('/') as [string, string]);
  const group = versions[0]?.[0] ?? '';
  return {
    apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', metadata: { name: `${plural}.${group}` },
    spec: { group, scope: 'Namespaced', names: { kind, plural }, versions: versions.map(([, name], i) => ({ name, served: true, storage: i === 0, schema, subresources: { status: {} } })) },
  };
}

interface Written {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec?: unknown;
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration: number;
}

const rule = (name: string, hosts: readonly string[], route: object = { directResponse: { status: 204 } }): Written => ({ apiVersion: NETWORKING, kind: 'VirtualService', metadata: { name, namespace: 'shop' }, spec: { hosts, http: [route] } });

/** What Istio's own validation is tested with. */
function examples(): { file: string; object: Written }[] {
  return readdirSync(EXAMPLES).flatMap((file) =>
    // What Go's parser reads as text is a map in YAML 1.2.
    parseAllDocuments(readFileSync(join(EXAMPLES, file), 'utf8').replace('001:db8::]', '"001:db8::"]')).flatMap((document) => {
      const value = document.toJS() as (Written & { _err?: string }) | null;
      if (value === null) return [];
      const { _err, ...object } = value;
      return [{ file, object: { ...object, metadata: { name: object.metadata.name.toLowerCase(), namespace: 'shop' } } }];
    }));
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => { server.once('listening', resolve); });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => { server.close(resolve); });
  return port;
}

/** One replica of the control plane. */
class Replica {
  readonly name: string;
  readonly runDirectory: string;
  port = 0;
  webhookPort = 0;
  output = '';
  #process: ChildProcess | undefined;

  constructor(name: string, directory: string) {
    this.name = name;
    this.runDirectory = join(directory, name);
    mkdirSync(this.runDirectory);
  }

  async start(cluster: Cluster, kubeconfig: string): Promise<void> {
    this.port ||= await freePort();
    this.webhookPort ||= await freePort();
    const httpPort = await freePort();
    const argv = ['control', 'run', '--kubeconfig', kubeconfig, '--namespace', SYSTEM, '--replica', this.name, '--listen', `127.0.0.1:${this.port}`, '--webhook-port', String(this.webhookPort), '--http-port', String(httpPort), '--run-dir', this.runDirectory];
    this.#process = spawn(ORLOP, argv, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#process.stderr?.on('data', (data: Buffer) => { this.output += data.toString(); });
    await cluster.until(`${this.name} ready`, async () => {
      if (this.#process?.exitCode !== null) throw new Error(`${this.name} ended: ${this.output}`);
      return (await fetch(`http://127.0.0.1:${httpPort}/healthz/ready`).catch(() => undefined))?.status === 200;
    });
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const ending = this.#process;
    this.#process = undefined;
    if (ending === undefined || ending.exitCode !== null) return;
    const ended = new Promise((resolve) => { ending.once('exit', resolve); });
    ending.kill(signal);
    await ended;
  }
}

describe('what is said of objects', { timeout: 120_000 }, () => {
  let cluster: Cluster;
  let directory: string;
  let kubeconfig: string;
  let client: ApiClient;
  let replicas: [Replica, Replica];

  beforeAll(async () => {
    cluster = await Cluster.up({ name: 'verdicts', nodes: 0 });
    directory = mkdtempSync(join(tmpdir(), 'orlop-verdicts-'));
    client = new ApiClient(await kubeconfigCredentials(cluster.kubeconfig));
    replicas = [new Replica('one', directory), new Replica('two', directory)];
    await cluster.kubectl(['apply', '-k', join(ROOT, 'deploy')]);
    await cluster.kubectl(['apply', '-k', join(ROOT, 'deploy/crds')]);
    await cluster.apply(Object.entries(LATER).map(crd));
    await cluster.kubectl(['wait', '--for=condition=Established', 'crd', '--all']);
    await cluster.apply([
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } }, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1' } },
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'web', namespace: 'shop' } },
      { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web', namespace: 'shop' }, spec: { nodeName: 'node-1', serviceAccountName: 'web', containers: [{ name: 'app', image: 'none' }] } },
      { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'agent-1', namespace: SYSTEM }, spec: { nodeName: 'node-1', serviceAccountName: 'orlop-agent', containers: [{ name: 'agent', image: 'none' }] } },
      { apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace: 'shop' }, spec: { ports: [{ port: 80 }] } },
    ]);
    kubeconfig = await writeKubeconfig();
    const [one, two] = replicas;
    one.webhookPort = await freePort();
    await cluster.kubectl(['patch', 'validatingwebhookconfiguration', 'orlop-control', '--type=json', '-p', JSON.stringify([{ op: 'replace', path: '/webhooks/0/clientConfig', value: { url: `https://127.0.0.1:${one.webhookPort}/validate` } }])]);
    await one.start(cluster, kubeconfig);
    await two.start(cluster, kubeconfig);
    await judged();
  }, 300_000);

  afterAll(async () => {
    for (const replica of replicas) await replica.kill();
    client.close();
    await cluster.down();
    rmSync(directory, { recursive: true });
  }, 60_000);

  /** As the service account of the control plane. */
  async function writeKubeconfig(): Promise<string> {
    const path = join(directory, 'kubeconfig');
    const { server, caFile, caData } = cluster.client.getCurrentCluster() ?? {};
    const token = (await cluster.kubectl(['create', 'token', 'orlop-control', '-n', SYSTEM])).trim();
    const authority = caData === undefined ? { 'certificate-authority': caFile } : { 'certificate-authority-data': caData };
    writeFileSync(path, JSON.stringify({
      apiVersion: 'v1', kind: 'Config', 'current-context': 'control', contexts: [{ name: 'control', context: { cluster: 'test', user: 'control' } }],
      clusters: [{ name: 'test', cluster: { server, ...authority } }], users: [{ name: 'control', user: { token } }],
    }), { mode: 0o600 });
    return path;
  }

  /** The API server asks, and is answered. */
  async function judged(): Promise<void> {
    await cluster.until('objects are judged', async () => (await refusal(rule('probe', ['probe'], {})))?.includes('validate.orlop.io') === true);
  }

  /** Why an object would not be stored; undefined when it would be. */
  async function refusal(object: Written): Promise<string | undefined> {
    try {
      await client.send(`/apis/${object.apiVersion}/namespaces/shop/${{ ...LATER, ...HONOURED }[object.kind] ?? ''}`, { method: 'POST', query: { dryRun: 'All' }, body: { ...object } });
      return undefined;
    } catch (error) {
      if (!(error instanceof ApiError) || (error.status !== 422 && error.status !== 400)) throw error;
      return error.message;
    }
  }

  async function conditions(kind: string, name: string): Promise<Readonly<Record<string, Condition>>> {
    const { status } = JSON.parse(await cluster.kubectl(['get', kind, '-n', 'shop', name, '-o', 'json'])) as { status?: { conditions?: Condition[] } };
    return Object.fromEntries((status?.conditions ?? []).map((condition) => [condition.type, condition]));
  }

  async function leader(): Promise<string> {
    return cluster.kubectl(['get', 'lease', '-n', SYSTEM, 'orlop-control', '-o', 'jsonpath={.spec.holderIdentity}']);
  }

  it('a wrong object is refused with what config check says of it', async () => {
    const wrong = rule('web', ['web'], { timout: '5s', directResponse: { status: 204 } });
    writeFileSync(join(directory, 'web.json'), JSON.stringify(wrong));
    const checked = await runCommand(ORLOP, ['config', 'check', directory]);
    const [, said = ''] = /error \[IST0106\] VirtualService shop\/web (spec\..*)/.exec(checked.stdout) ?? [];
    expect(said).toContain('unknown field "timout" → did you mean "timeout"?');
    const { code, stderr } = await cluster.tryKubectl(['apply', '-f', join(directory, 'web.json')]);
    expect(code).toBe(1);
    expect(stderr).toContain(`admission webhook "validate.orlop.io" denied the request: VirtualService shop/web: error [IST0106] ${said}`);
  });

  it('an author is warned of what has no effect, and of what is not there', async () => {
    const { code, stderr } = await cluster.tryKubectl(['apply', '--dry-run=server', '-f', '-'], JSON.stringify(rule('warned', ['web'], { route: [{ destination: { host: 'nobody' } }] })));
    expect(code).toBe(0);
    expect(stderr).toMatch(/^Warning: VirtualService shop\/warned spec\.http\[0\]\.route\[0\]\.destination\.host: there is no service "nobody\.shop\.svc\.cluster\.local"/m);
  });

  it('every example of Istio\'s validation gets the verdict that config check gives', async () => {
    const verdicts = { same: 0, refused: 0 };
    for (const { file, object } of examples()) {
      const { failed, problems } = checkObject({ name: object.metadata.name, value: { ...object } });
      const refused = await refusal(object);
      expect(refused === undefined, `${file} ${object.metadata.name}: ${refused ?? 'stored'}; ${JSON.stringify(problems)}`).toBe(!failed);
      verdicts.same += 1;
      if (refused !== undefined) verdicts.refused += 1;
    }
    expect(verdicts.same).toBeGreaterThan(100);
    expect(verdicts.refused).toBeGreaterThan(30);
  });

  it('the status of every kind says what becomes of an object, and names the older one in a conflict', async () => {
    await cluster.apply([rule('first', ['web'])]);
    // Ages are told in seconds; of two made in one second, the name decides.
    await cluster.apply([rule('second', ['web'])]);
    await cluster.apply([
      { apiVersion: NETWORKING, kind: 'DestinationRule', metadata: { name: 'web', namespace: 'shop' }, spec: { host: 'web', trafficPolicy: { tunnel: { targetHost: 'a', targetPort: 1 } } } },
      { apiVersion: 'telemetry.istio.io/v1', kind: 'Telemetry', metadata: { name: 'all', namespace: 'shop' }, spec: {} },
    ]);
    await expect.poll(async () => conditions('vs', 'second'), { timeout: 20_000 }).toMatchObject({
      Accepted: { status: 'True', observedGeneration: 1 },
      Programmed: { status: 'False', reason: 'Conflicted', message: expect.stringContaining('"web" already belongs to VirtualService shop/first') as string },
    });
    expect(await conditions('vs', 'first')).toMatchObject({ Accepted: { status: 'True' }, ResolvedRefs: { status: 'True' }, Honored: { status: 'True' }, Programmed: { status: 'True' } });
    await expect.poll(async () => conditions('dr', 'web'), { timeout: 20_000 }).toMatchObject({ Honored: { status: 'False', reason: 'FieldNotSupported', message: expect.stringContaining('spec.trafficPolicy.tunnel') as string }, Programmed: { status: 'True' } });
    await expect.poll(async () => conditions('telemetry', 'all'), { timeout: 20_000 }).toMatchObject({ Honored: { status: 'False', reason: 'KindNotSupported' }, Programmed: { status: 'False' } });
    await cluster.kubectl(['delete', 'vs', '-n', 'shop', 'first']);
    await expect.poll(async () => (await conditions('vs', 'second'))['Programmed']?.status, { timeout: 20_000 }).toBe('True');
  });

  it('what others say in a status stays, and nothing is written that is there already', async () => {
    const reconciled = { type: 'Reconciled', status: 'True', message: 'of another' };
    const known = Object.values(await conditions('vs', 'second'));
    await cluster.kubectl(['patch', 'vs', '-n', 'shop', 'second', '--subresource=status', '--type=merge', '-p', JSON.stringify({ status: { conditions: [...known, reconciled], validationMessages: [] } })]);
    await cluster.apply([rule('second', ['web'], { directResponse: { status: 200 } })]);
    await expect.poll(async () => (await conditions('vs', 'second'))['Programmed']?.observedGeneration, { timeout: 20_000 }).toBe(2);
    expect((await conditions('vs', 'second'))['Reconciled']).toMatchObject(reconciled);
    const version = async (): Promise<string> => cluster.kubectl(['get', 'vs', '-n', 'shop', 'second', '-o', 'jsonpath={.metadata.resourceVersion}']);
    const before = await version();
    await cluster.apply([{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'other', namespace: 'shop' }, spec: { ports: [{ port: 80 }] } }, rule('later', ['other'])]);
    await expect.poll(async () => Object.keys(await conditions('vs', 'later')), { timeout: 20_000 }).toContain('Programmed');
    expect(await version()).toBe(before);
  });

  it('the status of a route has an entry for each parent of ours, beside those of other controllers', async () => {
    const group = 'gateway.networking.k8s.io';
    const [ours, theirs] = [{ group: '', kind: 'Service', name: 'web', port: 80 }, { group, kind: 'Gateway', name: 'theirs' }];
    await cluster.apply([
      { apiVersion: `${group}/v1`, kind: 'GatewayClass', metadata: { name: 'orlop' }, spec: { controllerName: CONTROLLER_NAME } },
      { apiVersion: `${group}/v1`, kind: 'HTTPRoute', metadata: { name: 'web', namespace: 'shop' }, spec: { parentRefs: [ours, theirs], rules: [{ backendRefs: [{ name: 'web', port: 80 }] }] } },
    ]);
    const entry = { parentRef: theirs, controllerName: 'example.com/other', conditions: [{ type: 'Accepted', status: 'True', reason: 'Accepted', message: '', lastTransitionTime: '2026-01-01T00:00:00Z', observedGeneration: 1 }] };
    await cluster.kubectl(['patch', 'httproute', '-n', 'shop', 'web', '--subresource=status', '--type=merge', '-p', JSON.stringify({ status: { parents: [entry] } })]);
    await expect.poll(async () => JSON.parse(await cluster.kubectl(['get', 'httproute', '-n', 'shop', 'web', '-o', 'jsonpath={.status.parents}'])) as unknown, { timeout: 20_000 }).toEqual([
      entry,
      expect.objectContaining({ parentRef: ours, controllerName: CONTROLLER_NAME, conditions: expect.arrayContaining([expect.objectContaining({ type: 'Accepted', status: 'True', observedGeneration: 1 })]) as unknown }),
    ]);
    await expect.poll(async () => cluster.kubectl(['get', 'gatewayclass', 'orlop', '-o', 'jsonpath={.status.conditions[?(@.type=="Accepted")].status}']), { timeout: 20_000 }).toBe('True');
  });

  it('the status of a route that its definition lets pass and the rules do not says what is wrong, and which version is in force', async () => {
    const wrong = { matches: [{ path: { type: 'RegularExpression', value: '/a(' } }], backendRefs: [{ name: 'web', port: 80 }] };
    await cluster.kubectl(['patch', 'httproute', '-n', 'shop', 'web', '--type=merge', '-p', JSON.stringify({ spec: { rules: [wrong] } })]);
    const accepted = async (): Promise<unknown> => JSON.parse(await cluster.kubectl(['get', 'httproute', '-n', 'shop', 'web', '-o', `jsonpath={.status.parents[?(@.controllerName=="${CONTROLLER_NAME}")].conditions}`]));
    await expect.poll(accepted, { timeout: 20_000 }).toEqual([expect.objectContaining({
      type: 'Accepted', status: 'False', reason: 'Invalid', observedGeneration: 2,
      message: expect.stringMatching(/^spec\.rules\[0\]\.matches\[0\]\.path\.value: .*\nthis version is not in force; the last good version of this object \(generation 1\) stays in force/) as string,
    })]);
  });

  it('a GatewayClass claims what the installed definitions can express', async () => {
    const claimed = async (): Promise<boolean> => (await cluster.kubectl(['get', 'gatewayclass', 'orlop', '-o', 'jsonpath={.status.supportedFeatures[*].name}'])).includes('HTTPRouteRetry');
    expect(await claimed()).toBe(true);
    const annotate = async (channel: string): Promise<unknown> => cluster.kubectl(['annotate', 'crd', 'httproutes.gateway.networking.k8s.io', channel]);
    await annotate('gateway.networking.k8s.io/channel=standard');
    await expect.poll(claimed, { timeout: 20_000 }).toBe(false);
    await annotate('gateway.networking.k8s.io/channel-');
    await expect.poll(claimed, { timeout: 20_000 }).toBe(true);
  });

  it('a kind whose definition has no place for a status is named in the log, and has one as soon as it can', async () => {
    const define = async (subresources: object): Promise<unknown> => cluster.kubectl(['patch', 'crd', 'proxyconfigs.networking.istio.io', '--type=json', '-p', JSON.stringify([{ op: 'replace', path: '/spec/versions/0/subresources', value: subresources }])]);
    const log = async (): Promise<string> => replicas.find(({ name }) => name === at)?.output ?? '';
    const at = await leader();
    await define({});
    await expect.poll(log, { timeout: 20_000 }).toMatch(/"kind":"ProxyConfig".*objects of this kind get no status/);
    await cluster.apply([{ apiVersion: 'networking.istio.io/v1beta1', kind: 'ProxyConfig', metadata: { name: 'one', namespace: 'shop' }, spec: {} }]);
    await define({ status: {} });
    await expect.poll(async () => (await conditions('proxyconfig', 'one'))['Programmed']?.reason, { timeout: 40_000 }).toBe('KindNotSupported');
  });

  it('the roots of the webhook are right while the root changes', async () => {
    const holder = replicas.find(({ name }) => name === 'one') as Replica;
    const at = (await leader()) === 'one' ? holder : replicas[1];
    expect((await runCommand(ORLOP, ['control', 'rotate', 'root', '--run-dir', at.runDirectory])).code).toBe(0);
    const bundle = async (): Promise<string> => Buffer.from(await cluster.kubectl(['get', 'validatingwebhookconfiguration', 'orlop-control', '-o', 'jsonpath={.webhooks[0].clientConfig.caBundle}']), 'base64').toString();
    await expect.poll(async () => (await bundle()).match(/BEGIN CERTIFICATE/g)?.length, { timeout: 20_000 }).toBe(2);
    await judged();
  });

  it('the control plane may touch no other webhook, and no more of an object than its status', async () => {
    const may = async (...what: string[]): Promise<string> => (await cluster.tryKubectl(['auth', 'can-i', '-A', '--as', `system:serviceaccount:${SYSTEM}:orlop-control`, ...what])).stdout.trim();
    expect(await may('update', 'validatingwebhookconfigurations/orlop-control')).toBe('yes');
    expect(await may('update', 'validatingwebhookconfigurations/another')).toBe('no');
    expect(await may('patch', 'virtualservices.networking.istio.io', '--subresource=status')).toBe('yes');
    expect(await may('patch', 'virtualservices.networking.istio.io')).toBe('no');
  });

  it('when the leader is killed, the other says what is left to say, and signs meanwhile', async () => {
    const [dead, alive] = (await leader()) === 'one' ? replicas : [replicas[1], replicas[0]];
    const token = (await cluster.kubectl(['create', 'token', 'orlop-agent', '-n', SYSTEM, '--audience', 'istio-ca', '--bound-object-kind', 'Pod', '--bound-object-name', 'agent-1'])).trim();
    const roots = await cluster.kubectl(['get', 'configmap', '-n', SYSTEM, 'orlop-ca-roots', '-o', 'jsonpath={.data.root-cert\\.pem}']);
    writeFileSync(join(directory, 'token'), token);
    writeFileSync(join(directory, 'roots.pem'), roots);
    const ca = new CaClient({ address: `127.0.0.1:${alive.port}`, serverName: 'orlop-control.orlop-system.svc', rootsFile: join(directory, 'roots.pem'), tokenFile: join(directory, 'token'), clock: systemClock });
    const names = Array.from({ length: 40 }, (_, i) => `many-${i}`);
    const applied = cluster.apply(names.map((name) => rule(name, [`${name}.example`])));
    await dead.kill();
    await applied;
    try {
      const signed = await Promise.all(names.map(async () => ca.sign({ csr: (await createCsr(IDENTITY)).csr, identity: IDENTITY, lifetimeMs: 0 })));
      expect(signed.every(({ chain }) => chain.includes('BEGIN CERTIFICATE'))).toBe(true);
    } finally {
      ca.close();
    }
    await expect.poll(async () => {
      const { items } = JSON.parse(await cluster.kubectl(['get', 'vs', '-n', 'shop', '-o', 'json'])) as { items: { metadata: { name: string }; status?: { conditions?: Condition[] } }[] };
      return items.filter(({ metadata, status }) => metadata.name.startsWith('many-') && status?.conditions?.some(({ type, status: is }) => type === 'Programmed' && is === 'True')).length;
    }, { timeout: 60_000, interval: 500 }).toBe(names.length);
    expect(await leader()).toBe(alive.name);
    await dead.start(cluster, kubeconfig);
  });

  it('without a control plane everything is stored, and told in its status when it is back', async () => {
    for (const replica of replicas) await replica.kill();
    await cluster.apply([rule('wrong', ['web'], { timout: '5s' })]);
    for (const replica of replicas) await replica.start(cluster, kubeconfig);
    await expect.poll(async () => conditions('vs', 'wrong'), { timeout: 60_000 }).toMatchObject({
      Accepted: { status: 'False', reason: 'Invalid', message: expect.stringContaining('spec.http[0].timout: unknown field "timout" → did you mean "timeout"?') as string },
      Programmed: { status: 'False', reason: 'Invalid' },
    });
    await judged();
    // It is stored, so its labels may change; its spec only to something better.
    await cluster.kubectl(['label', 'vs', '-n', 'shop', 'wrong', 'a=b']);
    expect((await cluster.tryKubectl(['patch', 'vs', '-n', 'shop', 'wrong', '--type=merge', '-p', JSON.stringify({ spec: { http: [{ timout: '6s' }] } })])).stderr).toContain('did you mean "timeout"?');
    await cluster.apply([rule('wrong', ['right.example'], { timeout: '5s', directResponse: { status: 204 } })]);
    await expect.poll(async () => (await conditions('vs', 'wrong'))['Accepted'], { timeout: 20_000 }).toMatchObject({ status: 'True' });
  });

  it('knows every kind that Istio has', () => {
    const known = [...CONTROL_KINDS].filter(([, groups]) => groups.some((group) => group.includes('.istio.io/'))).map(([kind]) => kind.split('.')[0]);
    for (const { object } of examples()) expect(known).toContain(object.kind);
  });
});
