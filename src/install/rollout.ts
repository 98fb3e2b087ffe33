/** Waiting until the pods of an installation run and are ready, node by node, and saying which is not and why. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClusterObjects } from './cluster-objects.ts';
import { nameOf } from './manifest.ts';
import type { Manifest } from './manifest.ts';

const POLL_MS = 500;
const REVISION_LABEL = 'controller-revision-hash';

export interface RolloutOptions {
  /** Without any progress for so long it counts as stuck. */
  readonly timeoutMs: number;
  /** Told when something has changed. */
  readonly onProgress: (text: string) => void;
}

interface WorkloadStatus {
  readonly observedGeneration?: number;
  readonly replicas?: number;
  readonly updatedReplicas?: number;
  readonly availableReplicas?: number;
  readonly desiredNumberScheduled?: number;
}

interface Standing {
  readonly wanted: number;
  /** Of the new version, and ready. */
  readonly ready: number;
  readonly done: boolean;
}

/** Pods that do not become ready; those that were not reached keep what they run. */
export class StuckError extends Error {}

/** Resolves when every pod of the workload is of its newest version and ready; rejects with what keeps it when nothing changes any more. */
export async function untilRolledOut(objects: ClusterObjects, workload: Manifest, { timeoutMs, onProgress }: RolloutOptions): Promise<void> {
  let said = '';
  let deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = await objects.get(workload);
    if (found === undefined) throw new Error(`${nameOf(workload)} is gone; somebody else has removed it`);
    const standing = await standingOf(objects, found);
    const faults = standing.done ? [] : await faultsOf(objects, found);
    const text = `${nameOf(workload)}: ${standing.ready} of ${standing.wanted} ${workload.kind === 'DaemonSet' ? 'nodes' : 'replicas'} ready${faults.length === 0 ? '' : ` (${faults.join('; ')})`}`;
    if (text !== said) {
      onProgress(text);
      // Another reason for the same pods is no progress: a crash and the wait after it take turns.
      if (said.split(' (')[0] !== text.split(' (')[0]) deadline = performance.now() + timeoutMs;
      said = text;
    }
    if (standing.done) return;
    if (performance.now() > deadline) throw new StuckError(`${text}, and nothing has changed for ${timeoutMs / 1000} s`);
    await sleep(POLL_MS);
  }
}

async function standingOf(objects: ClusterObjects, workload: Manifest): Promise<Standing> {
  const { kind, metadata, spec, status = {} } = workload;
  const { observedGeneration = 0, replicas = 0, updatedReplicas = 0, availableReplicas = 0, desiredNumberScheduled = 0 } = status as WorkloadStatus;
  const { generation = 0 } = metadata as { generation?: number };
  const seen = observedGeneration >= generation;
  if (kind === 'DaemonSet') {
    const ready = seen ? await nodesReady(objects, workload) : 0;
    return { wanted: desiredNumberScheduled, ready, done: seen && ready === desiredNumberScheduled };
  }
  const { replicas: wanted = 1 } = spec as { replicas?: number };
  const ready = seen ? Math.min(updatedReplicas, availableReplicas) : 0;
  return { wanted, ready, done: seen && ready === wanted && replicas === wanted };
}

/**
 * Nodes with a ready pod of the newest version. The counts in the DaemonSet's status go by the oldest pod of each node, also by one that is being
 * deleted: an agent that has handed over, and finishes its connections beside the next one.
 */
async function nodesReady(objects: ClusterObjects, workload: Manifest): Promise<number> {
  const { namespace = '' } = workload.metadata;
  const labelSelector = selectorOf(workload);
  const revisions = await objects.list('apps/v1', 'ControllerRevision', { namespace, labelSelector });
  const newest = revisions.toSorted((a, b) => Number(b['revision']) - Number(a['revision']))[0]?.metadata.labels?.[REVISION_LABEL];
  const pods = await objects.list('v1', 'Pod', { namespace, labelSelector });
  const ready = pods.filter(({ metadata, status }) => metadata.deletionTimestamp === undefined && metadata.labels?.[REVISION_LABEL] === newest && podFault((status ?? {}) as PodStatus) === undefined);
  return new Set(ready.map(({ spec }) => (spec as { nodeName?: string }).nodeName)).size;
}

function selectorOf({ spec }: Manifest): string {
  const { matchLabels } = (spec as { selector: { matchLabels: Readonly<Record<string, string>> } }).selector;
  return Object.entries(matchLabels).map(([key, value]) => `${key}=${value}`).join(',');
}

interface PodStatus {
  readonly conditions?: readonly { readonly type: string; readonly status: string; readonly message?: string }[];
  readonly containerStatuses?: readonly ContainerStatus[];
  readonly initContainerStatuses?: readonly ContainerStatus[];
}

interface ContainerStatus {
  readonly ready: boolean;
  readonly state?: { readonly waiting?: Ended };
  readonly lastState?: { readonly terminated?: Ended & { readonly exitCode: number } };
}

interface Ended {
  readonly reason?: string;
  readonly message?: string;
}

/** `node2: CrashLoopBackOff (exit code 69)`, for each pod that is not ready. */
async function faultsOf(objects: ClusterObjects, workload: Manifest): Promise<string[]> {
  const { namespace = '' } = workload.metadata;
  const pods = await objects.list('v1', 'Pod', { namespace, labelSelector: selectorOf(workload) });
  return pods.filter(({ metadata }) => metadata.deletionTimestamp === undefined).flatMap((pod) => {
    const fault = podFault(pod['status'] ?? {});
    const { nodeName = pod.metadata.name } = (pod['spec'] ?? {}) as { nodeName?: string };
    return fault === undefined ? [] : [`${nodeName}: ${fault}`];
  }).sort();
}

function podFault({ conditions = [], containerStatuses = [], initContainerStatuses = [] }: PodStatus): string | undefined {
  const condition = (wanted: string): { status: string; message?: string } | undefined => conditions.find(({ type }) => type === wanted);
  if (condition('Ready')?.status === 'True') return undefined;
  const scheduled = condition('PodScheduled');
  if (scheduled?.status === 'False') return scheduled.message ?? 'not scheduled';
  for (const { state, lastState } of [...initContainerStatuses, ...containerStatuses]) {
    const { waiting } = state ?? {};
    if (waiting === undefined) continue;
    const exitCode = lastState?.terminated?.exitCode;
    return [waiting.reason ?? 'waiting', exitCode === undefined ? waiting.message : `exit code ${exitCode}; see kubectl logs --previous`].filter((part) => part !== undefined).join(': ');
  }
  return 'runs, but is not ready';
}
