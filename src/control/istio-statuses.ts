/** What is to be said of Istio's objects, as wishes for their status. */
import type { StoredObject } from '../kube/stored-object.ts';
import { conditionsOf, statusWith } from '../mesh/conditions.ts';
import { text } from '../mesh/parse/json.ts';
import { byObject } from '../mesh/problem.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { StatusWish } from './status-writer.ts';

/** Of those of `objects` that are Istio's. */
export function istioStatuses({ problems }: Snapshot, objects: Iterable<StoredObject>): StatusWish[] {
  const known = byObject(problems);
  return [...objects].filter(({ value }) => /\.istio\.io\//.test(text(value['apiVersion']))).map(({ collection, name, value, generation }) => {
    const conditions = conditionsOf(value, known.get(name) ?? []);
    return { collection, name, says: { conditions, generation }, status: (current, now) => statusWith(current, conditions, generation, now) };
  });
}
