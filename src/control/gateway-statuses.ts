/** What is to be said of the Gateway API's objects, as wishes for their status. */
import type { StoredObject } from '../kube/stored-object.ts';
import { contentIn } from '../mesh/gateway/status-content.ts';
import { gatewayStatuses } from '../mesh/gateway/status.ts';
import type { GatewayFacts } from '../mesh/gateway/status.ts';
import { objectName } from '../mesh/resources.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { StatusWish } from './status-writer.ts';

/** Of those of `objects` that are Orlop's to speak of. */
export function gatewayStatusWishes(snapshot: Snapshot, objects: Iterable<StoredObject>, facts: GatewayFacts): StatusWish[] {
  const stored = new Map([...objects].map((object) => [object.name, object]));
  return gatewayStatuses(snapshot, facts).flatMap(({ content, ...named }) => {
    const object = stored.get(objectName(named));
    if (object === undefined) return [];
    const { collection, name, generation } = object;
    return [{ collection, name, says: { content, generation }, status: (current, now) => contentIn(current, content, generation, now) }];
  });
}
