/** The manifests of deploy/: each object is what it says it is, and the rights they grant are those that are used. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { OwnDaemonSet } from '../../src/agent/own-daemonset.ts';
import { MemoryCaStore } from '../../src/certs/ca-state.ts';
import { openOwnCa } from '../../src/certs/own-ca.ts';
import { caBundle } from '../../src/control/ca-bundle.ts';
import { buildSnapshot } from '../../src/mesh/build.ts';
import type { ApiClient } from '../../src/kube/api-client.ts';
import type { AgentPod } from '../../src/control/agent-pods.ts';
import { GatewayServices } from '../../src/control/gateway-services.ts';
import { readFromCluster } from '../../src/control/gateway-credentials.ts';
import { gatewayStatusWishes } from '../../src/control/gateway-statuses.ts';
import { istioStatuses } from '../../src/control/istio-statuses.ts';
import { Leadership } from '../../src/control/leadership.ts';
import { NodeIdentities } from '../../src/control/node-identities.ts';
import { publishedRoots } from '../../src/control/published-roots.ts';
import { SecretStore } from '../../src/control/secret-store.ts';
import { StatusWriter } from '../../src/control/status-writer.ts';
import { ServiceAccountKeys } from '../../src/control/service-account-keys.ts';
import { TokenReview } from '../../src/control/token-review.ts';
import { agentCommand } from '../../src/cli/agent.ts';
import { controlCommand } from '../../src/cli/control.ts';
import { FakeClock, systemClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';
import { seededRandom, systemRandom } from '../../src/core/random.ts';
import { ApiSource } from '../../src/kube/api-source.ts';
import { PodStatusWriter } from '../../src/kube/pod-status.ts';
import { bareKind, CONTROL_KINDS, MESH_KINDS } from '../../src/kube/resources.ts';
import { CONTROLLER_NAME } from '../../src/mesh/gateway/resources.ts';
import type { Snapshot } from '../../src/mesh/snapshot.ts';
import { ApiServer } from '../kube-api/api-server.ts';

const DEPLOY = join(import.meta.dirname, '../../deploy');
const NAMESPACE = 'orlop-system';

interface Rule {
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

interface Container {
  readonly name: string;
  readonly image: string;
  readonly restartPolicy?: string;
  readonly command?: readonly string[];
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string }[];
  readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
  readonly volumeMounts: readonly { readonly name: string }[];
  readonly securityContext: { readonly capabilities: { readonly drop: readonly string[]; readonly add?: readonly string[] }; readonly readOnlyRootFilesystem: boolean; readonly privileged?: boolean };
}

interface PodSpec {
  readonly serviceAccountName: string;
  readonly initContainers?: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes: readonly { readonly name: string; readonly hostPath?: { readonly path: string } }[];
}

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly rules?: readonly Rule[];
  readonly roleRef?: { readonly kind: string; readonly name: string };
  readonly subjects?: readonly { readonly kind: string; readonly name: string }[];
  readonly spec?: { readonly replicas?: number; readonly selector?: unknown; readonly template?: { readonly metadata: { readonly labels: Readonly<Record<string, string>> }; readonly spec: PodSpec } };
}

/** Every object of a folder, as kustomize would read it. */
function manifests(folder: string): Manifest[] {
  return readdirSync(join(DEPLOY, folder)).filter((name) => name.endsWith('.yaml') && name !== 'kustomization.yaml').flatMap((name) =>
    parseAllDocuments(readFileSync(join(DEPLOY, folder, name), 'utf8')).map((document) => {
      expect(document.errors, name).toEqual([]);
      return document.toJS() as Manifest;
    }));
}

const base = manifests('base');
const find = (kind: string, name: string): Manifest => base.find((one) => one.kind === kind && one.metadata.name === name) as Manifest;

/** What a service account may do, one line for each right: `verb group/resource[/name]`. */
function rightsOf(account: string): string[] {
  const bindings = base.filter(({ subjects }) => subjects?.some(({ kind, name }) => kind === 'ServiceAccount' && name === account));
  const rules = bindings.flatMap(({ roleRef }) => find(roleRef?.kind ?? '', roleRef?.name ?? '').rules ?? []);
  return rules.flatMap(({ apiGroups = [], resources = [], nonResourceURLs = [], resourceNames = [''], verbs }) =>
    [...verbs.flatMap((verb) => nonResourceURLs.map((url) => `${verb} ${url}`)), ...apiGroups.flatMap((group) => resources.flatMap((resource) => resourceNames.flatMap((name) => verbs.map((verb) => `${verb} ${group}/${resource}${name === '' ? '' : `/${name}`}`))))]).sort();
}

