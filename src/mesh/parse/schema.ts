/**
 * What the fields of a resource may be. A field is honoured, or known and not honoured yet, or unknown; nothing is passed over
 * in silence. Schemas are data, so that they can be listed as well as checked against.
 */
import { RESOURCE_ENTRIES_MAX, RESOURCE_REGEX_CHARS_MAX } from '../../core/limits.ts';
import { parseDuration } from '../duration.ts';
import { regexFault } from '../regex.ts';
import type { Path } from './document.ts';

export type Schema =
  | { readonly type: 'string' | 'stringOrNumber' | 'boolean' | 'any' | 'duration' | 'regex' | 'regexOrStar' }
  | { readonly type: 'text'; readonly form: RegExp; readonly called: string }
  | { readonly type: 'number'; readonly min: number; readonly max: number; readonly whole: boolean }
  | { readonly type: 'enum'; readonly values: readonly string[]; readonly notYet: readonly string[] }
  | { readonly type: 'list' | 'map'; readonly of: Schema }
  | { readonly type: 'object'; readonly fields: Readonly<Record<string, Schema>>; readonly required: readonly string[] }
  | { readonly type: 'later'; readonly effect: string; readonly of: Schema };

export const string: Schema = { type: 'string' };
/** Text that others write without quotes: `statusOnError: 403`. */
export const stringOrNumber: Schema = { type: 'stringOrNumber' };
export const boolean: Schema = { type: 'boolean' };
export const any: Schema = { type: 'any' };
export const duration: Schema = { type: 'duration' };
export const regex: Schema = { type: 'regex' };
/** Istio reads `*`, which is no regular expression, as "any value" in headers and parameters. */
export const regexOrStar: Schema = { type: 'regexOrStar' };

/** Text of one form; `called` is what to write: `the name of a header`. */
export function text(form: RegExp, called: string): Schema {
  return { type: 'text', form, called };
}

export function int(min = 0, max = 4_294_967_295): Schema {
  return { type: 'number', min, max, whole: true };
}

export function number(min: number, max: number): Schema {
  return { type: 'number', min, max, whole: false };
}

/** `notYet`: values that are known and not honoured yet. */
export function oneOf(values: readonly string[], notYet: readonly string[] = []): Schema {
  return { type: 'enum', values, notYet };
}

export function list(of: Schema): Schema {
  return { type: 'list', of };
}

export function map(of: Schema): Schema {
  return { type: 'map', of };
}

export function object(fields: Readonly<Record<string, Schema>>, required: readonly string[] = []): Schema {
  return { type: 'object', fields, required };
}

/** A field that is part of the API and that this release does not act on, with what happens instead. Its value is checked all the same. */
export function later(effect: string, of: Schema = any): Schema {
  return { type: 'later', effect, of };
}

/** Receives what is wrong with a field. */
export interface Report {
  /** There are so many errors that more would be of no use: nothing further needs to be looked at. */
  readonly isFull: boolean;
  /** Of the regular expressions that have been compiled for the object so far. */
  regexChars: number;
  error(path: Path, message: string, remedy: string, code?: string): void;
  warning(path: Path, message: string, remedy: string, code?: string): void;
}

/** Check `value` against `schema`, reporting every fault with the path of its field. */
export function check(value: unknown, schema: Schema, path: Path, report: Report): void {
  if (value === null || value === undefined || report.isFull) return;
  switch (schema.type) {
    case 'any':
      return;
    case 'later':
      report.warning(path, 'this field is not honoured yet', `${schema.effect}; remove it, or know that it has no effect`, 'ORLOP010');
      check(value, schema.of, path, report);
      return;
    case 'string':
    case 'regex':
    case 'regexOrStar':
    case 'duration':
      checkText(value, schema.type, path, report);
      return;
    case 'text':
      checkText(value, 'string', path, report);
      if (typeof value === 'string' && !schema.form.test(value)) report.error(path, `"${value}" is not ${schema.called}`, `write ${schema.called}`);
      return;
    case 'stringOrNumber':
      if (typeof value !== 'number') checkText(value, 'string', path, report);
      return;
    case 'boolean':
      if (typeof value !== 'boolean') wrongType(value, 'true or false', path, report);
      return;
    case 'number':
      checkNumber(value, schema, path, report);
      return;
    case 'enum':
      checkEnum(value, schema, path, report);
      return;
    case 'list':
      if (!Array.isArray(value)) wrongType(value, 'a list', path, report);
      else if (hasRoom(value.length, path, report)) for (const [i, item] of value.entries()) checkPresent(item, schema.of, [...path, i], report);
      return;
    case 'map':
      if (!isRecord(value)) wrongType(value, 'a map', path, report);
      else if (hasRoom(Object.keys(value).length, path, report)) for (const [key, item] of Object.entries(value)) checkPresent(item, schema.of, [...path, key], report);
      return;
    case 'object':
      checkObject(value, schema, path, report);
  }
}

function hasRoom(entries: number, path: Path, report: Report): boolean {
  if (entries <= RESOURCE_ENTRIES_MAX) return true;
  report.error(path, `there are ${entries} entries; ${RESOURCE_ENTRIES_MAX} is the limit`, 'take it apart');
  return false;
}

