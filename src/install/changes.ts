/** What is different between two states of an object, field by field. */
import { fieldName } from '../mesh/field-name.ts';
import type { Manifest } from './manifest.ts';

export interface Change {
  /** `spec.template.spec.containers[0].image` */
  readonly field: string;
  /** JSON, shortened; undefined when it is not there. */
  readonly before: string | undefined;
  readonly after: string | undefined;
}

const VALUE_CHARS_MAX = 60;
/** What the API server writes by itself. */
const SERVERS_OWN: readonly string[] = ['managedFields', 'resourceVersion', 'generation', 'uid', 'creationTimestamp'];
const SERVERS_ANNOTATIONS: readonly string[] = ['deprecated.daemonset.template.generation'];

/** In the order of the fields; `status` is others' business. */
export function changesOf(before: Manifest, after: Manifest): Change[] {
  return [...compare(wished(before), wished(after), [])];
}

function wished({ metadata, ...rest }: Manifest): object {
  const annotations = without(metadata.annotations ?? {}, SERVERS_ANNOTATIONS);
  return { ...without(rest, ['status']), metadata: { ...without(metadata, SERVERS_OWN), annotations } };
}

function without(fields: object, names: readonly string[]): object {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !names.includes(name)));
}

function* compare(before: unknown, after: unknown, path: readonly (string | number)[]): Generator<Change, void, undefined> {
  if (Object.is(before, after)) return;
  if (Array.isArray(before) && Array.isArray(after)) {
    for (let i = 0; i < Math.max(before.length, after.length); i += 1) yield* compare(before[i], after[i], [...path, i]);
  } else if (isPlain(before) && isPlain(after)) {
    for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) yield* compare(before[key], after[key], [...path, key]);
  } else {
    yield { field: fieldName(path), before: shown(before), after: shown(after) };
  }
}

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function shown(value: unknown): string | undefined {
  const text = JSON.stringify(value) as string | undefined;
  return text === undefined || text.length <= VALUE_CHARS_MAX ? text : `${text.slice(0, VALUE_CHARS_MAX - 1)}…`;
}