/** What requests to an API server need, in the same words. */
function needsOf(requests: readonly string[]): string[] {
  const needs = requests.flatMap((line) => {
    const [method = '', target = ''] = line.split(' ');
    const url = new URL(target, 'http://api');
    const [, group = '', rest] = /^\/(?:api\/v1|apis\/([^/]+)\/[^/]+)\/(.+)$/.exec(url.pathname) ?? [];
    if (url.pathname.includes('openid')) return [`${method.toLowerCase()} ${url.pathname}`];
    // Asking what there is needs no right of one's own.
    if (rest === undefined) return [];
    const parts = rest.split('/');
    const [resource = '', named, part] = parts[0] === 'namespaces' && parts.length > 2 ? parts.slice(2) : parts;
    // Statuses are those of any object.
    if (part !== undefined) return [`${method.toLowerCase()} ${group}/${resource}/${part}`];
    const selected = /^metadata\.name=(.+)$/.exec(url.searchParams.get('fieldSelector') ?? '')?.[1];
    // No role can name what is another's at each node, or in each cluster: nodes, the agents' own namespace, and what users' gateways name.
    const isAnyones = resource === 'nodes' || resource === 'namespaces' || (parts[1] === 'shop' && ['secrets', 'configmaps', 'services', 'endpointslices'].includes(resource));
    const name = isAnyones ? undefined : (named ?? selected);
    const verbs: Readonly<Record<string, string>> = { POST: 'create', PUT: 'update', DELETE: 'delete', GET: url.searchParams.has('watch') ? 'watch' : named === undefined ? 'list' : 'get' };
    return [`${verbs[method] ?? method} ${group}/${resource}${name === undefined ? '' : `/${name}`}`];
  });
  return [...new Set(needs)].sort();
}

