/** What is wrong between objects, over a whole snapshot: references that lead nowhere, conflicts, and rules that say less than their authors think. */
import { conflictProblems } from './conflicts.ts';
import type { Path } from './parse/document.ts';
import { referenceProblems } from './references.ts';
import type { References } from './references.ts';
import { securityProblems } from './security-problems.ts';
import type { Snapshot } from './snapshot.ts';

/** `lineOf` finds the line of a field of an object, by its key. */
export function crossProblems(snapshot: Snapshot, lineOf: (key: string, path: Path) => number): References {
  const { problems, keys } = referenceProblems(snapshot, lineOf);
  return { problems: [...problems, ...conflictProblems(snapshot, lineOf), ...securityProblems(snapshot, lineOf)], keys };
}
