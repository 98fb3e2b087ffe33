import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NO_EXCLUSIONS, parseExclusions } from '../../src/redirect/exclusions.ts';
import type { Exclusions } from '../../src/redirect/exclusions.ts';
import { compareRules } from '../../src/redirect/iptables/check.ts';
import { parseSave, renderCheck, renderCleanup, renderDisarm, renderRestore } from '../../src/redirect/iptables/render.ts';
import type { SavedTables } from '../../src/redirect/iptables/render.ts';
import { compileRules } from '../../src/redirect/iptables/rules.ts';
import type { Table } from '../../src/redirect/iptables/rules.ts';
import { CASES } from './cases.ts';

const NOTHING: SavedTables = new Map();

describe.each(Object.keys(CASES))('rules: %s', (name) => {
  const { exclusions } = parseExclusions(CASES[name] ?? {});
  test.each([4, 6] as const)('IPv%d', async (family) => {
    const tables = compileRules(exclusions, family);
    await expect(renderRestore(tables, NOTHING)).toMatchFileSnapshot(`golden/${name}.v${family}.restore`);
    await expect(`${renderCheck(tables, family === 4 ? 'iptables' : 'ip6tables')}\n`).toMatchFileSnapshot(`golden/${name}.v${family}.check`);
  });
});

test('cleanup takes our chains and jumps, and nothing else', async () => {
  const saved = applied(renderRestore(compileRules(NO_EXCLUSIONS, 4), NOTHING), '*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:ISTIO_OUTPUT - [0:0]\n-A OUTPUT -j ISTIO_OUTPUT\nCOMMIT\n');
  await expect(renderCleanup(saved)).toMatchFileSnapshot('golden/default.v4.cleanup');
  expect(renderDisarm(saved).split('\n').filter((line) => line.startsWith('-D'))).toHaveLength(2);
  expect(renderCleanup(NOTHING)).toBe('');
});

test('rules that are there show no drift; a missing, a changed and an added one do', () => {
  const tables = compileRules(NO_EXCLUSIONS, 4);
  const text = renderRestore(tables, NOTHING);
  expect(compareRules('ns/pod', 4, tables, applied(text))).toEqual([]);
  const found = (changed: string): string[] => compareRules('ns/pod', 4, tables, applied(changed)).map((drift) => `${drift.expected}: ${drift.found}`);
  expect(found(text.replace(/-A OUTPUT .* -j ORLOP_OUTPUT\n/, ''))).toEqual([expect.stringContaining('none')]);
  expect(found(text.replace('-A ORLOP_PREROUTING -i lo -j RETURN', '-A ORLOP_PREROUTING -i lo -j ACCEPT'))).toEqual([expect.stringContaining('"-i lo -j ACCEPT"')]);
  expect(found(text.replace('-A ORLOP_PREROUTING -i lo', '-A ORLOP_PREROUTING -j ACCEPT\n-A ORLOP_PREROUTING -i lo'))).toEqual([expect.stringContaining('"-j ACCEPT"')]);
  expect(found('')).toHaveLength(6);
});

test('applied to whatever is there, the result is the same and stays the same', () => {
  fc.assert(fc.property(fc.array(fc.constantFrom(...restoreLines())), (lines) => {
    const tables = compileRules(NO_EXCLUSIONS, 4);
    const before = parseSave(['*raw', ':OUTPUT ACCEPT [0:0]', '*nat', ':PREROUTING ACCEPT [0:0]', ':OUTPUT ACCEPT [0:0]', ':ORLOP_OUTPUT - [0:0]', ...lines].join('\n'));
    const after = restore(before, renderRestore(tables, before));
    expect(compareRules('ns/pod', 4, tables, after)).toEqual([]);
    expect(restore(after, renderRestore(tables, after))).toEqual(after);
    const cleaned = restore(after, renderCleanup(after));
    expect([...cleaned.values()].flatMap((chains) => [...chains.keys(), ...[...chains.values()].flat()]).filter((text) => text.includes('ORLOP'))).toEqual([]);
  }));
});

test('for any exclusions: every port is excluded by a rule of its own, and no multiport holds more than 15', () => {
  const port = fc.integer({ min: 1, max: 14_000 });
  fc.assert(fc.property(fc.array(port, { maxLength: 60 }), (ports) => {
    const { exclusions } = parseExclusions({ 'orlop.io/exclude-outbound-ports': ports.join() });
    const excluded = new Set<number>();
    for (const match of portLists(compileRules(exclusions, 4), exclusions)) {
      expect(match.reduce((slots, item) => slots + (item.includes(':') ? 2 : 1), 0)).toBeLessThanOrEqual(15);
      for (const item of match) {
        const [from = 0, to = from] = item.split(':').map(Number);
        for (let value = from; value <= to; value += 1) excluded.add(value);
      }
    }
    expect(excluded).toEqual(new Set(ports));
  }));
});

function portLists(tables: readonly Table[], exclusions: Exclusions): string[][] {
  const specs = tables.flatMap((table) => table.rules).filter((rule) => rule.why === 'excluded outbound ports').map((rule) => rule.spec);
  expect(specs.length > 0).toBe(exclusions.excludeOutboundPorts.length > 0);
  return specs.map((spec) => (/--dports? (\S+)/.exec(spec)?.[1] ?? '').split(','));
}

function restoreLines(): string[] {
  return [...renderRestore(compileRules(NO_EXCLUSIONS, 4), NOTHING).split('\n').filter((line) => line.startsWith('-A ') && !line.includes('PREROUTING -')), '-A OUTPUT -j ACCEPT', '-A PREROUTING -j ACCEPT'];
}

function applied(text: string, before = ''): SavedTables {
  return restore(parseSave(before), text);
}

/** What iptables-restore --noflush does, for the commands we use. */
function restore(before: SavedTables, text: string): SavedTables {
  const tables = new Map([...before].map(([name, chains]) => [name, new Map([...chains].map(([chain, specs]) => [chain, [...specs]]))]));
  let chains = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const [command = '', chain = '', ...rest] = line.split(' ');
    const spec = rest.join(' ');
    if (line.startsWith('*')) {
      chains = tables.get(line.slice(1)) ?? new Map([['PREROUTING', []], ['OUTPUT', []]]);
      tables.set(line.slice(1), chains);
    } else if (line.startsWith(':')) chains.set(command.slice(1), []);
    else if (command === '-A') chains.get(chain)?.push(spec);
    else if (command === '-F') chains.set(chain, []);
    else if (command === '-X') expect(chains.delete(chain)).toBe(true);
    else if (command === '-D') {
      const at = chains.get(chain)?.indexOf(spec) ?? -1;
      expect(at, line).toBeGreaterThanOrEqual(0);
      chains.get(chain)?.splice(at, 1);
    }
  }
  return tables;
}
