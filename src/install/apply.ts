/** Objects brought to a cluster one after the other, and what became of each. */
import { ApiError } from '../kube/api-client.ts';
import { changesOf } from './changes.ts';
import type { Change } from './changes.ts';
import type { ApplyOptions, ClusterObjects } from './cluster-objects.ts';
import { inOrder, isManagedByUsAlone, isPart, nameOf, sameObject } from './manifest.ts';
import type { Manifest } from './manifest.ts';

/** `left`: it is there and not ours; `refused`: others have set fields to something else, or the API server does not take it. */
export type Action = 'created' | 'configured' | 'unchanged' | 'left' | 'refused' | 'removed';

export interface Outcome {
  readonly object: Manifest;
  readonly action: Action;
  readonly changes: readonly Change[];
  /** Why, where the action does not say it. */
  readonly note: string;
}

/** What came of it, in the order in which it happens. */
export type Outcomes = AsyncGenerator<Outcome, void, undefined>;

export async function* applyAll(objects: ClusterObjects, manifests: readonly Manifest[], options: ApplyOptions): Outcomes {
  const kinds = Object.values(Object.groupBy(inOrder(manifests), ({ kind }) => kind));
  // Those of a kind do not refer to each other.
  for (const ofKind of kinds) yield* await Promise.all((ofKind ?? []).map(async (manifest) => applyOne(objects, manifest, options)));
}

async function applyOne(objects: ClusterObjects, object: Manifest, options: ApplyOptions): Promise<Outcome> {
  const before = await objects.get(object);
  try {
    const after = await objects.apply(object, options);
    if (before === undefined) return { object, action: 'created', changes: [], note: '' };
    const changes = changesOf(before, after);
    return { object, action: changes.length === 0 ? 'unchanged' : 'configured', changes, note: '' };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    // Of what is in a namespace that is not there yet the API server cannot be asked.
    if (options.dryRun === true && before === undefined && error.status === 404) return { object, action: 'created', changes: [], note: '' };
    const remedy = error.reason === 'Conflict' ? '; take these fields over with --force-conflicts' : '';
    return { object, action: 'refused', changes: [], note: error.message + remedy };
  }
}

/** Definitions where they are missing, or ours: those that others have installed, or changed, stay as they are. */
export async function* applyDefinitions(objects: ClusterObjects, definitions: readonly Manifest[], options: ApplyOptions): Outcomes {
  yield* await Promise.all(definitions.map(async (definition): Promise<Outcome> => {
    const found = await objects.get(definition);
    if (found === undefined || isOurDefinition(found)) return applyOne(objects, definition, options);
    return { object: definition, action: 'left', changes: [], note: 'is there, and not by orlop install' };
  }));
  objects.forgetKinds();
}

/** Marked as ours, and nobody has put another schema in its place since. */
export function isOurDefinition(definition: Manifest): boolean {
  return isPart(definition) && isManagedByUsAlone(definition, 'f:spec');
}

/** Objects of an earlier installation that are in the new one no more. */
export async function* removeOthers(objects: ClusterObjects, earlier: readonly Manifest[], wanted: readonly Manifest[], { dryRun = false }: ApplyOptions): Outcomes {
  for (const object of inOrder(earlier).reverse()) {
    if (object.kind === 'Namespace' || wanted.some((one) => sameObject(one, object))) continue;
    const found = await objects.get(object);
    if (found === undefined || !isPart(found)) continue;
    if (!dryRun) await objects.remove(found);
    yield { object, action: 'removed', changes: [], note: '' };
  }
}

/** One line for people. */
export function outcomeText({ object, action, note }: Outcome): string {
  return `${nameOf(object)} ${action}${note === '' ? '' : `: ${note}`}`;
}