/** An entry that is there and says nothing would change what the others mean (a match on a header, dropped, matches everything). */
function checkPresent(value: unknown, schema: Schema, path: Path, report: Report): void {
  if (value === null || value === undefined) report.error(path, 'the entry is empty', 'give it a value, or remove it');
  else check(value, schema, path, report);
}

function checkText(value: unknown, type: 'string' | 'regex' | 'regexOrStar' | 'duration', path: Path, report: Report): void {
  if (typeof value !== 'string') {
    // YAML reads `version: 1.0` as a number and `debug: on` as a word of its own: it is the quotes that are missing.
    const unquoted = typeof value === 'number' || typeof value === 'boolean';
    if (type !== 'duration' && unquoted) report.error(path, `expected text, got ${String(value)}`, `put it in quotes: "${String(value)}"`);
    else wrongType(value, type === 'duration' ? 'a duration such as 10s' : 'text', path, report);
    return;
  }
  if (type === 'duration' && parseDuration(value) === undefined) report.error(path, `"${value}" is no duration`, 'write it as 10s, 250ms or 1h30m');
  if (type === 'regex' || (type === 'regexOrStar' && value !== '*')) checkRegex(value, path, report);
}

/** Repetitions make short ones as dear as long ones. */
const REGEX_COST_LEAST = 128;

/** Compiling one takes up to milliseconds, so they are bounded together. */
export function checkRegex(pattern: string, path: Path, report: Report): void {
  report.regexChars += Math.max(REGEX_COST_LEAST, pattern.length);
  if (report.regexChars > RESOURCE_REGEX_CHARS_MAX) {
    report.error(path, `the regular expressions of this object have more than ${RESOURCE_REGEX_CHARS_MAX} characters together`, 'take it apart');
    return;
  }
  const fault = regexFault(pattern);
  if (fault !== undefined) report.error(path, `the regular expression is not RE2: ${fault}`, 'RE2 has no look-around and no back-references; rewrite it (github.com/google/re2/wiki/Syntax)');
}

function checkNumber(value: unknown, { min, max, whole }: Extract<Schema, { type: 'number' }>, path: Path, report: Report): void {
  if (typeof value !== 'number' || (whole && !Number.isInteger(value))) wrongType(value, whole ? 'a whole number' : 'a number', path, report);
  else if (value < min || value > max) report.error(path, `${value} is out of range`, `use ${min} to ${max}`);
}

function checkEnum(value: unknown, { values, notYet }: Extract<Schema, { type: 'enum' }>, path: Path, report: Report): void {
  if (typeof value === 'string' && values.includes(value)) return;
  if (typeof value === 'string' && notYet.includes(value)) {
    report.warning(path, `"${value}" is not honoured yet`, `it has no effect; these have: ${values.join(', ')}`, 'ORLOP010');
    return;
  }
  report.error(path, `${JSON.stringify(value)} is not one of the values`, `use one of ${values.join(', ')}`);
}

function checkObject(value: unknown, { fields, required }: Extract<Schema, { type: 'object' }>, path: Path, report: Report): void {
  if (!isRecord(value)) {
    wrongType(value, 'an object', path, report);
    return;
  }
  if (!hasRoom(Object.keys(value).length, path, report)) return;
  for (const [key, item] of Object.entries(value)) {
    if (report.isFull) return;
    const schema = Object.hasOwn(fields, key) ? fields[key] : undefined;
    if (schema === undefined) unknownField(key, Object.keys(fields), [...path, key], report);
    else if (item === null) report.warning([...path, key], 'the field is empty, which is as if it were not there', 'give it a value, or remove it', 'ORLOP013');
    else check(item, schema, [...path, key], report);
  }
  for (const key of required) {
    if (value[key] === undefined || value[key] === null) report.error(path, `${key} is missing`, `add ${key}`);
  }
}

function unknownField(key: string, known: readonly string[], path: Path, report: Report): void {
  const near = nearest(key, known);
  report.error(path, `unknown field "${key.slice(0, WORD_CHARS_MAX)}"`, near === undefined ? `known here: ${known.join(', ')}` : `did you mean "${near}"?`, 'IST0106');
}

function wrongType(value: unknown, wanted: string, path: Path, report: Report): void {
  report.error(path, `expected ${wanted}, got ${JSON.stringify(value)?.slice(0, 60)}`, `write ${wanted}`, 'IST0106');
}

/** The value without fields that are null: the Kubernetes API reads them as absent. Places in lists stay as they are. */
export function withoutNulls(value: unknown): unknown {
  return hasNull(value) ? stripped(value) : value;
}

function hasNull(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(hasNull);
  return isRecord(value) && Object.values(value).some((item) => item === null || hasNull(item));
}

function stripped(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(stripped);
  if (!isRecord(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== null).map(([key, item]) => [key, stripped(item)]));
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A longer word is no misspelt name. */
const WORD_CHARS_MAX = 64;

/** The known name that `word` is most likely a misspelling of. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  if (word.length > WORD_CHARS_MAX) return undefined;
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const [a, b] = [word.toLowerCase(), candidate.toLowerCase()];
    // Singular and plural (`retry`, `retries`) are nearer than their letters say.
    const distance = stem(a) === stem(b) ? 1 : editDistance(a, b);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

function stem(word: string): string {
  return word.replace(/(?:ies|y|es|s)$/, '');
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      next[j] = Math.min((row[j] as number) + 1, (next[j - 1] as number) + 1, (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
