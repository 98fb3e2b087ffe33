/** An uninstallation that begins where an earlier one was interrupted, and what is said before it begins. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ClusterObjects } from '../../src/install/cluster-objects.ts';
import type { Manifest } from '../../src/install/manifest.ts';
import type { NodeFinding } from '../../src/install/node-sweep.ts';
import type { Finding } from '../../src/install/preflight.ts';
import { uninstall } from '../../src/install/uninstall.ts';
import { ApiServer } from '../kube-api/api-server.ts';
import type { Stored, Unstored } from '../kube-api/api-server.ts';

const SYSTEM = 'orlop-system';
const KINDS: Readonly<Record<string, object>> = {
  '/api/v1': { resources: [['configmaps', 'ConfigMap'], ['pods', 'Pod'], ['services', 'Service'], ['namespaces', 'Namespace']].map(([name, kind]) => ({ name, kind, namespaced: kind !== 'Namespace' })) },
  '/apis/apps/v1': { resources: [{ name: 'daemonsets', kind: 'DaemonSet', namespaced: true }] },
};
const labels = { 'app.kubernetes.io/part-of': 'orlop' };
const AGENT_LABELS = { app: 'agent' };
const MANIFESTS: readonly Manifest[] = [
  { apiVersion: 'v1', kind: 'Namespace', metadata: { name: SYSTEM, labels } },
  {
    apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { name: 'orlop-agent', namespace: SYSTEM, labels },
    spec: {
      selector: { matchLabels: AGENT_LABELS },
      template: {
        spec: {
          containers: [{ name: 'agent', image: 'orlop', args: ['agent', '--node=$(NODE_NAME)', '--run-dir=/run/orlop', '--cni-conf-dir=/etc/cni/net.d'], volumeMounts: [{ name: 'run', mountPath: '/run/orlop' }, { name: 'token', mountPath: '/token' }] }],
          volumes: [{ name: 'run', hostPath: { path: '/data/orlop', type: 'DirectoryOrCreate' } }, { name: 'token', projected: {} }],
        },
      },
    },
  },
];

let server: ApiServer;
let objects: ClusterObjects;
/** As they were made. */
let sweepers: Stored[];
let nodes: NodeFinding[];
let findings: Finding[];
let progress: string[];
/** Requests for which whoever asks is no longer there. */
let killedAt: RegExp | undefined;

beforeEach(async () => {
  sweepers = [];
  nodes = [];
  findings = [];
  progress = [];
  killedAt = undefined;
  server = new ApiServer();
  server.intercept = (request, body) => {
    const { pathname } = new URL(request.url ?? '', 'http://api');
    if (killedAt?.test(`${request.method ?? ''} ${pathname}`) === true) return { status: 500, body: { message: 'killed' } };
    if (pathname.endsWith('/log')) return { status: 200, body: 'nothing is left' };
    if (request.headers['content-type'] === 'application/apply-patch+yaml') return { status: 200, body: applied(JSON.parse(body) as Unstored) };
    if (request.method === 'DELETE' && pathname.includes('/daemonsets/')) for (const { metadata } of server.all('Pod')) if ((metadata['labels'] as { app?: string }).app === 'agent') server.delete('Pod', metadata.name, SYSTEM);
    return KINDS[pathname] && { status: 200, body: KINDS[pathname] };
  };
  await server.start();
  objects = new ClusterObjects(server.client());
  for (const object of MANIFESTS) server.put({ ...object, metadata: { ...object.metadata } });
  for (const nodeName of ['n2', 'n1']) server.put({ apiVersion: 'v1', kind: 'Pod', metadata: { name: `agent-${nodeName}`, namespace: SYSTEM, labels: { ...labels, ...AGENT_LABELS } }, spec: { nodeName } });
});

afterEach(async () => {
  objects.client.close();
  await server.stop();
});

