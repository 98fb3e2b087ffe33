/** What in the status of an object is Orlop's word, and what of it stays without Orlop: everything that others say. */
import { isDeepStrictEqual } from 'node:util';
import { STATUS_MANAGER } from '../kube/stored-object.ts';
import type { ApiObject } from '../kube/api-client.ts';
import { CONTROLLER_NAME, GATEWAY_GROUP } from '../mesh/gateway/resources.ts';
import { contentIn } from '../mesh/gateway/status-content.ts';
import { list, record } from '../mesh/parse/json.ts';
import { groupOf, managersOf } from './manifest.ts';
import type { Manifest } from './manifest.ts';

/** Of all conditions that Istio's objects get from Orlop, the one that nobody else writes; it is always among them. */
const ISTIO_MARK = 'Honored';
/** Of objects that have one owner, which its class names. */
const OWNED: readonly string[] = ['GatewayClass', 'Gateway', 'ListenerSet'];
/** What they get beside conditions (GatewayClassStatus, GatewayStatus). */
const OWNED_VALUES = { listeners: [], addresses: null, attachedListenerSets: null, supportedFeatures: null };

/** Has Orlop written the status as a whole, so that it depends on the object's class whose it is? What a definition puts there by itself is of no generation. */
export function isOwnedByClass(object: Manifest): boolean {
  if (groupOf(object.apiVersion) !== GATEWAY_GROUP || !OWNED.includes(object.kind)) return false;
  const isOfGeneration = list(record(object['status'])['conditions']).some(({ observedGeneration }) => observedGeneration !== undefined);
  return isOfGeneration && managersOf(object, 'f:status').includes(STATUS_MANAGER);
}

/** The change that takes Orlop's word from a status, as a merge patch of it; null: nothing else is in it. Undefined: Orlop says nothing there. */
export function withoutOurs(object: Manifest): ApiObject | null | undefined {
  const status = record(object['status']);
  const change = groupOf(object.apiVersion) === GATEWAY_GROUP ? gatewayChange(object, status) : istioChange(object, status);
  const entries = Object.entries(change).filter(([name, value]) => Object.hasOwn(status, name) && !isDeepStrictEqual(status[name], value)).map(([name, value]): [string, unknown] => [name, isEmpty(value) ? null : value]);
  if (entries.length === 0) return undefined;
  const isAll = Object.keys(status).every((name) => entries.some(([changed, value]) => changed === name && value === null));
  return isAll ? null : Object.fromEntries(entries);
}

function isEmpty(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

function istioChange(object: Manifest, status: ApiObject): ApiObject {
  if (!list(status['conditions']).some(({ type }) => type === ISTIO_MARK)) return {};
  const { conditions } = contentIn(status, { conditions: [] }, 0, '');
  // Others count generations too.
  const managers = managersOf(object, 'f:status', 'f:observedGeneration');
  const isOthers = managers.some((manager) => manager !== STATUS_MANAGER);
  return { conditions, ...(isOthers ? {} : { observedGeneration: null }) };
}

/** Routes and policies have an entry for each controller. */
function gatewayChange(object: Manifest, status: ApiObject): ApiObject {
  if (isOwnedByClass(object)) return { ...contentIn(status, { conditions: [] }, 0, ''), ...OWNED_VALUES };
  return Object.fromEntries(['parents', 'ancestors'].flatMap((member) => {
    const entries = list(status[member]);
    const others = entries.filter(({ controllerName }) => controllerName !== CONTROLLER_NAME);
    return others.length === entries.length ? [] : [[member, others]];
  }));
}
