/** Capture by iptables: REDIRECT in the pod's own network namespace, original destinations from conntrack. */
import { readFileSync } from 'node:fs';
import { Netns } from '../../sys/netns.ts';
import type { Family } from '../../sys/sockaddr.ts';
import { cleanNetns, cleanRules } from '../clean.ts';
import type { Drift, OriginalDst, PodTarget, Redirector } from '../redirector.ts';
import { checkReturnPath, installReturnPath, removeReturnPath } from '../source-address.ts';
import { chooseVariant, Iptables } from './apply.ts';
import { compareRules } from './check.ts';
import { compileRules } from './rules.ts';
import type { Table } from './rules.ts';

interface Enrolled {
  readonly netns: Netns;
  readonly families: readonly Family[];
  readonly tools: readonly { readonly iptables: Iptables; readonly tables: readonly Table[] }[];
}

export class IptablesRedirector implements Redirector {
  readonly kind = 'iptables';
  readonly #pods = new Map<string, Enrolled>();
  /** Namespaces of released pods whose return path is still in use. */
  readonly #lingering = new Set<Netns>();

  get podIds(): readonly string[] {
    return [...this.#pods.keys()];
  }

  unsupported(): readonly string[] {
    return [];
  }

  enrol(pod: PodTarget): OriginalDst {
    const netns = Netns.open(pod.netnsPath);
    try {
      const enrolled = describe(netns, pod);
      install(enrolled);
      this.#pods.get(pod.id)?.netns.close();
      this.#pods.set(pod.id, enrolled);
    } catch (error) {
      netns.close();
      throw error;
    }
    return { kind: 'conntrack' };
  }

  release(podId: string): void {
    const enrolled = this.#pods.get(podId);
    if (enrolled === undefined) return;
    this.#pods.delete(podId);
    cleanRules(enrolled.netns);
    this.#lingering.add(enrolled.netns);
    this.tidy();
  }

  check(podId: string): readonly Drift[] {
    const enrolled = this.#enrolled(podId);
    const rules = enrolled.netns.run(() =>
      enrolled.tools.flatMap(({ iptables, tables }) => compareRules(podId, iptables.family, tables, iptables.save())));
    return [...rules, ...checkReturnPath(enrolled.netns, enrolled.families).map((missing) => ({ podId, ...missing }))];
  }

  repair(podId: string): void {
    install(this.#enrolled(podId));
  }

  tidy(): void {
    for (const netns of this.#lingering) {
      if (!removeReturnPath(netns, { evenIfUsed: false })) continue;
      netns.close();
      this.#lingering.delete(netns);
    }
  }

  removeLeftovers(netnsPaths: readonly string[]): void {
    for (const path of netnsPaths) {
      using netns = Netns.open(path);
      cleanNetns(netns);
    }
  }

  close(options: { keep: boolean }): void {
    for (const netns of [...this.#lingering, ...[...this.#pods.values()].map((enrolled) => enrolled.netns)]) {
      if (!options.keep) cleanNetns(netns);
      netns.close();
    }
    this.#lingering.clear();
    this.#pods.clear();
  }

  #enrolled(podId: string): Enrolled {
    const enrolled = this.#pods.get(podId);
    if (enrolled === undefined) throw new Error(`${podId} is not enrolled`);
    return enrolled;
  }
}

function describe(netns: Netns, pod: PodTarget): Enrolled {
  return netns.run(() => {
    const families: Family[] = ipv6Enabled() ? [4, 6] : [4];
    const variant = chooseVariant();
    return {
      netns,
      families,
      tools: families.map((family) => ({ iptables: new Iptables(variant, family), tables: compileRules(pod.exclusions, family) })),
    };
  });
}

/** The return path first: a captured connection must find it there. */
function install({ netns, families, tools }: Enrolled): void {
  installReturnPath(netns, families);
  netns.run(() => {
    for (const { iptables, tables } of tools) iptables.apply(tables);
  });
}

/** Is IPv6 on for the current namespace's loopback? A pod without it has no IPv6 traffic to capture, and no listener for it. */
function ipv6Enabled(): boolean {
  try {
    return readFileSync('/proc/sys/net/ipv6/conf/lo/disable_ipv6', 'utf8').trim() === '0';
  } catch {
    return false;
  }
}
