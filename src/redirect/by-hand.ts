/** Capture looked at and undone by hand, without an agent: what `orlop redirect` prints and does. */
import { Netns } from '../sys/netns.ts';
import type { Family } from '../sys/sockaddr.ts';
import { cleanNetns } from './clean.ts';
import { planPod, unsupportedByEbpf } from './ebpf/plan.ts';
import type { Exclusions } from './exclusions.ts';
import { chooseVariant, Iptables } from './iptables/apply.ts';
import { compareRules } from './iptables/check.ts';
import { renderRestore } from './iptables/render.ts';
import { compileRules } from './iptables/rules.ts';
import type { Drift, RedirectKind } from './redirector.ts';
import { checkReturnPath } from './return-path.ts';

const FAMILIES: readonly Family[] = [4, 6];

/** What would be done to a pod, as text: input of iptables-restore, or the entries of the BPF maps. Nothing is applied. */
export function renderPod(kind: RedirectKind, exclusions: Exclusions, addresses: readonly string[]): string {
  return kind === 'iptables' ? renderRules(exclusions) : renderPlan(exclusions, addresses);
}

function renderRules(exclusions: Exclusions): string {
  return FAMILIES.map((family) => {
    const tables = compileRules(exclusions, family);
    const reasons = tables.flatMap(({ name, jumps, rules }) => [...jumps, ...rules].map(({ chain, spec, why }) => `#   ${name}  -A ${chain} ${spec}\n#       ${why}\n`)).join('');
    const tool = family === 4 ? 'iptables-restore' : 'ip6tables-restore';
    return `# ${tool} --noflush, in the pod's network namespace\n${renderRestore(tables, new Map())}\n# why:\n${reasons}`;
  }).join('\n');
}

function renderPlan(exclusions: Exclusions, addresses: readonly string[]): string {
  const refused = unsupportedByEbpf(exclusions);
  if (refused.length > 0) return refused.map((reason) => `# not with eBPF: ${reason}\n`).join('');
  const plan = planPod(exclusions, addresses, () => undefined);
  return `# entries of the BPF maps for this pod, keyed by the cookie of its network namespace\n${JSON.stringify(plan, undefined, 2)}\n`;
}

/** Differences between the rules a pod should have and those in its namespace. */
export function checkByHand(netnsPath: string, exclusions: Exclusions): Drift[] {
  using netns = Netns.open(netnsPath);
  const rules = netns.run(() => {
    const variant = chooseVariant();
    return FAMILIES.flatMap((family) => compareRules(netnsPath, family, compileRules(exclusions, family), new Iptables(variant, family).save()));
  });
  return [...rules, ...checkReturnPath(netns, FAMILIES).map((missing) => ({ podId: netnsPath, ...missing }))];
}

/** Remove every rule, route and setting of ours from a namespace. Connections that were captured end. */
export function cleanByHand(netnsPath: string): void {
  using netns = Netns.open(netnsPath);
  cleanNetns(netns);
}
