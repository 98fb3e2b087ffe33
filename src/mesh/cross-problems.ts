/** What is wrong between objects, over a whole snapshot: references that lead nowhere, conflicts, and rules that say less than their authors think. */
import { conflictProblems } from './conflicts.ts';
import { gatewayProblems } from './gateway/problems.ts';
import type { Path } from './parse/document.ts';
import { referenceProblems } from './references.ts';
import type { References } from './references.ts';
import { securityProblems } from './security-problems.ts';
import type { Snapshot } from './snapshot.ts';

/** Finds the line of a field of an object, by its key. */
type LineOf = (key: string, path: Path) => number;

export function crossProblems(snapshot: Snapshot, lineOf: LineOf): References {
  const { problems, keys } = trafficProblems(snapshot, lineOf);
  return { problems: [...problems, ...securityProblems(snapshot, lineOf)], keys };
}

/** Of those, what has to do with where traffic goes. */
export function trafficProblems(snapshot: Snapshot, lineOf: LineOf): References {
  const { problems, keys } = referenceProblems(snapshot, lineOf);
  return { problems: [...problems, ...conflictProblems(snapshot, lineOf), ...gatewayProblems(snapshot, lineOf)], keys };
}
