/** `orlop install`, `upgrade` and its way back: the same steps with other manifests. */
import { applyAll, applyDefinitions, outcomeText, removeOthers } from './apply.ts';
import type { Outcome, Outcomes } from './apply.ts';
import type { ApplyOptions, ClusterObjects } from './cluster-objects.ts';
import type { Manifest } from './manifest.ts';
import { readRecord, writeRecord } from './record.ts';
import { untilRolledOut } from './rollout.ts';
import type { RolloutOptions } from './rollout.ts';

export interface InstallOptions extends ApplyOptions {
  readonly manifests: readonly Manifest[];
  /** None to leave the cluster's kinds as they are. */
  readonly definitions: readonly Manifest[];
  /** Undefined: do not wait for pods. */
  readonly rollout: RolloutOptions | undefined;
  readonly onOutcome: (outcome: Outcome) => void;
}

/** The namespace that the objects come with. */
export function namespaceOf(manifests: readonly Manifest[]): string {
  const namespaces = manifests.filter(({ kind }) => kind === 'Namespace');
  const [{ metadata: { name } } = { metadata: { name: '' } }] = namespaces;
  if (namespaces.length !== 1) throw new Error(`the kustomization has ${namespaces.length} namespaces; it needs the one that Orlop is installed in`);
  return name;
}

/**
 * Bring the cluster to what the manifests say: first what everything needs, then the control plane, and the agents when it serves, so that no
 * agent is newer than what it asks for certificates. Rejects with a sentence at the first thing that does not go well; what runs goes on running.
 */
export async function install(objects: ClusterObjects, options: InstallOptions): Promise<void> {
  const { manifests, definitions, rollout, dryRun = false, onOutcome } = options;
  const namespace = namespaceOf(manifests);
  const record = await readRecord(objects, namespace);
  await settle(applyDefinitions(objects, definitions, options), onOutcome);
  await settle(applyAll(objects, manifests.filter((one) => !isAgents(one)), options), onOutcome);
  if (!dryRun) await writeRecord(objects, namespace, nextRecord(record, manifests));
  if (rollout !== undefined) for (const workload of manifests.filter(({ kind }) => kind === 'Deployment')) await untilRolledOut(objects, workload, rollout);
  await settle(applyAll(objects, manifests.filter(isAgents), options), onOutcome);
  if (rollout !== undefined) for (const workload of manifests.filter(isAgents)) await untilRolledOut(objects, workload, rollout);
  await settle(removeOthers(objects, record?.current ?? [], manifests, options), onOutcome);
}

function isAgents({ kind }: Manifest): boolean {
  return kind === 'DaemonSet';
}

/** Installing the same again must not make it its own predecessor. */
function nextRecord(record: { readonly current: readonly Manifest[]; readonly previous: readonly Manifest[] } | undefined, manifests: readonly Manifest[]): { current: readonly Manifest[]; previous: readonly Manifest[] } {
  if (record === undefined) return { current: manifests, previous: [] };
  const isSame = JSON.stringify(record.current) === JSON.stringify(manifests);
  return { current: manifests, previous: isSame ? record.previous : record.current };
}

/** All of them, so that whoever reads it sees everything that is amiss and not only the first. */
async function settle(outcomes: Outcomes, onOutcome: (outcome: Outcome) => void): Promise<void> {
  const refused: Outcome[] = [];
  for await (const outcome of outcomes) {
    onOutcome(outcome);
    if (outcome.action === 'refused') refused.push(outcome);
  }
  if (refused.length > 0) throw new Error(`${refused.map(outcomeText).join('\n')}\nnothing after that was done; run it again when this is resolved`);
}
