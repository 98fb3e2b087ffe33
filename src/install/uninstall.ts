/**
 * `orlop uninstall`: the way back, in the order in which nobody is left without what he needs. What stands in the API server's way goes first, then
 * the agents, which let their pods go; nodes are looked at; then the rest. Definitions go only when they are ours and nobody uses them.
 */
import { record } from '../mesh/parse/json.ts';
import { isOurDefinition } from './apply.ts';
import type { Action, Outcome } from './apply.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import { inOrder, isPart, MADE_LATER, PART_OF } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import { sweepNodes } from './node-sweep.ts';
import type { NodeFinding } from './node-sweep.ts';
import { removePodMarks } from './pod-marks.ts';
import type { Finding } from './preflight.ts';
import { readDeparture, removeDeparture, writeDeparture } from './record.ts';
import { takeBackStatuses } from './statuses.ts';
import { strictWarning } from './strict.ts';
import { untilNone } from './until-none.ts';

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
  /** What somebody should know beforehand (`warning`), or what stays (`error`). */
  readonly onFinding: (finding: Finding) => void;
}

/**
 * Rejects with a sentence when something cannot be removed; what has been is told by then. Each step does what is left of it, also when it was begun
 * by an earlier call that did not come to its end. Resolves with the number of objects of which the control plane says nothing any more.
 */
export async function uninstall(objects: ClusterObjects, options: UninstallOptions): Promise<number> {
  const { webhook = [], agents = [], control = [], rest = [] } = Object.groupBy(inOrder(options.manifests).reverse(), partOf);
  const running = (await Promise.all(agents.map(async (object) => podsOf(objects, object)))).flat();
  if (running.length > 0) for (const finding of await strictWarning(objects)) options.onFinding(finding);
  for (const object of webhook) await remove(objects, object, options);
  for (const object of agents) await removeAgents(objects, object, options);
  // The control plane would make anew what it has made.
  for (const object of control) await removeWorkload(objects, object, options, 'replica', 'still ending');
  for (const object of [...await madeLater(objects), ...rest]) await remove(objects, object, options);
  // Its rights have gone too: a replica that nobody has waited for, or whose node is away, writes nothing any more.
  const spoken = await takeBackStatuses(objects, options);
  for (const definition of options.definitions) await removeDefinition(objects, definition, options);
  await removeNamespace(objects, options);
  return spoken;
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

/** Agents drain, and let their pods go; then every node that had one is looked at. Which ones is kept in the cluster until that is done. */
async function removeAgents(objects: ClusterObjects, object: Manifest, options: UninstallOptions): Promise<void> {
  const { namespace, dryRun, timeoutMs, onProgress, onNode } = options;
  const found = await objects.get(object);
  if (found !== undefined && !isPart(found)) {
    await remove(objects, object, options);
    return;
  }
  // Of agents that are there, an earlier departure has nothing to say: they were installed anew since.
  const begun = found === undefined ? await readDeparture(objects, namespace) : undefined;
  const running = (await podsOf(objects, found ?? object)).map(({ spec }) => record(spec)['nodeName']).filter((name) => typeof name === 'string');
  const agents = found ?? begun?.agents;
  const nodes = begun?.nodes ?? [...new Set(running)].sort();
  if (!dryRun && timeoutMs !== undefined && found !== undefined) await writeDeparture(objects, namespace, { agents: withoutState(found), nodes });
  await removeWorkload(objects, object, options, 'agent', 'letting pods go');
  if (dryRun || timeoutMs === undefined || agents === undefined) return;
  const marked = await removePodMarks(objects.client);
  if (marked > 0) onProgress(`${marked} pod${marked === 1 ? '' : 's'} still said to be in the mesh; corrected`);
  if (nodes.length > 0) {
    onProgress(`looking at ${nodes.length} node${nodes.length === 1 ? '' : 's'}`);
    for (const finding of await sweepNodes(objects, agents, nodes, timeoutMs)) onNode(finding);
  }
  await removeDeparture(objects, namespace);
}

/** Of it, what pods are made from. */
function withoutState({ apiVersion, kind, metadata: { name, namespace = '', labels = {} }, spec }: Manifest): Manifest {
  return { apiVersion, kind, metadata: { name, namespace, labels }, spec };
}

/** With its pods, if there is time to wait for them: also those of a workload that was removed before. */
async function removeWorkload(objects: ClusterObjects, object: Manifest, options: UninstallOptions, called: string, doing: string): Promise<void> {
  const { dryRun, timeoutMs, onProgress } = options;
  const workload = await objects.get(object);
  const isOthers = workload !== undefined && !(await remove(objects, object, options));
  if (isOthers || dryRun || timeoutMs === undefined) return;
  const left = await untilNone(async () => (await podsOf(objects, workload ?? object)).length, timeoutMs, (count) => {
    onProgress(`${count} ${called}${count === 1 ? '' : 's'} ${doing}`);
  });
  if (left > 0) onProgress(`${left} have not ended within ${timeoutMs / 1000} s: they finish connections, or their nodes are away`);
}

async function podsOf(objects: ClusterObjects, { metadata: { namespace = '' }, spec }: Manifest): Promise<Manifest[]> {
  const labels = record(record(record(spec)['selector'])['matchLabels']);
  return objects.list('v1', 'Pod', { namespace, labelSelector: Object.entries(labels).map(([key, value]) => `${key}=${String(value)}`).join(',') });
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
  const left = await untilNone(async () => ((await objects.get(object)) === undefined ? 0 : 1), timeoutMs);
  if (left > 0) throw new Error(`the namespace ${namespace} is still there after ${timeoutMs / 1000} s; kubectl get namespace ${namespace} -o yaml says what it waits for`);
}
