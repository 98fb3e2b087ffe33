/** Cleaning a network namespace of rules and routes that any agent of ours left there, by hand or before another backend takes over. */
import { existsSync } from 'node:fs';
import { Netns } from '../sys/netns.ts';
import { nftGeneration } from '../sys/netlink.ts';
import type { Family } from '../sys/sockaddr.ts';
import { findCommand } from './command.ts';
import { chooseVariant, Iptables } from './iptables/apply.ts';
import type { Variant } from './iptables/apply.ts';
import { removeReturnPath, returnPathLeft } from './return-path.ts';
import type { ReturnPaths } from './return-path.ts';

const FAMILIES: readonly Family[] = [4, 6];
/** Of nftables in a new network namespace (nf_tables_init_net). */
const FIRST_GENERATION = 1;

/** End the redirection of new connections by rules, of either variant. Returns whether there was any. */
export function disarmRules(netns: Netns): boolean {
  return netns.run(() => inUse().map((iptables) => iptables.disarm()).some(Boolean));
}

/**
 * Remove Orlop's iptables chains from the current namespace, and the hooks of tables that hold nothing any more: they cost
 * every packet a turn through conntrack. Connections that were redirected end.
 */
export function cleanRules(): void {
  for (const iptables of inUse()) {
    iptables.cleanup();
    iptables.dropEmptyTables();
  }
}

/** Remove everything of Orlop's from a namespace, captured connections or not. BPF programs are removed with their pins. */
export function cleanNetns(netns: Netns): void {
  netns.run(cleanRules);
  removeReturnPath(netns);
}

/** Rules of ours in the current namespace, in words. */
export function rulesLeft(): string[] {
  return inUse().filter((iptables) => iptables.hasOurs).map(({ variant, family }) => `iptables-${variant} rules (IPv${family})`);
}

/**
 * End the capture in each namespace, and remove what there is of Orlop's when the connections that were captured are closed: an agent that
 * has handed over may still serve them. A namespace that is gone took with it whatever was in it.
 */
export function releaseAll(netnsPaths: readonly string[], returnPaths: ReturnPaths): void {
  for (const path of netnsPaths.filter((candidate) => existsSync(candidate))) {
    const netns = Netns.open(path);
    const isCaptured = disarmRules(netns);
    if (isCaptured || netns.run(() => [...returnPathLeft(), ...rulesLeft()]).length > 0) returnPaths.release(netns, cleanRules);
    else netns.close();
  }
}

/** Looking at a legacy table creates it, so only namespaces that have legacy tables are looked at; and looking costs two processes. */
function inUse(): Iptables[] {
  const variants: Variant[] = isNftUntouched() || findCommand('iptables-nft-save') === undefined ? [] : ['nft'];
  if (chooseVariant() === 'legacy') variants.push('legacy');
  return variants.flatMap((variant) => FAMILIES.map((family) => new Iptables(variant, family)));
}

/** Has nobody ever written a rule of nftables here? So it is in most pods. */
function isNftUntouched(): boolean {
  return (nftGeneration() ?? FIRST_GENERATION) === FIRST_GENERATION;
}
