/** Rules that claim the same host: in the mesh only the oldest is in force, so the authors of the others are told. */
import { qualify } from './host.ts';
import type { Path } from './parse/document.ts';
import { fieldName } from './field-name.ts';
import { placeOf } from './problem.ts';
import type { Problem } from './problem.ts';
import { objectName } from './resources.ts';
import type { Resource, VirtualServiceSpec } from './resources.ts';
import type { Snapshot } from './snapshot.ts';

type Rule = Resource<VirtualServiceSpec>;

/** `lineOf` finds the line of a field of an object, by its key. */
export function conflictProblems({ virtualServices }: Snapshot, lineOf: (key: string, path: Path) => number): Problem[] {
  const problems: Problem[] = [];
  const claims = new Map<string, Rule[]>();
  // In order of age: whoever comes later finds the host taken.
  for (const rule of virtualServices) {
    if (!(rule.spec.gateways ?? ['mesh']).includes('mesh')) continue;
    for (const [i, host] of (rule.spec.hosts ?? []).entries()) {
      const name = qualify(host, rule.namespace);
      const others = claims.get(name) ?? [];
      claims.set(name, [...others, rule]);
      const winner = others.find((other) => meet(other, rule));
      if (winner === undefined || winner === rule) continue;
      const path = ['spec', 'hosts', i];
      problems.push({
        severity: 'warning', code: 'IST0109', file: rule.file, line: lineOf(`${rule.kind} ${rule.namespace}/${rule.name}`, path), object: objectName(rule), field: fieldName(path),
        message: `"${host}" already belongs to ${whereIs(winner)}, so these routes get no traffic from the mesh`,
        remedy: 'merge the two, or use delegates',
      });
    }
  }
  return problems;
}

/** With the file and line of one that has them: an object of an API server is where it stands. */
function whereIs(rule: Rule): string {
  const [name, place] = [objectName(rule), placeOf(rule)];
  return name === place ? name : `${name} (${place})`;
}

/** Do some clients see both? */
function meet(a: Rule, b: Rule): boolean {
  const [ofA, ofB] = [audience(a), audience(b)];
  return ofA.includes('*') || ofB.includes('*') || ofA.some((namespace) => ofB.includes(namespace));
}

function audience({ spec, namespace }: Rule): string[] {
  return (spec.exportTo ?? ['*']).map((where) => (where === '.' ? namespace : where));
}
