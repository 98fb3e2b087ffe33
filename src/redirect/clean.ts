/** Cleaning a network namespace of rules and routes that any agent of ours left there, by hand or before another backend takes over. */
import type { Netns } from '../sys/netns.ts';
import type { Family } from '../sys/sockaddr.ts';
import { findCommand } from './command.ts';
import { chooseVariant, Iptables } from './iptables/apply.ts';
import type { Variant } from './iptables/apply.ts';
import { removeReturnPath } from './return-path.ts';

const FAMILIES: readonly Family[] = [4, 6];

/** Remove Orlop's iptables chains, of either variant. Returns whether there were any. */
export function cleanRules(netns: Netns): boolean {
  return netns.run(() => {
    let found = false;
    for (const variant of variantsInUse()) for (const family of FAMILIES) found = new Iptables(variant, family).cleanup() || found;
    return found;
  });
}

/** Remove everything of Orlop's from a namespace, connections under borrowed addresses or not. BPF programs are removed with their pins. */
export function cleanNetns(netns: Netns): void {
  cleanRules(netns);
  removeReturnPath(netns, { evenIfUsed: true });
}

/** Looking at a legacy table creates it, so only namespaces that have legacy tables are looked at. */
function variantsInUse(): Variant[] {
  const variants: Variant[] = findCommand('iptables-nft-save') === undefined ? [] : ['nft'];
  if (chooseVariant() === 'legacy') variants.push('legacy');
  return variants;
}
