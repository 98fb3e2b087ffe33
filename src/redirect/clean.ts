/** Cleaning a network namespace of rules and routes that any agent of ours left there, by hand or before another backend takes over. */
import type { Netns } from '../sys/netns.ts';
import type { Family } from '../sys/sockaddr.ts';
import { findCommand } from './command.ts';
import { chooseVariant, Iptables } from './iptables/apply.ts';
import type { Variant } from './iptables/apply.ts';
import { removeReturnPath } from './return-path.ts';

const FAMILIES: readonly Family[] = [4, 6];

/** Remove Orlop's iptables chains, of either variant. Connections they redirected go on while the emptied tables stay. */
export function cleanRules(netns: Netns): void {
  netns.run(() => {
    for (const iptables of inUse()) iptables.cleanup();
  });
}

/** Remove tables of the current namespace that hold nothing any more; their hooks cost every packet a turn through conntrack. */
export function dropEmptyTables(): void {
  for (const iptables of inUse()) iptables.dropEmptyTables();
}

/** Remove everything of Orlop's from a namespace, captured connections or not. BPF programs are removed with their pins. */
export function cleanNetns(netns: Netns): void {
  cleanRules(netns);
  netns.run(dropEmptyTables);
  removeReturnPath(netns);
}

/** Looking at a legacy table creates it, so only namespaces that have legacy tables are looked at. */
function inUse(): Iptables[] {
  const variants: Variant[] = findCommand('iptables-nft-save') === undefined ? [] : ['nft'];
  if (chooseVariant() === 'legacy') variants.push('legacy');
  return variants.flatMap((variant) => FAMILIES.map((family) => new Iptables(variant, family)));
}
