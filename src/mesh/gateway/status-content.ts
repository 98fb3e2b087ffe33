/** The status of a Gateway API object as it should be, and how it is put into one that others write too. */
import { isDeepStrictEqual } from 'node:util';
import { list, record, text } from '../parse/json.ts';
import type { Json } from '../parse/json.ts';
import { CONTROLLER_NAME } from './resources.ts';

/** Without its time and generation, which the writer knows. */
export interface Condition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
}

export interface ListenerStatus {
  readonly name: string;
  readonly supportedKinds: readonly { readonly group: string; readonly kind: string }[];
  readonly attachedRoutes: number;
  readonly conditions: readonly Condition[];
}

/** Of one parent of a route, or one ancestor of a policy. */
export interface PlaceStatus {
  /** The reference as it is written. */
  readonly ref: Json;
  readonly conditions: readonly Condition[];
}

/** Members that are not there are left as they are. */
export interface StatusContent {
  readonly conditions?: readonly Condition[];
  readonly listeners?: readonly ListenerStatus[];
  readonly parents?: readonly PlaceStatus[];
  readonly ancestors?: readonly PlaceStatus[];
  /** Written as they stand. */
  readonly values?: Json;
}

/** Types of conditions that Orlop writes: those of them that no longer hold go, those of others stay. */
const OWN_TYPES: ReadonlySet<string> = new Set(['Accepted', 'Programmed', 'ResolvedRefs', 'Honored', 'Conflicted', 'InsecureFrontendValidationMode', 'PartiallyInvalid']);

/**
 * The members of `current` that are to be written. Conditions keep the time since when they have had their status; what other controllers say
 * stays. `now` is a time of RFC 3339.
 */
export function contentIn(current: Json, { conditions, listeners, parents, ancestors, values }: StatusContent, generation: number, now: string): Json {
  const stamp = (before: unknown, own: readonly Condition[]): Json[] => stamped(before, own, generation, now);
  return {
    ...values,
    ...(conditions === undefined ? {} : { conditions: stamp(current['conditions'], conditions) }),
    ...(listeners === undefined ? {} : { listeners: listeners.map((one) => ({ ...one, conditions: stamp(list(current['listeners']).find(({ name }) => name === one.name)?.['conditions'], one.conditions) })) }),
    ...(parents === undefined ? {} : places(current, 'parents', 'parentRef', parents, stamp)),
    ...(ancestors === undefined ? {} : places(current, 'ancestors', 'ancestorRef', ancestors, stamp)),
  };
}

function stamped(before: unknown, own: readonly Condition[], generation: number, now: string): Json[] {
  const known = list(before);
  const ours = own.map((condition) => {
    const earlier = known.find(({ type }) => type === condition.type);
    const since = earlier?.['status'] === condition.status ? text(earlier['lastTransitionTime']) : '';
    return { ...condition, observedGeneration: generation, lastTransitionTime: since === '' ? now : since };
  });
  return [...known.filter(({ type }) => !OWN_TYPES.has(text(type))), ...ours];
}

/** Entries of other controllers stay, as they must (RouteStatus.parents). An empty list is not written where there was none. */
function places(current: Json, member: 'parents' | 'ancestors', refMember: string, own: readonly PlaceStatus[], stamp: (before: unknown, own: readonly Condition[]) => Json[]): Json {
  const known = list(current[member]);
  if (own.length === 0 && !known.some(isOurs)) return {};
  const ours = own.map(({ ref, conditions }) => ({ [refMember]: ref, controllerName: CONTROLLER_NAME, conditions: stamp(known.find((one) => isOurs(one) && isDeepStrictEqual(record(one[refMember]), ref))?.['conditions'], conditions) }));
  return { [member]: [...known.filter((one) => !isOurs(one)), ...ours] };
}

function isOurs({ controllerName }: Json): boolean {
  return controllerName === CONTROLLER_NAME;
}
