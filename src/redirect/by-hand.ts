/** Capture looked at and undone by hand, without an agent: what `orlop redirect` prints and does. */
import { Netns } from '../sys/netns.ts';
import type { Family } from '../sys/sockaddr.ts';
import { cleanNetns } from './clean.ts';
import { allObjectDirectories } from './ebpf/pins.ts';
import { planPod, unsupportedByEbpf } from './ebpf/plan.ts';
import { withEntries } from './ebpf/pod-entries.ts';
import type { Exclusions } from './exclusions.ts';
import { familiesHere } from './families.ts';
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

/**
 * Differences between the capture a pod should have and what is there: in the maps of the agent's programs when they know its
 * namespace, in its rules otherwise.
 */
export function checkByHand(netnsPath: string, exclusions: Exclusions, addresses: readonly string[]): { kind: RedirectKind; drifts: Drift[] } {
  using netns = Netns.open(netnsPath);
  const families = netns.run(familiesHere);
  const programs = directoriesWith(netns);
  const amiss = programs.length > 0
    ? programs.flatMap((directory) => withEntries(directory, (entries, shared) => [...shared.check(), ...entries.compare({ id: netnsPath, netnsPath, addresses, exclusions }, netns)]))
    : netns.run(() => {
        const variant = chooseVariant();
        return families.flatMap((family) => compareRules(netnsPath, family, compileRules(exclusions, family), new Iptables(variant, family).save()));
      });
  const drifts = [...amiss, ...checkReturnPath(netns, families)].map(({ expected, found }) => ({ podId: netnsPath, expected, found }));
  return { kind: programs.length > 0 ? 'ebpf' : 'iptables', drifts };
}

/** Remove every rule, route and setting of ours from a namespace, and the namespace from every agent's programs. Connections that were captured end. */
export function cleanByHand(netnsPath: string): void {
  using netns = Netns.open(netnsPath);
  for (const directory of directoriesWith(netns)) withEntries(directory, (entries) => entries.erase(netns.cookie));
  cleanNetns(netns);
}

/** Pinned programs, of any node, that capture in this namespace. */
function directoriesWith(netns: Netns): string[] {
  return allObjectDirectories().filter((directory) => withEntries(directory, (entries) => entries.has(netns.cookie)));
}
