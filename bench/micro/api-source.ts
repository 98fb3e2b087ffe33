/**
 * What following a large cluster costs an agent, or the control plane: memory, time until it knows everything, requests and bytes, then a worker that serves a pod of the node,
 * and changes at a steady rate.
 * The API server is that of the tests, in a process of its own; its objects are as large as real ones.
 *   node bench/micro/api-source.ts [control] [SERVICES ENDPOINTS NODES CHANGES_PER_SECOND]
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Workers } from '../../src/agent/workers.ts';
import { systemClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';
import { systemRandom } from '../../src/core/random.ts';
import { ApiClient } from '../../src/kube/api-client.ts';
import { ApiSource } from '../../src/kube/api-source.ts';
import { saveObjects } from '../../src/kube/saved-objects.ts';
import type { Snapshot } from '../../src/mesh/snapshot.ts';
import { ApiServer } from '../../test/kube-api/api-server.ts';

const [services = 10_000, endpoints = 100_000, nodes = 500, changesPerSecond = 100] = process.argv.slice(2).filter((word) => /^\d+$/.test(word)).map(Number);
const node = process.argv.includes('control') ? undefined : 'node-0';
const CHANGE_SECONDS = 20;
const MIB = 1_048_576;

/** Parts that pods have and nobody here reads, about as long as in a cluster that runs ordinary applications. */
const MANAGED_FIELDS = Array.from({ length: 3 }, (_, i) => ({ manager: `manager-${i}`, operation: 'Update', apiVersion: 'v1', time: '2026-01-01T00:00:00Z', fieldsType: 'FieldsV1', fieldsV1: { 'f:metadata': Object.fromEntries(Array.from({ length: 12 }, (__, j) => [`f:field-${j}`, {}])) } }));
const ENVIRONMENT = Array.from({ length: 15 }, (_, i) => ({ name: `SETTING_NUMBER_${i}`, value: 'a value of usual length' }));
const VOLUMES = Array.from({ length: 3 }, (_, i) => ({ name: `volume-${i}`, configMap: { name: `settings-${i}`, defaultMode: 420 } }));
const CONDITIONS = ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map((type) => ({ type, status: 'True', lastProbeTime: null, lastTransitionTime: '2026-01-01T00:00:00Z' }));
const PROBE = { httpGet: { path: '/ready', port: 'http', scheme: 'HTTP' }, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 };

function podOf(i: number, ready = true): Parameters<ApiServer['put']>[0] {
  const service = i % services;
  return {
    apiVersion: 'v1', kind: 'Pod',
    metadata: {
      name: `service-${service}-6d4cf56db6-${i.toString(36)}`, namespace: `team-${service % 200}`, uid: `00000000-0000-4000-8000-${i.toString().padStart(12, '0')}`, creationTimestamp: '2026-01-01T00:00:00Z',
      labels: { app: `service-${service}`, version: 'v1', 'pod-template-hash': '6d4cf56db6', 'app.kubernetes.io/managed-by': 'Helm' }, annotations: { 'checksum/config': 'f'.repeat(64) },
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: `service-${service}-6d4cf56db6`, uid: 'x', controller: true }], managedFields: MANAGED_FIELDS,
    },
    spec: { nodeName: `node-${i % nodes}`, serviceAccountName: `service-${service}`, containers: [{ name: 'app', image: `registry.example/service-${service}:1.0`, env: ENVIRONMENT, ports: [{ name: 'http', containerPort: 8080 }], readinessProbe: PROBE, livenessProbe: PROBE }], volumes: VOLUMES },
    status: { phase: 'Running', podIP: ipOf(10, i), podIPs: [{ ip: ipOf(10, i) }], conditions: ready ? CONDITIONS : CONDITIONS.map((one) => ({ ...one, status: 'False' })) },
  };
}

function serviceOf(i: number): Parameters<ApiServer['put']>[0] {
  return { apiVersion: 'v1', kind: 'Service', metadata: { name: `service-${i}`, namespace: `team-${i % 200}`, managedFields: MANAGED_FIELDS }, spec: { clusterIP: ipOf(172, i), clusterIPs: [ipOf(172, i)], selector: { app: `service-${i}` }, type: 'ClusterIP', ports: [{ name: 'http', port: 80, targetPort: 'http', protocol: 'TCP' }] } };
}

function sliceOf(i: number): Parameters<ApiServer['put']>[0] {
  const members = Array.from({ length: Math.ceil((endpoints - i) / services) }, (_, n) => i + n * services);
  return {
    apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata: { name: `service-${i}-abcde`, namespace: `team-${i % 200}`, labels: { 'kubernetes.io/service-name': `service-${i}` }, managedFields: MANAGED_FIELDS }, addressType: 'IPv4', ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
    endpoints: members.map((member) => ({ addresses: [ipOf(10, member)], conditions: { ready: true, serving: true, terminating: false }, nodeName: `node-${member % nodes}`, targetRef: { kind: 'Pod', namespace: `team-${i % 200}`, name: `service-${i}-6d4cf56db6-${member.toString(36)}`, uid: 'x' } })),
  };
}

function ipOf(first: number, i: number): string {
  return `${first}.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`;
}

async function serve(): Promise<void> {
  const server = new ApiServer();
  await server.start();
  for (let i = 0; i < 200; i += 1) server.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: `team-${i}`, labels: { 'orlop.io/mesh': 'enabled' } } });
  for (let i = 0; i < services; i += 1) server.put(serviceOf(i));
  for (let i = 0; i < services; i += 1) server.put(sliceOf(i));
  for (let i = 0; i < endpoints; i += 1) server.put(podOf(i));
  process.on('message', () => {
    const lists = server.requests.length;
    let changed = 0;
    const timer = setInterval(() => {
      for (let n = 0; n < changesPerSecond / 10; n += 1) server.put(podOf((changed += 1) * 37 % endpoints, changed % 2 === 0));
    }, 100);
    setTimeout(() => {
      clearInterval(timer);
      process.send?.({ requests: lists, changed });
    }, CHANGE_SECONDS * 1000);
  });
  process.send?.(server.credentials().server.href);
}

