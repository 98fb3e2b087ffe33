/**
 * `orlop uninstall`: the way back, in the order in which nobody is left without what he needs. What stands in the API server's way goes first, then
 * the agents, which let their pods go; nodes are looked at; then the rest. Definitions go only when they are ours and nobody uses them.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { record } from '../mesh/parse/json.ts';
import { isOurDefinition } from './apply.ts';
import type { Action, Outcome } from './apply.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import { inOrder, isPart, MADE_LATER, PART_OF } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import { sweepNodes } from './node-sweep.ts';
import type { NodeFinding } from './node-sweep.ts';
import { removePodMarks } from './pod-marks.ts';

export interface UninstallOptions {
  readonly namespace: string;
  /** What was installed. */
  readonly manifests: readonly Manifest[];
  readonly definitions: readonly Manifest[];
  readonly dryRun: boolean;
  /** Also what others have made: objects of our definitions, what else is in the namespace. */
  readonly purge: boolean;
  /** Undefined: do not wait, and look at no node. */
  readonly timeoutMs: number | undefined;
  readonly onOutcome: (outcome: Outcome) => void;
  readonly onProgress: (text: string) => void;
  readonly onNode: (finding: NodeFinding) => void;
}

const POLL_MS = 500;

/** Rejects with a sentence when something cannot be removed; what has been is told by then. */
export async function uninstall(objects: ClusterObjects, options: UninstallOptions): Promise<void> {
  const { webhook = [], agents = [], control = [], rest = [] } = Object.groupBy(inOrder(options.manifests).reverse(), partOf);
  for (const object of webhook) await remove(objects, object, options);
  for (const object of agents) await removeAgents(objects, object, options);
  // The control plane would make anew what it has made.
  for (const object of control) await removeWorkload(objects, object, options, 'replica', 'still ending');
  for (const object of [...await madeLater(objects), ...rest]) await remove(objects, object, options);
  for (const definition of options.definitions) await removeDefinition(objects, definition, options);
  await removeNamespace(objects, options);
}

type Part = 'webhook' | 'agents' | 'control' | 'namespace' | 'rest';

function partOf({ kind }: Manifest): Part {
  if (kind.endsWith('WebhookConfiguration')) return 'webhook';
  const parts: Readonly<Record<string, Part>> = { DaemonSet: 'agents', Deployment: 'control', Namespace: 'namespace' };
  return parts[kind] ?? 'rest';
}

async function madeLater(objects: ClusterObjects): Promise<Manifest[]> {
  const lists = await Promise.all(MADE_LATER.map(async ({ apiVersion, kind, label }) => objects.list(apiVersion, kind, { labelSelector: `${label}=${PART_OF.value}` })));
  return lists.flat();
}

/** An object of this name that is not marked as ours is somebody else's. */
async function remove(objects: ClusterObjects, object: Manifest, { dryRun, onOutcome }: UninstallOptions): Promise<boolean> {
  const found = await objects.get(object);
  if (found === undefined) return false;
  const action: Action = isPart(found) ? 'removed' : 'left';
  if (action === 'removed' && !dryRun) await objects.remove(found);
  onOutcome({ object, action, changes: [], note: action === 'left' ? `has no label ${PART_OF.label}=${PART_OF.value}` : '' });
  return action === 'removed';
}

/** Agents drain, and let their pods go; then every node that had one is looked at. */
async function removeAgents(objects: ClusterObjects, object: Manifest, options: UninstallOptions): Promise<void> {
  const { timeoutMs, onProgress, onNode } = options;
  const agents = await objects.get(object);
  const pods = agents === undefined ? [] : await podsOf(objects, agents);
  const nodes = [...new Set(pods.map(({ spec }) => record(spec)['nodeName']).filter((name) => typeof name === 'string'))].sort();
  const isGoing = await removeWorkload(objects, object, options, 'agent', 'letting pods go');
  if (!isGoing || agents === undefined || timeoutMs === undefined) return;
  const marked = await removePodMarks(objects.client);
  if (marked > 0) onProgress(`${marked} pod${marked === 1 ? '' : 's'} still said to be in the mesh; corrected`);
  if (nodes.length === 0) return;
  onProgress(`looking at ${nodes.length} node${nodes.length === 1 ? '' : 's'}`);
  for (const finding of await sweepNodes(objects, agents, nodes, timeoutMs)) onNode(finding);
}

