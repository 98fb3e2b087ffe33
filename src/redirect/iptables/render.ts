/** Text for iptables-restore, for `iptables -C`, and for undoing it all, made of rules and of what a namespace holds now. */
import { CHAIN_PREFIX } from './rules.ts';
import type { Rule, Table } from './rules.ts';

/** What iptables-save said: per table its chains and, per chain, its rules in order. */
export type SavedTables = ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;

export function parseSave(text: string): SavedTables {
  const tables = new Map<string, Map<string, string[]>>();
  let chains = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) tables.set(line.slice(1), chains = new Map());
    else if (line.startsWith(':')) chains.set(line.slice(1, line.indexOf(' ')), []);
    else if (line.startsWith('-A ')) {
      const end = line.indexOf(' ', 3);
      chains.get(line.slice(3, end))?.push(line.slice(end + 1));
    }
  }
  return tables;
}

/**
 * Input of `iptables-restore --noflush` that makes `tables` true, whatever is there now: naming a chain of ours empties it,
 * jumps are added when missing and reduced to one when doubled. Other rules are not touched.
 */
export function renderRestore(tables: readonly Table[], saved: SavedTables): string {
  return tables.map((table) => [
    `*${table.name}`,
    ...chainsOf(table).map((chain) => `:${chain} - [0:0]`),
    ...table.jumps.flatMap((jump) => mendJump(jump, count(saved, table.name, jump))),
    ...table.rules.map((rule) => `-A ${rule.chain} ${rule.spec}`),
    'COMMIT',
    '',
  ].join('\n')).join('');
}

/** One `iptables -C` per rule, for a person to paste. */
export function renderCheck(tables: readonly Table[], command: string): string {
  return tables.flatMap((table) => [...table.jumps, ...table.rules].map((rule) => `${command} -t ${table.name} -C ${rule.chain} ${rule.spec}`)).join('\n');
}

/**
 * Input of `iptables-restore --noflush` that ends the redirection of new connections: the jumps of the nat table go. The
 * chains stay, since the kernel translates established connections only while some rule of the namespace needs conntrack.
 */
export function renderDisarm(saved: SavedTables): string {
  const jumps = jumpsIn(saved.get('nat') ?? new Map());
  return jumps.length === 0 ? '' : ['*nat', ...jumps, 'COMMIT', ''].join('\n');
}

/** Input of `iptables-restore --noflush` that removes every chain of ours and every jump to one; empty when there is none. */
export function renderCleanup(saved: SavedTables): string {
  const text: string[] = [];
  for (const [table, chains] of saved) {
    const own = [...chains.keys()].filter(isOwn);
    const jumps = jumpsIn(chains);
    if (own.length === 0 && jumps.length === 0) continue;
    text.push(`*${table}`, ...jumps, ...own.map((chain) => `-F ${chain}`), ...own.map((chain) => `-X ${chain}`), 'COMMIT', '');
  }
  return text.join('\n');
}

/** Tables with neither rules nor chains of anybody, in which only the kernel's empty chains are left. */
export function emptyTables(saved: SavedTables): string[] {
  return [...saved].filter(([, chains]) => [...chains].every(([chain, specs]) => BUILT_IN.has(chain) && specs.length === 0)).map(([table]) => table);
}

export function chainsOf(table: Table): string[] {
  return [...new Set(table.rules.map((rule) => rule.chain))];
}

/** How often `rule` stands in its chain. */
export function count(saved: SavedTables, table: string, rule: Rule): number {
  return saved.get(table)?.get(rule.chain)?.filter((spec) => spec === rule.spec).length ?? 0;
}

const BUILT_IN = new Set(['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING']);

/** Commands that remove the jumps to our chains. */
function jumpsIn(chains: ReadonlyMap<string, readonly string[]>): string[] {
  return [...chains].filter(([chain]) => !isOwn(chain)).flatMap(([chain, specs]) => specs.filter(jumpsToOwn).map((spec) => `-D ${chain} ${spec}`));
}

function isOwn(chain: string): boolean {
  return chain.startsWith(CHAIN_PREFIX);
}

function jumpsToOwn(spec: string): boolean {
  return spec.includes(`-j ${CHAIN_PREFIX}`);
}

function mendJump(jump: Rule, present: number): string[] {
  if (present === 0) return [`-A ${jump.chain} ${jump.spec}`];
  return Array.from({ length: present - 1 }, () => `-D ${jump.chain} ${jump.spec}`);
}
