/** Differences between the rules a pod should have and those its namespace holds. Pure. */
import type { Family } from '../../sys/sockaddr.ts';
import type { Drift } from '../redirector.ts';
import { chainsOf, count } from './render.ts';
import type { SavedTables } from './render.ts';
import type { Table } from './rules.ts';

export function compareRules(podId: string, family: Family, tables: readonly Table[], saved: SavedTables): Drift[] {
  const drifts: Drift[] = [];
  const command = family === 4 ? 'iptables' : 'ip6tables';
  for (const table of tables) {
    for (const jump of table.jumps) {
      const found = count(saved, table.name, jump);
      if (found === 1) continue;
      drifts.push({
        podId,
        expected: `${command} -t ${table.name}: one rule "-A ${jump.chain} ${jump.spec}"`,
        found: found === 0 ? 'none' : `${found} of them`,
      });
    }
    for (const chain of chainsOf(table)) {
      const expected = table.rules.filter((rule) => rule.chain === chain).map((rule) => rule.spec);
      const drift = compareChain(expected, saved.get(table.name)?.get(chain));
      if (drift !== undefined) drifts.push({ podId, expected: `${command} -t ${table.name}: chain ${chain} with ${drift.expected}`, found: drift.found });
    }
  }
  return drifts;
}

function compareChain(expected: readonly string[], found: readonly string[] | undefined): { expected: string; found: string } | undefined {
  if (found === undefined) return { expected: `${expected.length} rules`, found: 'no such chain' };
  const at = expected.findIndex((spec, i) => spec !== found[i]);
  if (at >= 0) return { expected: `"${expected[at]}" as rule ${at + 1}`, found: found[at] === undefined ? `only ${found.length} rules` : `"${found[at]}"` };
  if (found.length > expected.length) return { expected: `${expected.length} rules`, found: `${found.length} rules, the first too many "${found[expected.length]}"` };
  return undefined;
}
