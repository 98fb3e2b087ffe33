/**
 * What an Istio object's `status.conditions` say of it, made from the problems that a snapshot has with it. Every type is always there, and
 * True is good: `Accepted` (nothing is wrong with it by itself), `ResolvedRefs` (what it names is there), `Honored` (all of its fields have their
 * effect), `Programmed` (it is, as it stands, in the configuration that agents compile, and nothing takes its place).
 */
import { inForceInstead, messageOf, notInForce } from './condition-message.ts';
import { contentIn } from './gateway/status-content.ts';
import { record, strings, text } from './parse/json.ts';
import type { Json } from './parse/json.ts';
import type { Problem } from './problem.ts';

export interface Condition {
  readonly type: 'Accepted' | 'ResolvedRefs' | 'Honored' | 'Programmed';
  readonly status: 'True' | 'False' | 'Unknown';
  /** One word, for programs. */
  readonly reason: string;
  readonly message: string;
}

/** What is named is not there, or selects nobody. */
const REFERENCES: ReadonlySet<string> = new Set(['IST0101', 'IST0127', 'KIA0202', 'ORLOP015', 'ORLOP024']);
/** Parts that have no effect here. */
const NOT_HONORED: ReadonlySet<string> = new Set(['ORLOP010', 'ORLOP011', 'ORLOP012', 'ORLOP014', 'ORLOP017', 'ORLOP025', 'ORLOP026']);
const KIND_NOT_HONORED = 'ORLOP011';
/** Another object has what this one claims; the message names it. */
const CONFLICTS: ReadonlySet<string> = new Set(['IST0109', 'KIA0501']);
/** Say what follows from other problems, which are there too. */
const CONSEQUENCES: ReadonlySet<string> = new Set(['ORLOP006', 'ORLOP016']);

/** Of an object, given what a snapshot says against it. */
export function conditionsOf(value: Json, problems: readonly Problem[]): Condition[] {
  const of = (codes: ReadonlySet<string>): Problem[] => problems.filter(({ code }) => codes.has(code));
  const elsewhere = new Set([...REFERENCES, ...NOT_HONORED, ...CONFLICTS, ...CONSEQUENCES]);
  const own = problems.filter(({ code }) => !elsewhere.has(code));
  const faults = own.filter(({ severity }) => severity === 'error');
  const missing = of(REFERENCES);
  const idle = of(NOT_HONORED);
  return [
    faults.length === 0 ? good('Accepted', own) : bad('Accepted', 'Invalid', faults),
    resolved(missing, faults),
    idle.length === 0 ? good('Honored') : bad('Honored', idle.some(({ code }) => code === KIND_NOT_HONORED) ? 'KindNotSupported' : 'FieldNotSupported', idle),
    programmed(value, { faults, missing, idle, conflicts: of(CONFLICTS), all: problems }),
  ];
}

/** A version with faults is not looked at beside other objects: what is known of references is of the one in force. */
function resolved(missing: readonly Problem[], faults: readonly Problem[]): Condition {
  if (faults.length > 0) return { type: 'ResolvedRefs', status: 'Unknown', reason: 'NotChecked', message: 'what a version names is looked for when it has no faults of its own' };
  return missing.length === 0 ? good('ResolvedRefs') : bad('ResolvedRefs', 'RefNotFound', missing);
}

interface Found {
  readonly faults: readonly Problem[];
  readonly missing: readonly Problem[];
  readonly idle: readonly Problem[];
  readonly conflicts: readonly Problem[];
  readonly all: readonly Problem[];
}

function programmed(value: Json, { faults, missing, idle, conflicts, all }: Found): Condition {
  if (faults.length > 0) return notProgrammed('Invalid', notInForce(all));
  if (idle.some(({ code }) => code === KIND_NOT_HONORED)) return notProgrammed('KindNotSupported', 'objects of this kind have no effect');
  // A missing name that the rule can do without is a warning.
  if (missing.some(({ severity }) => severity === 'error')) return notProgrammed('RefNotFound', `${inForceInstead(all)}; elsewhere it is in force as it is written`);
  if (conflicts.length > 0 && takesAll(value, conflicts)) return notProgrammed('Conflicted', messageOf(conflicts));
  return conflicts.length > 0 ? { type: 'Programmed', status: 'True', reason: 'PartlyConflicted', message: messageOf(conflicts) } : good('Programmed');
}

function notProgrammed(reason: string, message: string): Condition {
  return { type: 'Programmed', status: 'False', reason, message };
}

/** Do others have everything that it claims? */
function takesAll(value: Json, conflicts: readonly Problem[]): boolean {
  const spec = record(value['spec']);
  // A VirtualService has conflicts by host, and in the mesh only.
  if (text(value['kind']) !== 'VirtualService') return true;
  return conflicts.length >= strings(spec['hosts']).length && strings(spec['gateways']).every((gateway) => gateway === 'mesh');
}

/** With what there is to know all the same. */
function good(type: Condition['type'], warnings: readonly Problem[] = []): Condition {
  return { type, status: 'True', reason: type, message: messageOf(warnings) };
}

function bad(type: Condition['type'], reason: string, problems: readonly Problem[]): Condition {
  return { type, status: 'False', reason, message: messageOf(problems) };
}

/** The parts of a status to be written; what others say in it stays. `now` is a time of RFC 3339. */
export function statusWith(current: Json, conditions: readonly Condition[], generation: number, now: string): Json {
  return { ...contentIn(current, { conditions }, generation, now), observedGeneration: generation };
}
