/**
 * The status of a version that its definition lets pass and the rules of `config check` do not: it is stored, but not in force. Whatever it says is read with
 * caution, since it may be wrong anywhere.
 */
import { messageOf, notInForce } from '../condition-message.ts';
import { list, record, text } from '../parse/json.ts';
import type { Json } from '../parse/json.ts';
import type { Problem } from '../problem.ts';
import type { Snapshot } from '../snapshot.ts';
import { parentGateway } from './attachment.ts';
import { classOf, parentOf } from './listeners.ts';
import { ancestorsOf } from './policy-status.ts';
import { CONTROLLER_NAME, ROUTE_KINDS } from './resources.ts';
import type { BackendTlsPolicySpec, ParentReference } from './resources.ts';
import { isServiceParent } from './service-routes.ts';
import type { Condition, PlaceStatus, StatusContent } from './status-content.ts';

/** `problems`: all that a snapshot has against the object. Undefined: it is not Orlop's to speak of. */
export function refusedStatus(value: Json, problems: readonly Problem[], snapshot: Snapshot): StatusContent | undefined {
  const kind = text(value['kind']);
  const spec = record(value['spec']);
  const namespace = text(record(value['metadata'])['namespace']);
  const instead = notInForce(problems);
  const accepted: Condition = { type: 'Accepted', status: 'False', reason: 'Invalid', message: messageOf(problems.filter(({ severity }) => severity === 'error'), instead) };
  const places = (refs: readonly Json[]): PlaceStatus[] => refs.map((ref) => ({ ref, conditions: [accepted] }));
  if (kind === 'GatewayClass') return spec['controllerName'] === CONTROLLER_NAME ? { conditions: [accepted] } : undefined;
  if (kind === 'BackendTLSPolicy') return { ancestors: places(ancestorsOf(namespace, targetsOf(spec), snapshot)) };
  if (ROUTE_KINDS.some((route) => route === kind)) return { parents: places(list(spec['parentRefs']).filter((parent) => isOwnParent(parent, namespace, snapshot))) };
  return isOwn(kind, namespace, spec, snapshot) ? { conditions: [accepted, { type: 'Programmed', status: 'False', reason: 'Invalid', message: instead }] } : undefined;
}

function isOwn(kind: string, namespace: string, spec: Json, snapshot: Snapshot): boolean {
  if (kind === 'Gateway') return classOf({ spec: { gatewayClassName: text(spec['gatewayClassName']) } }, snapshot) !== undefined;
  return kind === 'ListenerSet' && parentOf({ namespace, spec: { parentRef: referenceOf(spec['parentRef']) } }, snapshot) !== undefined;
}

function isOwnParent(written: Json, namespace: string, snapshot: Snapshot): boolean {
  const parent = referenceOf(written);
  return isServiceParent(parent) || parentGateway({ namespace }, parent, snapshot) !== undefined;
}

/** Members that are no text are as if they were not there. */
function referenceOf(written: unknown): ParentReference {
  const { name, ...others } = record(written);
  return { ...Object.fromEntries(['group', 'kind', 'namespace'].flatMap((member) => (typeof others[member] === 'string' ? [[member, others[member]]] : []))), name: text(name) };
}

function targetsOf(spec: Json): BackendTlsPolicySpec['targetRefs'] {
  return list(spec['targetRefs']).map(({ group, kind, name }) => ({ group: text(group), kind: text(kind), name: text(name) }));
}