async function follow(): Promise<void> {
  const child = fork(import.meta.filename, ['serve', ...process.argv.slice(2)], { execArgv: [...process.execArgv, '--max-old-space-size=8192'] });
  const [href] = await once(child, 'message') as [string];
  const directory = mkdtempSync(join(tmpdir(), 'orlop-bench-'));
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  const sinceMs = performance.now();
  const cpu = process.cpuUsage();
  const source = await ApiSource.open({ client: new ApiClient({ server: new URL(href), present: async () => ({ headers: {}, tls: {} }) }), node, savedPath: undefined, clock: systemClock, random: systemRandom, log: createLogger('bench', 'warn') });
  print('known whole after', `${((performance.now() - sinceMs) / 1000).toFixed(1)} s, ${cpuSeconds(cpu)} s of CPU`);
  const highest = process.resourceUsage().maxRSS / 1024;
  await settle();
  const { heapUsed, rss } = process.memoryUsage();
  print('memory', `${((rss - before) / MIB).toFixed(0)} MiB more than before (heap in use ${(heapUsed / MIB).toFixed(0)} MiB; highest while listing ${highest.toFixed(0)} MiB)`);
  const path = join(directory, 'objects.gz');
  const saveMs = performance.now();
  await saveObjects(path, source.snapshot.get()?.objects ?? {}, Date.now());
  print('copy on disk', `${(statSync(path).size / MIB).toFixed(1)} MiB in ${((performance.now() - saveMs) / 1000).toFixed(1)} s`);
  let snapshots = 0;
  const worker = node === undefined ? undefined : await serveBy(source.snapshot.get());
  source.snapshot.follow((snapshot) => {
    snapshots += 1;
    if (snapshot !== undefined) worker?.apply(snapshot);
  });
  const changing = process.cpuUsage();
  child.send('change');
  const [{ requests, changed }] = await once(child, 'message') as [{ requests: number; changed: number }];
  print('changes', `${changed} of pods in ${CHANGE_SECONDS} s: ${snapshots} snapshots, ${((Number(cpuSeconds(changing)) / CHANGE_SECONDS) * 100).toFixed(0)} % of a core`);
  print('requests', `${requests} to begin with; then one open connection for each kind`);
  if (worker !== undefined) {
    await settle();
    const { applies } = worker;
    applies.sort((a, b) => a - b);
    print('its changes', `${applies.length} taken in, ${(applies[applies.length >> 1] ?? 0).toFixed(0)} ms in the middle, ${(applies.at(-1) ?? 0).toFixed(0)} ms at most; ${worker.restarts()} workers died`);
    await worker.close();
  }
  source.close();
  child.kill();
  rmSync(directory, { recursive: true });
}

interface Serving {
  apply(snapshot: Snapshot): void;
  /** ms from each change's being sent to its being in force. */
  readonly applies: number[];
  restarts(): number;
  close(): Promise<void>;
}

/** One worker with one pod of the node, whose table it compiles again and again. */
async function serveBy(snapshot: Snapshot | undefined): Promise<Serving> {
  const [workload] = snapshot?.workloads.filter((one) => one.node === node) ?? [];
  if (snapshot === undefined || workload === undefined) throw new Error('no pod of this node is known');
  const before = process.memoryUsage().rss;
  const sent = new Map<number, number>();
  const applies: number[] = [];
  let restarted = 0;
  const first = Promise.withResolvers<void>();
  const workers = new Workers({
    count: 1,
    settings: { logLevel: 'warn', accessLog: 'off' },
    log: createLogger('bench', 'warn'),
    onEnrolled: (_, failure) => (failure === undefined ? first.resolve() : first.reject(new Error(failure))),
    onApplied: (version) => {
      const atMs = sent.get(version);
      if (atMs !== undefined) applies.push(performance.now() - atMs);
    },
    onJwksWanted: () => undefined,
    onJwksRefresh: () => undefined,
    onRestart: () => (restarted += 1),
  });
  const sinceMs = performance.now();
  workers.apply({ ...snapshot, objects: {}, problems: [] });
  workers.enrol({ id: workload.id, identity: 'spiffe://cluster.local/ns/bench/sa/bench', baggage: '', netnsPath: '/proc/self/ns/net', addresses: workload.addresses }, { outbound: [], inbound: [], hbone: [], originalDsts: [{ kind: 'conntrack' }] });
  await first.promise;
  const tookMs = performance.now() - sinceMs;
  await settle();
  print('a worker', `knows it after ${(tookMs / 1000).toFixed(1)} s, and takes ${((process.memoryUsage().rss - before) / MIB).toFixed(0)} MiB more`);
  return {
    apply: (next) => {
      sent.set(next.version, performance.now());
      workers.apply({ ...next, objects: {}, problems: [] });
    },
    applies,
    restarts: () => restarted,
    close: async () => workers.close(),
  };
}

async function settle(): Promise<void> {
  for (let i = 0; i < 3; i += 1) {
    await sleep(200);
    globalThis.gc?.();
  }
}

function cpuSeconds(since: NodeJS.CpuUsage): string {
  const { user, system } = process.cpuUsage(since);
  return ((user + system) / 1e6).toFixed(1);
}

function print(what: string, figures: string): void {
  process.stdout.write(`${what.padEnd(18)}${figures}\n`);
}

await (process.argv[2] === 'serve' ? serve() : follow());