/** With its pods, if there is time to wait for them. False when it was not there, or stays. */
async function removeWorkload(objects: ClusterObjects, object: Manifest, options: UninstallOptions, called: string, doing: string): Promise<boolean> {
  const { dryRun, timeoutMs, onProgress } = options;
  const workload = await objects.get(object);
  if (!(await remove(objects, object, options)) || workload === undefined || dryRun) return false;
  if (timeoutMs === undefined) return true;
  const left = await untilNone(async () => (await podsOf(objects, workload)).length, timeoutMs, (count) => {
    onProgress(`${count} ${called}${count === 1 ? '' : 's'} ${doing}`);
  });
  if (left > 0) onProgress(`${left} have not ended within ${timeoutMs / 1000} s: they finish connections, or their nodes are away`);
  return true;
}

async function podsOf(objects: ClusterObjects, { metadata: { namespace = '' }, spec }: Manifest): Promise<Manifest[]> {
  const labels = record(record(record(spec)['selector'])['matchLabels']);
  return objects.list('v1', 'Pod', { namespace, labelSelector: Object.entries(labels).map(([key, value]) => `${key}=${String(value)}`).join(',') });
}

/** How many are left at the end. */
async function untilNone(count: () => Promise<number>, timeoutMs: number, tell: (count: number) => void): Promise<number> {
  const deadline = performance.now() + timeoutMs;
  let told = 0;
  for (;;) {
    const left = await count();
    if (left === 0 || performance.now() > deadline) return left;
    if (left !== told) tell(left);
    told = left;
    await sleep(POLL_MS);
  }
}

async function removeDefinition(objects: ClusterObjects, definition: Manifest, { dryRun, purge, onOutcome }: UninstallOptions): Promise<void> {
  const found = await objects.get(definition);
  if (found === undefined) return;
  const { group, names, versions } = found['spec'] as { group: string; names: { kind: string; plural: string }; versions: readonly { name: string }[] };
  const used = isOurDefinition(found) ? await objects.list(`${group}/${versions[0]?.name ?? ''}`, names.kind) : [];
  const note = !isOurDefinition(found) ? 'not installed by orlop install, or changed by others since' : used.length > 0 && !purge ? `there are ${used.length} ${names.plural}; with --purge they go with it` : '';
  const action: Action = note === '' ? 'removed' : 'left';
  if (action === 'removed' && !dryRun) await objects.remove(found);
  onOutcome({ object: definition, action, changes: [], note });
}

/** With it go the keys of the CA, its roots, the Lease and the record of the installation. */
async function removeNamespace(objects: ClusterObjects, options: UninstallOptions): Promise<void> {
  const { namespace, dryRun, purge, timeoutMs, onOutcome, onProgress } = options;
  const object: Manifest = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } };
  if ((await objects.get(object)) === undefined) return;
  const others = (await objects.list('v1', 'Pod', { namespace })).filter((pod) => !isPart(pod)).map(({ metadata }) => metadata.name);
  if (others.length > 0 && !purge) {
    onOutcome({ object, action: 'left', changes: [], note: `there are others' pods in it: ${others.slice(0, 3).join(', ')}${others.length > 3 ? ', …' : ''}; with --purge they go with it` });
    return;
  }
  if (!(await remove(objects, object, options)) || dryRun || timeoutMs === undefined) return;
  onProgress(`waiting for the namespace ${namespace} to be gone`);
  const left = await untilNone(async () => ((await objects.get(object)) === undefined ? 0 : 1), timeoutMs, () => undefined);
  if (left > 0) throw new Error(`the namespace ${namespace} is still there after ${timeoutMs / 1000} s; kubectl get namespace ${namespace} -o yaml says what it waits for`);
}
