/** What is to be said of the Gateway API's objects, as wishes for their status. */
import type { StoredObject } from '../kube/stored-object.ts';
import { generationOf } from '../mesh/build.ts';
import { refusedStatus } from '../mesh/gateway/refused-status.ts';
import { GATEWAY_GROUP } from '../mesh/gateway/resources.ts';
import { contentIn } from '../mesh/gateway/status-content.ts';
import type { StatusContent } from '../mesh/gateway/status-content.ts';
import { gatewayStatuses } from '../mesh/gateway/status.ts';
import type { GatewayFacts } from '../mesh/gateway/status.ts';
import { text } from '../mesh/parse/json.ts';
import { byObject } from '../mesh/problem.ts';
import { objectName } from '../mesh/resources.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { StatusWish } from './status-writer.ts';

/** Of those of `objects` that are Orlop's to speak of. */
export function gatewayStatusWishes(snapshot: Snapshot, objects: Iterable<StoredObject>, facts: GatewayFacts): StatusWish[] {
  const inForce = new Map(gatewayStatuses(snapshot, facts).map(({ content, ...named }) => [objectName(named), content]));
  const problems = byObject(snapshot.problems);
  return [...objects].filter(({ value }) => text(value['apiVersion']).startsWith(`${GATEWAY_GROUP}/`)).flatMap((object): StatusWish[] => {
    const content = inForce.get(object.name);
    const against = problems.get(object.name) ?? [];
    if (against.some(({ severity }) => severity === 'error')) {
      const refused = refusedStatus(object.value, against, snapshot);
      return refused === undefined ? [] : [refusedWish(object, refused, content, snapshot)];
    }
    if (content === undefined) return [];
    const { collection, name, generation } = object;
    return [{ collection, name, says: { content, generation }, status: (current, now) => contentIn(current, content, generation, now) }];
  });
}

/** Listeners are those of the version that is in force, and say so; of the object itself, that which is stored is spoken of. */
function refusedWish({ collection, name, generation }: StoredObject, refused: StatusContent, inForce: StatusContent | undefined, { objects }: Snapshot): StatusWish {
  const { listeners, values } = inForce ?? {};
  const last = objects[name];
  const serving = listeners === undefined || values === undefined || last === undefined ? undefined : { content: { listeners, values }, generation: generationOf(last) };
  return {
    collection, name, says: { refused, generation, serving },
    status: (current, now) => ({ ...(serving === undefined ? {} : contentIn(current, serving.content, serving.generation, now)), ...contentIn(current, refused, generation, now) }),
  };
}