describe('the objects', () => {
  it('are all there, and listed by their kustomization', () => {
    expect(base.map(({ kind, metadata }) => `${kind} ${metadata.name}`)).toContain('DaemonSet orlop-agent');
    for (const folder of ['.', 'base', ...readdirSync(join(DEPLOY, 'overlays')).map((name) => join('overlays', name))]) {
      const { resources } = parse(readFileSync(join(DEPLOY, folder, 'kustomization.yaml'), 'utf8')) as { resources: string[] };
      const files = readdirSync(join(DEPLOY, folder)).filter((name) => name.endsWith('.yaml') && name !== 'kustomization.yaml');
      expect(resources.filter((name) => name.endsWith('.yaml')).sort(), folder).toEqual(files.sort());
    }
    expect(manifests('overlays/prometheus-operator').map(({ kind, metadata }) => `${kind} ${metadata.name}`)).toEqual(['PodMonitor orlop-control', 'PodMonitor orlop-agent']);
  });

  it('let the next agent of a node start beside the one that serves: neither claims a port of the node, and each is asked for itself', () => {
    const { updateStrategy, template } = find('DaemonSet', 'orlop-agent').spec as unknown as { updateStrategy: unknown; template: { spec: { containers: Record<string, unknown>[] } } };
    expect(updateStrategy).toEqual({ type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } });
    const [agent] = template.spec.containers;
    expect(agent?.['ports']).toBeUndefined();
    expect(agent).toMatchObject({ startupProbe: { exec: { command: ['/usr/bin/orlop', 'ready'] } } });
    expect(agent?.['env']).toContainEqual({ name: 'ORLOP_INSTANCE', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } });
  });

  it('have agents see no more of the host than they need, and keep their place on a full node', () => {
    const { metadata, spec } = find('DaemonSet', 'orlop-agent').spec?.template ?? {};
    expect(metadata).toMatchObject({ annotations: { 'prometheus.io/scrape': 'true', 'prometheus.io/port': '15020', 'prometheus.io/path': '/metrics' } });
    expect(spec).toMatchObject({ priorityClassName: 'system-node-critical', hostNetwork: true, hostPID: true, securityContext: { seccompProfile: { type: 'RuntimeDefault' } } });
    expect(spec).not.toHaveProperty('hostIPC');
    // No limit of CPU: it would be one for the traffic of all pods of the node.
    expect(spec?.containers).toMatchObject([{ resources: { requests: { cpu: '100m', memory: '256Mi' }, limits: { memory: '2Gi' } } }]);
    expect(spec?.containers[0]).not.toHaveProperty('resources.limits.cpu');
    expect(spec?.volumes.flatMap(({ hostPath }) => hostPath?.path ?? []).sort()).toEqual(['/etc/cni/net.d', '/opt/cni/bin', '/run/orlop', '/run/orlop/keepers', '/run/xtables.lock', '/sys/fs/bpf', '/sys/fs/cgroup', '/var/run/netns']);
  });

  it('have two control planes, each an ordinary user who cannot become another and sees nothing of the host', () => {
    const { replicas, template } = find('Deployment', 'orlop-control').spec ?? {};
    expect(replicas).toBe(2);
    expect(template?.metadata).toMatchObject({ annotations: { 'prometheus.io/scrape': 'true', 'prometheus.io/port': '15014', 'prometheus.io/path': '/metrics' } });
    expect(template?.spec).toMatchObject({
      priorityClassName: 'system-cluster-critical', securityContext: { runAsNonRoot: true, runAsUser: 65_532, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [{ securityContext: { allowPrivilegeEscalation: false }, resources: { requests: { cpu: '50m', memory: '192Mi' }, limits: { memory: '1Gi' } } }],
    });
    for (const field of ['hostNetwork', 'hostPID', 'hostIPC']) expect(template?.spec).not.toHaveProperty(field);
    expect(template?.spec.volumes.filter(({ hostPath }) => hostPath !== undefined)).toEqual([]);
  });

  it('name only what exists: roles, service accounts, volumes', () => {
    for (const { roleRef, subjects = [], spec } of base) {
      if (roleRef !== undefined) expect(find(roleRef.kind, roleRef.name), roleRef.name).toBeDefined();
      for (const { name } of subjects) expect(find('ServiceAccount', name), name).toBeDefined();
      const pod = spec?.template?.spec;
      if (pod === undefined) continue;
      expect(find('ServiceAccount', pod.serviceAccountName)).toBeDefined();
      const mounted = containersOf(pod).flatMap(({ volumeMounts }) => volumeMounts.map(({ name }) => name));
      expect(mounted.sort()).toEqual(pod.volumes.map(({ name }) => name).sort());
    }
  });

  it.each([['agent', find('DaemonSet', 'orlop-agent'), agentCommand()], ['control', find('Deployment', 'orlop-control'), controlCommand().commands.find((command) => command.name() === 'run')]] as const)('run %s with options that it has', (name, { spec }, command) => {
    const [container] = spec?.template?.spec.containers ?? [];
    const known = new Set(command?.options.map(({ long }) => long));
    const words = container?.args.filter((arg) => arg.startsWith('--')) ?? [];
    expect(container?.args[0]).toBe(name);
    expect(words.map((word) => word.split('=')[0]).filter((word) => !known.has(word))).toEqual([]);
    const variables = new Set(container?.env.map((one) => one.name));
    for (const [, variable] of words.flatMap((word) => [...word.matchAll(/\$\((\w+)\)/g)])) expect(variables).toContain(variable);
  });

  it('have a keeper beside each agent, for as long as that lives, at the socket that it looks for', () => {
    const { initContainers: [keeper] = [], containers: [agent] } = find('DaemonSet', 'orlop-agent').spec?.template?.spec ?? { containers: [] };
    expect(keeper).toMatchObject({ name: 'keeper', restartPolicy: 'Always', volumeMounts: [{ name: 'keepers', mountPath: '/run/orlop/keepers' }], resources: { limits: { memory: '32Mi' } }, securityContext: { allowPrivilegeEscalation: false } });
    expect(keeper?.image).toBe(agent?.image);
    const [program, path] = keeper?.command ?? [];
    expect(program).toBe('/usr/bin/orlop-keeper');
    expect(path).toMatch(/^\/run\/orlop\/keepers\/\$\(ORLOP_INSTANCE\)\.sock$/);
    expect(agent?.args).toContain(`--keeper=${path}`);
    for (const container of [keeper, agent]) expect(container?.env).toContainEqual({ name: 'ORLOP_INSTANCE', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } });
  });

  it('drop every right that is not named, and write nowhere but where it is mounted', () => {
    const containers = base.flatMap(({ spec }) => (spec?.template === undefined ? [] : containersOf(spec.template.spec)));
    expect(containers.map(({ securityContext: { capabilities, readOnlyRootFilesystem, privileged = false } }) => ({ capabilities, readOnlyRootFilesystem, privileged }))).toEqual([
      { capabilities: { drop: ['ALL'] }, readOnlyRootFilesystem: true, privileged: false },
      { capabilities: { drop: ['ALL'], add: ['SYS_ADMIN', 'NET_ADMIN', 'NET_RAW', 'NET_BIND_SERVICE', 'SYS_PTRACE', 'BPF', 'PERFMON'] }, readOnlyRootFilesystem: true, privileged: false },
      { capabilities: { drop: ['ALL'] }, readOnlyRootFilesystem: true, privileged: false },
    ]);
  });
});

