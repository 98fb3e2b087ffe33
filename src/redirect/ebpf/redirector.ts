/** Capture by BPF programs: no rules and no conntrack. See bpf/ for what runs in the kernel, pins.ts for where it is kept. */
import { existsSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { ATTACH, linkCreate, linkInfo, mapDelete, mapKeys, mapLookup, mapUpdate, objGet } from '../../sys/bpf.ts';
import type { COUNTERS } from '../../sys/layout.ts';
import { encodeCookie, LAYOUTS } from '../../sys/layout.ts';
import { interfaceIndex, Netns } from '../../sys/netns.ts';
import { ipBytes } from '../../sys/sockaddr.ts';
import type { Family } from '../../sys/sockaddr.ts';
import { closeFd } from '../../sys/socket.ts';
import { cleanNetns, cleanRules, disarmRules } from '../clean.ts';
import type { Exclusions } from '../exclusions.ts';
import type { Drift, OriginalDst, PodListeners, PodTarget, Redirector } from '../redirector.ts';
import { checkReturnPath, removeReturnPath, ReturnPaths } from '../return-path.ts';
import { entries } from './pins.ts';
import { cidrKeys, planPod, podValue, unsupportedByEbpf } from './plan.ts';
import type { PodPlan } from './plan.ts';
import { olderDirectories, Programs, removeDirectory, removeLink, removeNode, repin } from './programs.ts';
import type { ProgramsOptions } from './programs.ts';

interface Enrolled {
  readonly pod: PodTarget;
  readonly listeners: PodListeners;
  readonly netns: Netns;
  readonly families: readonly Family[];
}

/** Value of `cidrs`, which has no meaning. */
const PRESENT = Buffer.from([1]);

export class EbpfRedirector implements Redirector {
  readonly kind = 'ebpf';
  readonly #options: ProgramsOptions;
  readonly #programs: Programs;
  /** Other versions of the programs that still hold pods of an earlier agent. */
  #older: string[];
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
    this.#older = olderDirectories(options.node, this.#programs.directory);
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
      this.#write(enrolled);
      if (disarmRules(netns)) this.#disarmed.add(netns.inode);
      for (const directory of this.#older) forget(directory, netns.cookie);
      this.#pods.get(pod.id)?.netns.close();
      this.#pods.set(pod.id, enrolled);
    } catch (error) {
      netns.close();
      throw error;
    }
    return { kind: 'bpf', mapPath: this.#programs.mapPath('accepted') };
  }

  release(podId: string): void {
    const enrolled = this.#pods.get(podId);
    if (enrolled === undefined) return;
    this.#pods.delete(podId);
    this.#erase(enrolled.netns.cookie);
    const hadRules = this.#disarmed.delete(enrolled.netns.inode);
    this.#returnPaths.release(enrolled.netns, () => hadRules && cleanRules());
  }

  check(podId: string): readonly Drift[] {
    const enrolled = this.#enrolled(podId);
    const amiss = [...this.#programs.check(), ...this.#compare(enrolled), ...checkReturnPath(enrolled.netns, enrolled.families)];
    return amiss.map((difference) => ({ podId, ...difference }));
  }

  repair(podId: string): void {
    const enrolled = this.#enrolled(podId);
    this.#programs.attach();
    this.#returnPaths.install(enrolled.netns, enrolled.families);
    this.#write(enrolled);
  }

  tidy(): void {
    this.#returnPaths.tidy();
  }

  removeLeftovers(netnsPaths: readonly string[]): void {
    for (const directory of this.#older) removeDirectory(directory);
    this.#older = [];
    const enrolled = new Set([...this.#pods.values()].map(({ netns }) => netns.cookie));
    const known = mapKeys(this.#programs.map('pods'), 8).map((key) => key.readBigUInt64LE());
    const linked = entries(`${this.#programs.directory}/pods`).map(BigInt);
    for (const cookie of new Set([...known, ...linked])) if (!enrolled.has(cookie)) this.#erase(cookie);
    for (const path of netnsPaths) {
      using netns = Netns.open(path);
      cleanNetns(netns);
    }
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

  /** `pods` last: the programs act on a pod from the moment it is there, and must find the rest complete. */
  #write({ pod, listeners, netns }: Enrolled): void {
    const { cookie } = netns;
    const plan = planOf(pod, netns);
    erasePrefixes(this.#programs, cookie, cidrKeys(plan, cookie));
    eraseAddresses(this.#programs, cookie, plan.addresses);
    for (const key of cidrKeys(plan, cookie)) mapUpdate(this.#programs.map('cidrs'), key, PRESENT);
    for (const address of plan.addresses) {
      const listener = address.includes(':') ? listeners.inbound[1] : listeners.inbound[0];
      if (listener === undefined) continue;
      const value = Buffer.alloc(8);
      value.writeBigUInt64LE(BigInt(listener));
      mapUpdate(this.#programs.map('listeners'), ipBytes(address), value);
      mapUpdate(this.#programs.map('pod_addresses'), ipBytes(address), encodeCookie(cookie));
    }
    mapUpdate(this.#programs.map('pods'), encodeCookie(cookie), podValue(plan));
    if (linkState(this.#programs.podLinkPath(cookie)) === 'attached') return;
    removeLink(this.#programs.podLinkPath(cookie));
    const link = linkCreate(this.#programs.inbound, netns.fd, ATTACH.skLookup, `the BPF program inbound to ${pod.netnsPath}`);
    try {
      repin(link, this.#programs.podLinkPath(cookie));
    } finally {
      closeFd(link);
    }
  }

  #compare({ pod, netns }: Enrolled): { expected: string; found: string }[] {
    const { cookie } = netns;
    const plan = planOf(pod, netns);
    const amiss: { expected: string; found: string }[] = [];
    const state = linkState(this.#programs.podLinkPath(cookie));
    if (state !== 'attached') amiss.push({ expected: `BPF program inbound attached to ${pod.netnsPath}`, found: state });
    const value = Buffer.alloc(LAYOUTS.pod.size);
    if (!mapLookup(this.#programs.map('pods'), encodeCookie(cookie), value)) amiss.push({ expected: 'an entry in the BPF map pods', found: 'none' });
    else if (!value.equals(podValue(plan))) amiss.push({ expected: 'the pod\'s settings in the BPF map pods', found: 'others' });
    const scratch = Buffer.alloc(8);
    for (const map of ['pod_addresses', 'listeners'] as const) {
      for (const address of plan.addresses) {
        if (!mapLookup(this.#programs.map(map), ipBytes(address), scratch)) amiss.push({ expected: `${address} in the BPF map ${map}`, found: 'none' });
      }
    }
    const missing = cidrKeys(plan, cookie).filter((key) => !mapLookup(this.#programs.map('cidrs'), key, scratch)).length;
    if (missing > 0) amiss.push({ expected: `${plan.cidrs.length} entries in the BPF map cidrs`, found: `${missing} missing` });
    return amiss;
  }

  #erase(cookie: bigint): void {
    erasePod(this.#programs, cookie);
    erasePrefixes(this.#programs, cookie, []);
  }
}

/** Take a pod out of `pods` first, so that the programs leave it alone at once. */
function erasePod(programs: Programs, cookie: bigint): void {
  mapDelete(programs.map('pods'), encodeCookie(cookie));
  removeLink(programs.podLinkPath(cookie));
  eraseAddresses(programs, cookie, []);
}

/** Remove the pod's addresses, and the listeners they lead to, but those in `kept`. */
function eraseAddresses(programs: Programs, cookie: bigint, kept: readonly string[]): void {
  const keptKeys = kept.map(ipBytes);
  const value = Buffer.alloc(8);
  for (const key of mapKeys(programs.map('pod_addresses'), 16)) {
    if (!mapLookup(programs.map('pod_addresses'), key, value) || value.readBigUInt64LE() !== cookie || keptKeys.some((other) => other.equals(key))) continue;
    mapDelete(programs.map('pod_addresses'), key);
    mapDelete(programs.map('listeners'), key);
  }
}

/** Remove the pod's prefixes but those in `kept`. */
function erasePrefixes(programs: Programs, cookie: bigint, kept: readonly Buffer[]): void {
  const { size, fields } = LAYOUTS.cidr;
  for (const key of mapKeys(programs.map('cidrs'), size)) {
    if (key.readBigUInt64LE(fields.netns) === cookie && !kept.some((other) => other.equals(key))) mapDelete(programs.map('cidrs'), key);
  }
}

/** Take a pod from programs of another version, once ours have it. */
function forget(directory: string, cookie: bigint): void {
  const programs = new Programs(directory);
  try {
    erasePod(programs, cookie);
  } finally {
    programs.close();
  }
}

function planOf(pod: PodTarget, netns: Netns): PodPlan {
  return netns.run(() => planPod(pod.exclusions, podAddresses(pod), interfaceIndex));
}

/** The addresses Kubernetes knows, and those the namespace has beside them: a second network, link-local. */
function podAddresses(pod: PodTarget): string[] {
  const found = Object.values(networkInterfaces()).flatMap((list) => list ?? []).filter(({ internal }) => !internal);
  return [...new Set([...pod.addresses, ...found.map(({ address }) => address)])].toSorted();
}

function linkState(path: string): 'attached' | 'detached' | 'no pin' {
  const link = existsSync(path) ? objGet(path) : undefined;
  if (link === undefined) return 'no pin';
  try {
    return linkInfo(link).attached ? 'attached' : 'detached';
  } finally {
    closeFd(link);
  }
}

/** A pod without IPv6 got no listener for it. */
function familiesOf(listeners: PodListeners): Family[] {
  return listeners.inbound.length > 1 ? [4, 6] : [4];
}
