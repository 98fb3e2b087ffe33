/** Capture by iptables: REDIRECT in the pod's own network namespace, original destinations from conntrack. */
import { Netns } from '../../sys/netns.ts';
import type { Family } from '../../sys/sockaddr.ts';
import { cleanNetns, cleanRules, releaseAll } from '../clean.ts';
import type { EarlierPrograms } from '../ebpf/earlier-programs.ts';
import { familiesHere } from '../families.ts';
import type { Drift, OriginalDst, PodTarget, Redirector } from '../redirector.ts';
import { checkReturnPath, ReturnPaths } from '../return-path.ts';
import { chooseVariant, Iptables } from './apply.ts';
import { compareRules } from './check.ts';
import { compileRules } from './rules.ts';
import type { Table } from './rules.ts';

interface Enrolled {
  readonly netns: Netns;
  readonly families: readonly Family[];
  readonly tools: readonly Tool[];
}

interface Tool {
  readonly iptables: Iptables;
  readonly tables: readonly Table[];
  /** Fingerprint of the rules when they were last found right, and how often it has stood for them since. */
  seen: string | undefined;
  timesTrusted: number;
}

/** Checks in which an unchanged size of legacy tables may stand for unchanged rules. */
const TRUST_MAX = 10;

export class IptablesRedirector implements Redirector {
  readonly kind = 'iptables';
  readonly #pods = new Map<string, Enrolled>();
  readonly #returnPaths: ReturnPaths;
  readonly #earlier: EarlierPrograms | undefined;

  /**
   * Redirectors of one node share their return paths, so that a pod may pass from one to another. `earlier`: what captures the
   * node's pods until this one does.
   */
  constructor(returnPaths: ReturnPaths = new ReturnPaths(), earlier?: EarlierPrograms) {
    this.#returnPaths = returnPaths;
    this.#earlier = earlier;
  }

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
      this.#install(enrolled);
      this.#earlier?.letGo(netns);
      this.#pods.get(pod.id)?.netns.close();
      this.#pods.set(pod.id, enrolled);
    } catch (error) {
      netns.close();
      throw error;
    }
    return { kind: 'conntrack' };
  }

  release(podId: string, served?: Promise<void>): void {
    const enrolled = this.#pods.get(podId);
    if (enrolled === undefined) return;
    this.#pods.delete(podId);
    enrolled.netns.run(() => {
      for (const { iptables } of enrolled.tools) iptables.disarm();
    });
    this.#returnPaths.release(enrolled.netns, cleanRules, served);
  }

  check(podId: string): readonly Drift[] {
    const enrolled = this.#enrolled(podId);
    const rules = enrolled.netns.run(() => enrolled.tools.flatMap((tool) => checkRules(podId, tool)));
    return [...rules, ...checkReturnPath(enrolled.netns, enrolled.families).map((missing) => ({ podId, ...missing }))];
  }

  repair(podId: string): void {
    this.#install(this.#enrolled(podId));
  }

  tidy(): void {
    this.#returnPaths.tidy();
  }

  removeLeftovers(netnsPaths: readonly string[]): void {
    this.#earlier?.remove();
    releaseAll(netnsPaths, this.#returnPaths);
  }

  close(options: { keep: boolean }): void {
    if (!options.keep) this.#earlier?.remove();
    for (const { netns } of this.#pods.values()) {
      if (!options.keep) cleanNetns(netns);
      netns.close();
    }
    this.#pods.clear();
    this.#returnPaths.close(options);
  }

  /** The return path first: a captured connection must find it there. */
  #install({ netns, families, tools }: Enrolled): void {
    this.#returnPaths.install(netns, families);
    netns.run(() => {
      for (const { iptables, tables } of tools) iptables.apply(tables);
    });
  }

  #enrolled(podId: string): Enrolled {
    const enrolled = this.#pods.get(podId);
    if (enrolled === undefined) throw new Error(`${podId} is not enrolled`);
    return enrolled;
  }
}

function describe(netns: Netns, pod: PodTarget): Enrolled {
  return netns.run(() => {
    const families = familiesHere();
    const variant = chooseVariant();
    return {
      netns,
      families,
      tools: families.map((family) => ({ iptables: new Iptables(variant, family), tables: compileRules(pod.exclusions, family), seen: undefined, timesTrusted: 0 })),
    };
  });
}

/** iptables-save costs milliseconds, so it is asked only when the rules may have changed since they were right. */
function checkRules(podId: string, tool: Tool): Drift[] {
  const now = tool.iptables.fingerprint();
  const isProof = tool.iptables.variant === 'nft' || tool.timesTrusted < TRUST_MAX;
  if (now !== undefined && now === tool.seen && isProof) {
    tool.timesTrusted += 1;
    return [];
  }
  const drifts = compareRules(podId, tool.iptables.family, tool.tables, tool.iptables.save());
  tool.seen = drifts.length === 0 ? now : undefined;
  tool.timesTrusted = 0;
  return drifts;
}
