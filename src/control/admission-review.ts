/** What an API server asks before it stores an object (admission.k8s.io/v1 AdmissionReview), and the answer. */
import type { ApiObject } from '../kube/api-client.ts';
import type { Admission } from '../mesh/admission.ts';
import { record } from '../mesh/parse/json.ts';
import { isRecord } from '../mesh/parse/schema.ts';
import type { Problem } from '../mesh/problem.ts';
import { renderProblem } from '../mesh/problem.ts';

export interface Review {
  readonly uid: string;
  readonly object: ApiObject;
  /** As it is stored; undefined: it is new. */
  readonly stored: ApiObject | undefined;
}

/** A request that is no review; the message says why. */
export class BadReview extends Error {}

const API_VERSION = 'admission.k8s.io/v1';
const OPERATIONS: readonly unknown[] = ['CREATE', 'UPDATE'];

/** Faults, and warnings, that one answer lists. Whoever sees so many begins with the first. */
const LISTED_MAX = 16;
/** A warning is a line on a terminal; API servers cut longer ones. */
const WARNING_CHARS_MAX = 256;
/** Names of fields may be of any length. */
const REFUSAL_CHARS_MAX = 1024;

/** Throws a {@link BadReview}. */
export function readReview(body: string): Review {
  const { apiVersion, kind, request } = parse(body);
  if (apiVersion !== API_VERSION || kind !== 'AdmissionReview') throw new BadReview(`expected an AdmissionReview of ${API_VERSION}`);
  const { uid, operation, object, oldObject } = record(request);
  if (typeof uid !== 'string' || uid === '') throw new BadReview('request.uid is missing');
  if (!OPERATIONS.includes(operation)) throw new BadReview('request.operation is neither CREATE nor UPDATE, and nothing else is judged here');
  if (!isRecord(object)) throw new BadReview('request.object is missing');
  if (operation === 'UPDATE' && !isRecord(oldObject)) throw new BadReview('request.oldObject is missing');
  return { uid, object, stored: isRecord(oldObject) ? oldObject : undefined };
}

function parse(body: string): ApiObject {
  try {
    return record(JSON.parse(body));
  } catch {
    throw new BadReview('the body is no JSON');
  }
}

export function answerTo({ uid }: Review, { refusals, warnings }: Admission): ApiObject {
  const status = refusals.length === 0 ? {} : { status: { code: 422, reason: 'Invalid', message: listed(refusals.map((problem) => cut(renderProblem(problem), REFUSAL_CHARS_MAX))).join('\n') } };
  const told = warnings.length === 0 ? {} : { warnings: listed(warnings.map(warning)) };
  return { apiVersion: API_VERSION, kind: 'AdmissionReview', response: { uid, allowed: refusals.length === 0, ...status, ...told } };
}

/** Without the word: whoever shows it says so. */
function warning(problem: Problem): string {
  const { object, field, message, remedy, code } = problem;
  return cut(`${[object, field].filter((part) => part !== '').join(' ')}: ${message} → ${remedy} [${code}]`.replaceAll('\n', ' '), WARNING_CHARS_MAX);
}

function cut(line: string, charsMax: number): string {
  return line.length > charsMax ? `${line.slice(0, charsMax - 1)}…` : line;
}

function listed(lines: readonly string[]): string[] {
  return lines.length > LISTED_MAX ? [...lines.slice(0, LISTED_MAX), 'and more'] : [...lines];
}
