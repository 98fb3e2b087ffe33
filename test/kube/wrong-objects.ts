/** From a schema: an object that it takes, and for everything that it says an object that is wrong in that one place. */
import type { Schema } from '../../src/mesh/parse/schema.ts';

export interface Wrong {
  /** `spec.http[].timeout: a number in place of text` */
  readonly what: string;
  readonly spec: unknown;
}

/** The smallest that is right. */
export function minimal(schema: Schema): unknown {
  switch (schema.type) {
    case 'number':
      return schema.min;
    case 'boolean':
      return true;
    case 'enum':
      return schema.values[0];
    case 'duration':
      return '1s';
    case 'list':
      return [minimal(schema.of)];
    case 'map':
      return { a: minimal(schema.of) };
    case 'later':
      return minimal(schema.of);
    case 'object':
      return Object.fromEntries(schema.required.map((name) => [name, minimal(schema.fields[name] as Schema)]));
    default:
      return 'a';
  }
}

/** Parts that occur in several places are made wrong in one of them: they are the same object. */
export function* wrongObjects(schema: Schema, place = 'spec', around: (inner: unknown) => unknown = (inner) => inner, seen: Set<Schema> = new Set()): Generator<Wrong, void, undefined> {
  for (const [called, value] of wrongValues(schema)) yield { what: `${place}: ${called}`, spec: around(value) };
  if (schema.type === 'later') yield* wrongObjects(schema.of, place, around, seen);
  if (seen.has(schema)) return;
  seen.add(schema);
  if (schema.type === 'list') yield* wrongObjects(schema.of, `${place}[]`, (inner) => around([inner]), seen);
  if (schema.type === 'map') yield* wrongObjects(schema.of, `${place}{}`, (inner) => around({ a: inner }), seen);
  if (schema.type === 'object') {
    const rest = minimal(schema) as object;
    for (const [name, field] of Object.entries(schema.fields)) yield* wrongObjects(field, `${place}.${name}`, (inner) => around({ ...rest, [name]: inner }), seen);
  }
}

function wrongValues(schema: Schema): [string, unknown][] {
  switch (schema.type) {
    case 'any':
    case 'later':
      return [];
    case 'stringOrNumber':
      return [['neither text nor a number', true]];
    case 'boolean':
      return [['text in place of true or false', 'yes']];
    case 'number':
      return [['text in place of a number', 'x'], ['too small', schema.min - 1], ...(schema.max < Number.MAX_VALUE ? [['too large', schema.max + 1] as [string, unknown]] : []), ...(schema.whole ? [['no whole number', schema.min + 0.5] as [string, unknown]] : [])];
    case 'enum':
      return [['none of the values', 'no-such-value']];
    case 'duration':
      return [['a number in place of a duration', 5], ['no duration', 'soon']];
    case 'text':
      return [['a number in place of text', 5], ['of another form', ['', ' '].find((text) => !schema.form.test(text))]];
    case 'list':
    case 'map':
      return [['text in place of many', 'x']];
    case 'object':
      return [['text in place of an object', 'x'], ...schema.required.map((name): [string, unknown] => [`without ${name}`, Object.fromEntries(Object.entries(minimal(schema) as object).filter(([key]) => key !== name))])];
    default:
      return [['a number in place of text', 5]];
  }
}
