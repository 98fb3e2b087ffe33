/**
 * What is said of an object before it is stored: by itself it is judged as `config check` judges it, and beside all others it is warned of. Only
 * its own faults refuse it, because objects that belong together come in any order.
 */
import { isDeepStrictEqual } from 'node:util';
import { checkObject, readPolicy } from './build.ts';
import { trafficProblems } from './cross-problems.ts';
import { record, text } from './parse/json.ts';
import { renderProblem } from './problem.ts';
import type { Problem } from './problem.ts';
import { byAge, objectName } from './resources.ts';
import type { Origin } from './resources.ts';
import { securityProblems } from './security-problems.ts';
import type { GoodObject, Snapshot } from './snapshot.ts';

type Value = GoodObject['value'];

export interface Admission {
  /** Why it may not be stored; empty when it may. */
  readonly refusals: readonly Problem[];
  readonly warnings: readonly Problem[];
}

/** Where a snapshot has the objects of a kind that others refer to, or compete with. */
const LISTS = {
  VirtualService: 'virtualServices', DestinationRule: 'destinationRules', ServiceEntry: 'serviceEntries', WorkloadEntry: 'workloadEntries',
  PeerAuthentication: 'peerAuthentications', RequestAuthentication: 'requestAuthentications', AuthorizationPolicy: 'authorizationPolicies',
} as const satisfies Readonly<Record<string, keyof Snapshot>>;

const SECURITY: ReadonlySet<string> = new Set(['PeerAuthentication', 'RequestAuthentication', 'AuthorizationPolicy']);

/**
 * Judge `value` in the place of `stored` (undefined: it is new) beside what is in force. A spec that is stored already is not refused, or nobody
 * could change the labels of an object that was stored while there was no webhook, or remove its finalizers.
 */
export function admit(value: Value, stored: Value | undefined, snapshot: Snapshot | undefined): Admission {
  const { kind, problems, failed, object } = checkObject({ name: nameOf(value), value });
  if (kind?.support !== 'honoured' && kind?.support !== 'later') return { refusals: [], warnings: [] };
  if (failed && (stored === undefined || !isDeepStrictEqual(stored['spec'], value['spec']))) {
    return { refusals: problems.filter(({ severity }) => severity === 'error'), warnings: problems.filter(({ severity }) => severity !== 'error') };
  }
  return { refusals: [], warnings: failed || snapshot === undefined ? problems : [...problems, ...besideOthers(object, snapshot)] };
}

/** As an API server's objects are called in a snapshot. */
function nameOf(value: Value): string {
  const { name, namespace } = record(value['metadata']);
  return objectName({ kind: text(value['kind']), namespace: text(namespace), name: text(name) });
}

/** Problems between objects that are this one's, or that others only have because of it. */
function besideOthers({ origin, value }: GoodObject, snapshot: Snapshot): Problem[] {
  const field = Object.hasOwn(LISTS, origin.kind) ? LISTS[origin.kind as keyof typeof LISTS] : undefined;
  if (field === undefined) return [];
  // One without an age is being made now: the youngest, who loses every conflict.
  const aged: Origin = { ...origin, createdMs: origin.createdMs === 0 ? Number.MAX_SAFE_INTEGER : origin.createdMs };
  const resource = origin.kind === 'AuthorizationPolicy' ? readPolicy({ origin: aged, value }) : { ...aged, spec: value['spec'] };
  const others = (snapshot[field] as readonly Origin[]).filter(({ namespace, name }) => namespace !== origin.namespace || name !== origin.name);
  const changed: Snapshot = { ...snapshot, [field]: [...others, resource].sort(byAge) };
  const known = new Set(snapshot.problems.map(renderProblem));
  const own = objectName(origin);
  // Each half takes tens of milliseconds in a large cluster, and no object has to do with both.
  const found = SECURITY.has(origin.kind) ? securityProblems(changed, () => 0) : trafficProblems(changed, () => 0).problems;
  return found.filter((problem) => problem.object === own || !known.has(renderProblem(problem)));
}
