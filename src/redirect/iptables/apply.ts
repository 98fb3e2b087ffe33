/** iptables' tools of one variant and family, used inside a pod's network namespace. */
import { readFileSync } from 'node:fs';
import { legacyTableInfo, nftGeneration } from '../../sys/netlink.ts';
import type { Family } from '../../sys/sockaddr.ts';
import { CommandError, findCommand, run } from '../command.ts';
import { emptyTables, parseSave, renderCleanup, renderDisarm, renderRestore } from './render.ts';
import type { SavedTables } from './render.ts';
import type { Table } from './rules.ts';

export type Variant = 'nft' | 'legacy';

/** Seconds to wait for another iptables to let go of its lock. */
const LOCK_WAIT_S = '5';

/**
 * The variant to use in the current namespace: the one that has tables there, since rules in both would be run one after
 * the other; nft where neither has.
 */
export function chooseVariant(): Variant {
  const names = ['/proc/thread-self/net/ip_tables_names', '/proc/thread-self/net/ip6_tables_names'];
  const legacyInUse = names.some((path) => readIfThere(path).trim() !== '');
  if (legacyInUse && findCommand('iptables-legacy-restore') !== undefined) return 'legacy';
  return findCommand('iptables-nft-restore') === undefined ? 'legacy' : 'nft';
}

export class Iptables {
  readonly variant: Variant;
  readonly family: Family;

  constructor(variant: Variant, family: Family) {
    this.variant = variant;
    this.family = family;
  }

  /** All tables of the current namespace. */
  save(): SavedTables {
    return parseSave(run(this.#tool('save'), []));
  }

  /**
   * A text that stays the same while nobody changes the rules of the current namespace, got without starting a process;
   * undefined when the kernel gives none. Legacy tables give only their size, so the same text does not prove the same rules.
   */
  fingerprint(): string | undefined {
    if (this.variant === 'nft') return nftGeneration()?.toString();
    const [nat, raw] = [legacyTableInfo(this.family, 'nat'), legacyTableInfo(this.family, 'raw')];
    return nat === undefined || raw === undefined ? undefined : nat + raw;
  }

  /** Make `tables` true; other rules stay. All of a table at once, or nothing of it. */
  apply(tables: readonly Table[]): void {
    this.#restore(renderRestore(tables, this.save()));
  }

  /** Redirect no new connection, and go on translating established ones. Returns whether there was anything to end. */
  disarm(): boolean {
    return this.#restore(renderDisarm(this.save()));
  }

  /** Remove our chains and the jumps to them. Connections that were redirected end. */
  cleanup(): void {
    this.#restore(renderCleanup(this.save()));
  }

  /** Is there anything to clean up? */
  get hasOurs(): boolean {
    return renderCleanup(this.save()) !== '';
  }

  /**
   * Take tables in which nobody has rules or chains off the packets' way: their built-in chains go; iptables leaves the names of the tables, without a hook.
   * Only the nft variant can; the legacy one keeps a table once used.
   */
  dropEmptyTables(): void {
    if (this.variant === 'legacy') return;
    for (const table of emptyTables(this.save())) run(this.#tool(), ['-w', LOCK_WAIT_S, '-t', table, '-X']);
  }

  #restore(text: string): boolean {
    if (text === '') return false;
    run(this.#tool('restore'), ['--noflush', '-w', LOCK_WAIT_S], text);
    return true;
  }

  #tool(suffix?: 'save' | 'restore'): string {
    const base = this.family === 4 ? 'iptables' : 'ip6tables';
    const end = suffix === undefined ? '' : `-${suffix}`;
    const path = findCommand(`${base}-${this.variant}${end}`, `${base}${end}`);
    if (path === undefined) throw new CommandError(`${base}${end} is not installed; install the package iptables, or use --redirect ebpf`);
    return path;
  }
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
