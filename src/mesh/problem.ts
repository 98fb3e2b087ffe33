/** Something wrong with a resource: where it stands, what it is, and what to do about it. */

export type Severity = 'error' | 'warning' | 'info';

export interface Problem {
  readonly severity: Severity;
  /** Istio's analyzer code (IST…) or Kiali's (KIA…) where one exists, else our own (ORLOP…). */
  readonly code: string;
  readonly file: string;
  /** From 1; 0 when the problem is of the whole file. */
  readonly line: number;
  /** `VirtualService bookinfo/reviews`; empty when it is not about one object. */
  readonly object: string;
  /** `spec.http[0].route[1].weight`; empty when it is not about one field. */
  readonly field: string;
  readonly message: string;
  readonly remedy: string;
}

/** `reviews.yaml:17`; without a line, the name alone. */
export function placeOf({ file, line }: { readonly file: string; readonly line: number }): string {
  return line > 0 ? `${file}:${line}` : file;
}

/** `reviews.yaml:17: error [IST0106] VirtualService bookinfo/reviews spec.http[0]: message → remedy` */
export function renderProblem({ severity, code, file, line, object, field, message, remedy }: Problem): string {
  const place = placeOf({ file, line });
  // An object of an API server is where it stands.
  const subject = [object === place ? '' : object, field].filter((part) => part !== '').join(' ');
  return `${place}: ${severity} [${code}] ${subject === '' ? '' : `${subject}: `}${message} → ${remedy}`;
}

/** By the names of objects of an API server, which are the places of their problems. */
export function byObject(problems: readonly Problem[]): ReadonlyMap<string, readonly Problem[]> {
  return Map.groupBy(problems, ({ file }) => file);
}

/** By file, then line: the order in which one works through them. */
export function byPlace(a: Problem, b: Problem): number {
  if (a.file !== b.file) return a.file < b.file ? -1 : 1;
  return a.line - b.line;
}