/** Pods end at once. */
function applied(object: Unstored): Unstored {
  server.put(object.kind === 'Pod' ? { ...object, status: { phase: 'Succeeded' } } : object);
  if (object.kind === 'Pod') sweepers.push(object as Stored);
  return object;
}

async function run(dryRun = false): Promise<void> {
  await uninstall(objects, {
    namespace: SYSTEM, manifests: MANIFESTS, definitions: [], dryRun, purge: false, timeoutMs: 2_000,
    onOutcome: () => undefined, onProgress: (text) => progress.push(text), onNode: (finding) => nodes.push(finding), onFinding: (finding) => findings.push(finding),
  });
}

/** When it had come so far. */
async function interrupted(at: RegExp): Promise<void> {
  killedAt = at;
  await expect(run()).rejects.toThrow('killed');
  killedAt = undefined;
  sweepers = [];
  nodes = [];
}

const left = (): string[] => ['Namespace', 'DaemonSet', 'ConfigMap', 'Pod'].flatMap((kind) => server.all(kind).map(({ metadata: { name } }) => `${kind} ${name}`));

it.each([
  ['before the agents go', /^DELETE .*daemonsets/],
  ['when they have gone', /^GET \/api\/v1\/pods$/],
  ['when the first node was to be looked at', /^PATCH .*\/pods\//],
  ['when nodes were looked at', /\/log$/],
  ['when pods that looked were to go', /^DELETE .*\/pods\/orlop-leftovers/],
])('interrupted %s, the next one looks at all nodes and leaves nothing', async (_, at) => {
  await interrupted(at);
  await run();
  expect(nodes).toEqual(['n1', 'n2'].map((node) => ({ node, isClean: true, text: '"nothing is left"' })));
  expect(left()).toEqual([]);
});

it('interrupted later, the next one looks at no node again', async () => {
  await interrupted(/^DELETE .*\/namespaces\/orlop-system$/);
  await run();
  expect(nodes).toEqual([]);
  expect(left()).toEqual([]);
});

it('looks at the run directory from above, so that it can go too', async () => {
  await run();
  const [{ spec } = { spec: {} }] = sweepers;
  const { containers: [container], volumes } = spec as { containers: [{ args: string[]; volumeMounts: object[] }]; volumes: object[] };
  expect(container.args).toEqual(['leftovers', '--remove', '--node=$(NODE_NAME)', '--cni-conf-dir=/etc/cni/net.d', '--run-dir=/host/data/orlop']);
  expect(container.volumeMounts).toEqual([{ name: 'run', mountPath: '/host/data' }]);
  expect(volumes).toEqual([{ name: 'run', hostPath: { path: '/data', type: 'Directory' } }]);
});

const SECURITY = { apiVersion: 'security.istio.io/v1', kind: 'PeerAuthentication' };

it.each([
  ['STRICT', { mtls: { mode: 'STRICT' } }, true],
  ['STRICT for a port', { mtls: { mode: 'PERMISSIVE' }, portLevelMtls: { 8080: { mode: 'STRICT' } } }, true],
  ['PERMISSIVE', { mtls: { mode: 'PERMISSIVE' } }, false],
  ['nothing', {}, false],
])('where %s is asked for, it says before it begins whether requests are refused meanwhile', async (_, spec, isRefused) => {
  server.put({ ...SECURITY, metadata: { name: 'default', namespace: 'shop' }, spec });
  await run(true);
  expect(findings).toEqual(isRefused ? [{ level: 'warning', text: expect.stringContaining('PeerAuthentication shop/default') as string, remedy: expect.stringContaining('PERMISSIVE') as string }] : []);
  expect(left()).toHaveLength(4);
});

it('when no agent is there any more, it says nothing of STRICT', async () => {
  server.put({ ...SECURITY, metadata: { name: 'default', namespace: 'shop' }, spec: { mtls: { mode: 'STRICT' } } });
  await run();
  findings = [];
  await run();
  expect(findings).toEqual([]);
});
