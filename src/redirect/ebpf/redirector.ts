/** Capture by BPF programs: no rules and no conntrack. See bpf/ for what runs in the kernel, pins.ts for where it is kept. */
import type { COUNTERS } from '../../sys/layout.ts';
import { Netns } from '../../sys/netns.ts';
import type { Family } from '../../sys/sockaddr.ts';
import { cleanRules, disarmRules, releaseAll } from '../clean.ts';
import type { Exclusions } from '../exclusions.ts';
import type { Drift, OriginalDst, PodListeners, PodTarget, Redirector } from '../redirector.ts';
import { checkReturnPath, removeReturnPath, ReturnPaths } from '../return-path.ts';
import { EarlierPrograms } from './earlier-programs.ts';
import { unsupportedByEbpf } from './plan.ts';
import { PodEntries } from './pod-entries.ts';
import { Programs, removeNode } from './programs.ts';
import type { ProgramsOptions } from './programs.ts';

interface Enrolled {
  readonly pod: PodTarget;
  readonly listeners: PodListeners;
  readonly netns: Netns;
  readonly families: readonly Family[];
}

export class EbpfRedirector implements Redirector {
  readonly kind = 'ebpf';
  readonly #options: ProgramsOptions;
  readonly #programs: Programs;
  readonly #entries: PodEntries;
  readonly #earlier: EarlierPrograms;
  readonly #pods = new Map<string, Enrolled>();
  readonly #returnPaths: ReturnPaths;
  /** Namespaces (by inode) that hold disarmed rules of the other backend, for the connections made while they were in force. */
  readonly #disarmed = new Set<bigint>();

  /**
   * Loads and attaches the programs, or adopts those of an earlier agent of the node. Redirectors of one node share their
   * return paths, so that a pod may pass from one to another.
   */
  constructor(options: ProgramsOptions, returnPaths: ReturnPaths = new ReturnPaths()) {
    this.#returnPaths = returnPaths;
    this.#options = options;
    this.#programs = Programs.open(options);
    this.#entries = new PodEntries(this.#programs);
    this.#earlier = new EarlierPrograms(options.node, this.#programs.directory);
  }

  get podIds(): readonly string[] {
    return [...this.#pods.keys()];
  }

  /** How often the programs had to leave a connection alone, lost its destination, or refused it. */
  counters(): Record<(typeof COUNTERS)[number], number> {
    return this.#programs.counters();
  }

  unsupported(exclusions: Exclusions): readonly string[] {
    return unsupportedByEbpf(exclusions);
  }

  enrol(pod: PodTarget, listeners: PodListeners): OriginalDst {
    const netns = Netns.open(pod.netnsPath);
    try {
      const enrolled = { pod, listeners, netns, families: familiesOf(listeners) };
      this.#returnPaths.install(netns, enrolled.families);
      this.#entries.write(pod, listeners, netns);
      if (disarmRules(netns)) this.#disarmed.add(netns.inode);
      // Programs of another version let go of the pod once ours have it.
      this.#earlier.letGo(netns);
      this.#pods.get(pod.id)?.netns.close();
      this.#pods.set(pod.id, enrolled);
    } catch (error) {
      netns.close();
      throw error;
    }
    return { kind: 'bpf', mapPath: this.#programs.mapPath('accepted') };
  }

  release(podId: string, served?: Promise<void>): void {
    const enrolled = this.#pods.get(podId);
    if (enrolled === undefined) return;
    this.#pods.delete(podId);
    this.#entries.erase(enrolled.netns.cookie);
    const hadRules = this.#disarmed.delete(enrolled.netns.inode);
    this.#returnPaths.release(enrolled.netns, () => hadRules && cleanRules(), served);
  }

  check(podId: string): readonly Drift[] {
    const enrolled = this.#enrolled(podId);
    const amiss = [...this.#programs.check(), ...this.#entries.compare(enrolled.pod, enrolled.netns), ...checkReturnPath(enrolled.netns, enrolled.families)];
    return amiss.map((difference) => ({ podId, ...difference }));
  }

  repair(podId: string): void {
    const enrolled = this.#enrolled(podId);
    this.#programs.attach();
    this.#returnPaths.install(enrolled.netns, enrolled.families);
    this.#entries.write(enrolled.pod, enrolled.listeners, enrolled.netns);
  }

  tidy(): void {
    this.#returnPaths.tidy();
  }

  removeLeftovers(netnsPaths: readonly string[]): void {
    this.#earlier.remove();
    const enrolled = new Set([...this.#pods.values()].map(({ netns }) => netns.cookie));
    for (const cookie of this.#entries.cookies()) if (!enrolled.has(cookie)) this.#entries.erase(cookie);
    releaseAll(netnsPaths, this.#returnPaths);
  }

  close(options: { keep: boolean }): void {
    if (!options.keep) removeNode(this.#options.node);
    for (const { netns } of this.#pods.values()) {
      if (!options.keep) removeReturnPath(netns);
      if (!options.keep && this.#disarmed.has(netns.inode)) netns.run(cleanRules);
      netns.close();
    }
    this.#returnPaths.close(options);
    this.#pods.clear();
    this.#programs.close();
  }

  #enrolled(podId: string): Enrolled {
    const enrolled = this.#pods.get(podId);
    if (enrolled === undefined) throw new Error(`${podId} is not enrolled`);
    return enrolled;
  }
}

/** A pod without IPv6 got no listener for it. */
function familiesOf(listeners: PodListeners): Family[] {
  return listeners.inbound.length > 1 ? [4, 6] : [4];
}
