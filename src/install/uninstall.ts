/**
 * `orlop uninstall`: the way back, in the order in which nobody is left without what he needs. What stands in the API server's way goes first, then
 * the agents, which let their pods go; nodes are looked at; then the rest. Definitions go only when they are ours and nobody uses them.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { record } from '../mesh/parse/json.ts';
import { isOurDefinition } from './apply.ts';
import type { Action, Outcome } from './apply.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import { inOrder, isPart, nameOf, PART_OF } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import { sweepNodes } from './node-sweep.ts';
import type { NodeFinding } from './node-sweep.ts';

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
/** Made by control plane and agents while they run, and marked as ours like everything else. */
const MADE_LATER: readonly (readonly [apiVersion: string, kind: string])[] = [
  ['admissionregistration.k8s.io/v1', 'ValidatingWebhookConfiguration'],
  ['gateway.networking.k8s.io/v1', 'GatewayClass'],
  ['v1', 'Service'],
];

/** Rejects with a sentence when something cannot be removed; what has been is told by then. */
export async function uninstall(objects: ClusterObjects, options: UninstallOptions): Promise<void> {
  const all = inOrder([...options.manifests, ...await madeLater(objects, options.manifests)]).reverse();
  for (const object of all.filter(({ kind }) => kind.endsWith('WebhookConfiguration'))) await remove(objects, object, options);
  for (const object of all.filter(({ kind }) => kind === 'DaemonSet')) await removeAgents(objects, object, options);
  for (const object of all.filter(({ kind }) => kind !== 'Namespace')) await remove(objects, object, options);
  for (const definition of options.definitions) await removeDefinition(objects, definition, options);
  await removeNamespace(objects, options);
}

async function madeLater(objects: ClusterObjects, known: readonly Manifest[]): Promise<Manifest[]> {
  const lists = await Promise.all(MADE_LATER.map(async ([apiVersion, kind]) => objects.list(apiVersion, kind, { labelSelector: `${PART_OF.label}=${PART_OF.value}` })));
  const names = new Set(known.map(nameOf));
  return lists.flat().filter((object) => !names.has(nameOf(object)));
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
  const { dryRun, timeoutMs, onProgress, onNode } = options;
  const agents = await objects.get(object);
  const nodes = await nodesOf(objects, object);
  if (!(await remove(objects, object, options)) || agents === undefined || dryRun || timeoutMs === undefined) return;
  const left = await untilNone(async () => (await podsOf(objects, object)).length, timeoutMs, (count) => {
    onProgress(`${count} agent${count === 1 ? '' : 's'} still there, letting pods go`);
  });
  if (left > 0) onProgress(`${left} have not ended within ${timeoutMs / 1000} s; they will when their nodes are back`);
  if (nodes.length === 0) return;
  onProgress(`looking at ${nodes.length} node${nodes.length === 1 ? '' : 's'}`);
  for (const finding of await sweepNodes(objects, agents, nodes, timeoutMs)) onNode(finding);
}

async function podsOf(objects: ClusterObjects, { metadata: { namespace = '', name } }: Manifest): Promise<Manifest[]> {
  const pods = await objects.list('v1', 'Pod', { namespace });
  return pods.filter(({ metadata }) => ((metadata as { ownerReferences?: readonly { kind: string; name: string }[] }).ownerReferences ?? []).some((owner) => owner.kind === 'DaemonSet' && owner.name === name));
}

async function nodesOf(objects: ClusterObjects, agents: Manifest): Promise<string[]> {
  const names = (await podsOf(objects, agents)).map(({ spec }) => record(spec)['nodeName']).filter((name) => typeof name === 'string');
  return [...new Set(names)].sort();
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
