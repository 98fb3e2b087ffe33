/** What each pod of this node is told about its part in the mesh: how it is, why, and what of its traffic escapes STRICT. */
import type { PodEvent, PodStatus } from '../kube/pod-status.ts';
import { record, strings, text } from '../mesh/parse/json.ts';
import type { Snapshot, Workload } from '../mesh/snapshot.ts';
import { parseExclusions } from '../redirect/exclusions.ts';
import type { PodState } from './enrolment.ts';
import { strictBypasses } from './strict-bypass.ts';

/** The annotation `orlop.io/status`, as JSON. */
interface Told {
  readonly state: 'enrolled' | 'failed' | 'not enrolled';
  readonly reason: string;
  /** Traffic that is not captured though it should prove an identity. */
  readonly bypassesStrict?: readonly string[];
}

interface Before {
  readonly state: string;
  readonly reason: string;
  readonly bypassesStrict: readonly string[];
}

/** Of all pods of the node that `states` are of. One that has not asked to be in the mesh is told nothing; what it was told before is taken back. */
export function podStatuses(snapshot: Snapshot, states: readonly PodState[]): Map<string, PodStatus> {
  const workloads = new Map(snapshot.workloads.map((workload) => [workload.id, workload]));
  const statuses = new Map<string, PodStatus>();
  for (const state of states) {
    const workload = workloads.get(state.id);
    if (workload !== undefined) statuses.set(state.id, statusOf(snapshot, workload, state));
  }
  return statuses;
}

/** Of pods that the agent has let go because it ends. */
export function releasedStatuses(snapshot: Snapshot, states: readonly PodState[]): Map<string, PodStatus> {
  const released = new Map<string, PodStatus>();
  for (const [id, { uid }] of podStatuses(snapshot, states)) released.set(id, { uid, annotation: undefined, eventAfter: (before) => releaseAfter(before, 'the agent of its node ends') });
  return released;
}

function statusOf(snapshot: Snapshot, workload: Workload, state: PodState): PodStatus {
  const { uid } = workload;
  const told = toldOf(snapshot, workload, state);
  if (told === undefined) return { uid, annotation: undefined, eventAfter: (before) => releaseAfter(before, state.reason) };
  return { uid, annotation: JSON.stringify(told), eventAfter: (before) => eventOf(told, readTold(before)) };
}

function toldOf(snapshot: Snapshot, workload: Workload, { state, reason }: PodState): Told | undefined {
  if (state === 'failed') return { state, reason };
  if (state === 'enrolled') {
    const bypassesStrict = strictBypasses(snapshot, workload, parseExclusions(workload.annotations).exclusions);
    return { state, reason, ...(bypassesStrict.length === 0 ? {} : { bypassesStrict }) };
  }
  // One that asks and could be enrolled has no process yet, or none any more.
  return workload.asked && !workload.enrolled ? { state, reason } : undefined;
}

/** Only what is new: the same state with the same reason is not told again by the next agent. */
function eventOf({ state, reason, bypassesStrict = [] }: Told, before: Before | undefined): PodEvent | undefined {
  const escapes = bypassesStrict.length === 0 ? '' : `; not captured, so that STRICT is not enforced: ${bypassesStrict.join('; ')}`;
  const isSame = before?.state === state && before.bypassesStrict.join() === bypassesStrict.join();
  if (state === 'enrolled') return isSame ? undefined : { type: escapes === '' ? 'Normal' : 'Warning', reason: 'Enrolled', message: `In the mesh by ${reason}${escapes}` };
  if (isSame && before.reason === reason) return undefined;
  return state === 'failed' ? { type: 'Warning', reason: 'EnrolFailed', message: `Not in the mesh yet; tried again every second: ${reason}` } : { type: 'Warning', reason: 'NotEnrolled', message: `Not in the mesh: ${reason}` };
}

function releaseAfter(before: string | undefined, reason: string): PodEvent | undefined {
  return readTold(before)?.state === 'enrolled' ? { type: 'Normal', reason: 'Released', message: `No longer in the mesh: ${reason}` } : undefined;
}

/** What an annotation says; whoever may change the pod may have written it. */
function readTold(annotation: string | undefined): Before | undefined {
  try {
    const { state, reason, bypassesStrict } = record(annotation === undefined ? undefined : JSON.parse(annotation));
    return { state: text(state), reason: text(reason), bypassesStrict: strings(bypassesStrict) };
  } catch {
    return undefined;
  }
}