function containersOf({ initContainers = [], containers }: PodSpec): readonly Container[] {
  return [...initContainers, ...containers];
}

describe('the rights', () => {
  const log = createLogger('test', 'silent');
  let server: ApiServer;

  beforeEach(async () => {
    server = new ApiServer();
    await server.start();
    for (const [kind, [apiVersion = '']] of CONTROL_KINDS) server.install(apiVersion, bareKind(kind));
  });

  afterEach(async () => {
    await server.stop();
  });

  /** Of the agent of a node, or of the control plane. */
  async function readEverything(node: string | undefined): Promise<void> {
    const source = await ApiSource.open({ client: server.client(), node, savedPath: undefined, clock: systemClock, random: systemRandom, log });
    await expect.poll(() => server.requests.filter((line) => line.includes('watch=true')).length, { timeout: 20_000 }).toBe(node === undefined ? 6 + CONTROL_KINDS.size : 7 + MESH_KINDS.size);
    source.close();
  }

  it('of the agent are what following a cluster takes, telling pods of its node how they are, and seeing that it is uninstalled', async () => {
    await readEverything('n');
    expect(await new OwnDaemonSet(server.client(), { namespace: NAMESPACE, name: 'orlop-agent', node: 'node-1' }, log).isLeaving()).toBe(false);
    server.put({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web', namespace: 'shop', uid: 'u' }, spec: { nodeName: 'n' } });
    const statuses = new PodStatusWriter({ client: server.client(), node: 'n', clock: systemClock, random: systemRandom, log });
    statuses.set(new Map([['shop/web', { uid: 'u', annotation: 'x', eventAfter: () => ({ type: 'Normal', reason: 'Enrolled', message: 'x' }) }]]));
    await statuses.close(10_000);
    expect(server.all('Event')).toHaveLength(1);
    expect(rightsOf('orlop-agent')).toEqual(needsOf(server.requests));
  });

  /** As small as they are taken. */
  const gatewayParent = { parentRefs: [{ name: 'one' }] };
  const backendRule = { rules: [{ backendRefs: [{ name: 'one', port: 443 }] }] };
  const specs: Readonly<Record<string, object>> = {
    GatewayClass: { controllerName: CONTROLLER_NAME }, Gateway: { gatewayClassName: 'one', listeners: [{ name: 'http', port: 80, protocol: 'HTTP' }] }, ListenerSet: { parentRef: { name: 'one' }, listeners: [{ name: 'http', port: 80, protocol: 'HTTP' }] },
    HTTPRoute: { ...gatewayParent, ...backendRule }, GRPCRoute: gatewayParent, TLSRoute: { ...gatewayParent, hostnames: ['a.example'], ...backendRule }, TCPRoute: { ...gatewayParent, ...backendRule },
    BackendTLSPolicy: { targetRefs: [{ group: '', kind: 'Service', name: 'one' }], validation: { hostname: 'a.example', wellKnownCACertificates: 'System' } },
  };

  /** An object of every kind that has one gets a status, and the webhook its roots. */
  async function speakOfEverything(): Promise<void> {
    const leader = { leads: true };
    for (const [kind, [apiVersion = '']] of CONTROL_KINDS) {
      const metadata = kind === 'GatewayClass' ? { name: 'one' } : { name: 'one', namespace: 'shop' };
      // What was said earlier of an ancestor that is none any more is taken back.
      const status = kind === 'BackendTLSPolicy' ? { status: { ancestors: [{ ancestorRef: { name: 'gone' }, controllerName: CONTROLLER_NAME, conditions: [] }] } } : {};
      server.put({ apiVersion, kind: bareKind(kind), metadata, spec: specs[kind] ?? {}, ...status });
    }
    server.put({ apiVersion: 'admissionregistration.k8s.io/v1', kind: 'ValidatingWebhookConfiguration', metadata: { name: 'orlop-control' }, webhooks: [{ name: 'one' }] });
    const source = await ApiSource.open({ client: server.client(), node: undefined, savedPath: undefined, clock: systemClock, random: systemRandom, log });
    const snapshot = source.snapshot.get() as Snapshot;
    const facts = { addresses: () => [], obstacle: () => undefined, fault: () => undefined, annotations: () => ({}) };
    const wishes = [...istioStatuses(snapshot, source.stored()), ...gatewayStatusWishes(snapshot, source.stored(), facts)];
    const writer = new StatusWriter({ client: server.client(), leader, wishes: () => wishes, find: (name) => source.find(name), clock: systemClock, random: systemRandom, log });
    writer.start();
    await expect.poll(() => writer.counts.written, { timeout: 20_000 }).toBe(wishes.length);
    writer.close();
    source.close();
    const bundle = caBundle({ client: server.client(), name: 'orlop-control', leader, roots: () => 'roots', clock: systemClock, log });
    await bundle.start();
    bundle.close();
  }

  /** A Gateway comes, changes its port and its nodes, and goes. */
  async function reachGateways(client: ApiClient): Promise<void> {
    const objects = (port: number): object[] => [
      { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'GatewayClass', metadata: { name: 'orlop' }, spec: { controllerName: 'orlop.io/gateway-controller' } },
      { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'Gateway', metadata: { name: 'edge', namespace: 'shop' }, spec: { gatewayClassName: 'orlop', listeners: [{ name: 'http', protocol: 'HTTP', port }] } },
    ];
    let given: object[] = [];
    const of = (): Snapshot => buildSnapshot([...given, ...server.all('Service').filter(({ metadata }) => metadata.namespace === 'shop')].map((object, i) => ({ name: `${i}`, text: JSON.stringify(object) })));
    let agents: AgentPod[] = [];
    const services = new GatewayServices({ client, snapshot: of, agents: () => agents, log });
    for (const [next, nodes] of [[objects(80), ['192.0.2.1']], [objects(81), ['192.0.2.2']], [objects(81), []], [[], []]] as const) {
      given = [...next];
      agents = nodes.map((address) => ({ node: address, addresses: [address], ready: true }));
      await services.step();
    }
  }

  it('of the control plane are that, what its keys, its lease and its roots take, and what it says of objects', async () => {
    await readEverything(undefined);
    await speakOfEverything();
    const client = server.client();
    const clock = new FakeClock();
    const state = await openOwnCa(new MemoryCaStore(), { trustDomain: 'cluster.local', lifetimes: { leafMs: 60_000, intermediateMs: 600_000, rootMs: 6_000_000 }, nowMs: clock.wallMs() });
    const store = new SecretStore(client, { namespace: NAMESPACE, name: 'orlop-ca' }, { leads: true });
    await store.load();
    await store.save(state);
    await store.save(state);
    const leadership = new Leadership({ client, namespace: NAMESPACE, name: 'orlop-control', identity: 'one', clock, random: seededRandom(1), log });
    await leadership.start();
    await leadership.close();
    let roots = 'one';
    const published = publishedRoots({ client, namespace: NAMESPACE, name: 'orlop-ca-roots', leader: { leads: true }, roots: () => roots, clock, log });
    await published.start();
    roots = 'two';
    await published.start();
    published.close();
    await reachGateways(client);
    await readFromCluster(client, log)({ kind: 'Secret', namespace: 'shop', name: 'certificate' });
    await readFromCluster(client, log)({ kind: 'ConfigMap', namespace: 'shop', name: 'authorities' });
    server.intercept = (request) => (request.url?.endsWith('/tokenreviews') === true ? { status: 201, body: { status: { authenticated: false } } } : request.url?.includes('openid') === true ? { status: 200, body: { issuer: 'https://cluster', keys: [] } } : undefined);
    const keys = new ServiceAccountKeys(client, clock, log);
    await keys.start();
    keys.close();
    const review = new TokenReview({ client, agents: new Set(), audience: 'istio-ca', keys, identities: new NodeIdentities(), clock, log });
    await review.authenticate('token');
    expect(rightsOf('orlop-control')).toEqual(needsOf(server.requests));
  });

  it('let nobody list Secrets, and nobody but the control plane read one by its name', () => {
    const secrets = ['orlop-agent', 'orlop-control'].flatMap((account) => rightsOf(account).filter((right) => right.includes('secrets') || right.includes('*')).map((right) => `${account}: ${right}`));
    expect(secrets).toEqual(['orlop-control: create /secrets', 'orlop-control: get /secrets', 'orlop-control: get /secrets/orlop-ca', 'orlop-control: update /secrets/orlop-ca']);
    // The Role, and so these rights, are of one namespace.
    expect(find('Role', 'orlop-control').rules?.some(({ resources }) => resources?.includes('secrets'))).toBe(true);
  });
});
