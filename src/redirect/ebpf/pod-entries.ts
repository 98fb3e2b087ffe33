/** One pod in the maps of one set of programs: written, compared, erased. */
import { existsSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { ATTACH, linkCreate, linkInfo, mapDelete, mapKeys, mapLookup, mapUpdate, objGet } from '../../sys/bpf.ts';
import { encodeCookie, LAYOUTS } from '../../sys/layout.ts';
import { interfaceIndex } from '../../sys/netns.ts';
import type { Netns } from '../../sys/netns.ts';
import { ipBytes } from '../../sys/sockaddr.ts';
import { closeFd } from '../../sys/socket.ts';
import type { PodListeners, PodTarget } from '../redirector.ts';
import { entries } from './pins.ts';
import { cidrKeys, planPod, podValue } from './plan.ts';
import type { PodPlan } from './plan.ts';
import { Programs, removeLink, repin } from './programs.ts';

/** Value of `cidrs`, which has no meaning. */
const PRESENT = Buffer.from([1]);

export class PodEntries {
  readonly #programs: Programs;

  constructor(programs: Programs) {
    this.#programs = programs;
  }

  /** `pods` last: the programs act on a pod from the moment it is there, and must find the rest complete. */
  write(pod: PodTarget, listeners: PodListeners, netns: Netns): void {
    const { cookie } = netns;
    const plan = planOf(pod, netns);
    const keys = cidrKeys(plan, cookie);
    this.#erasePrefixes(cookie, keys);
    this.#eraseAddresses(cookie, plan.addresses);
    for (const key of keys) mapUpdate(this.#programs.map('cidrs'), key, PRESENT);
    for (const address of plan.addresses) this.#writeAddress(address, listeners, cookie);
    mapUpdate(this.#programs.map('pods'), encodeCookie(cookie), podValue(plan));
    this.#attach(netns);
  }

  /** What is amiss with a pod's entries, as pairs of what should be and what is. */
  compare(pod: PodTarget, netns: Netns): { expected: string; found: string }[] {
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

  has(cookie: bigint): boolean {
    return mapLookup(this.#programs.map('pods'), encodeCookie(cookie), Buffer.alloc(LAYOUTS.pod.size));
  }

  /** Cookies of all pods that have an entry or a link. */
  cookies(): Set<bigint> {
    const known = mapKeys(this.#programs.map('pods'), 8).map((key) => key.readBigUInt64LE());
    return new Set([...known, ...entries(this.#programs.podLinksDirectory).map(BigInt)]);
  }

  /** Out of `pods` first, so that the programs leave the pod alone at once. */
  erase(cookie: bigint): void {
    mapDelete(this.#programs.map('pods'), encodeCookie(cookie));
    removeLink(this.#programs.podLinkPath(cookie));
    this.#eraseAddresses(cookie, []);
    this.#erasePrefixes(cookie, []);
  }

  /** An address whose family has no listener is not captured: the pod has that family switched off on loopback. */
  #writeAddress(address: string, listeners: PodListeners, cookie: bigint): void {
    const listener = address.includes(':') ? listeners.inbound[1] : listeners.inbound[0];
    if (listener === undefined) return;
    const value = Buffer.alloc(8);
    value.writeBigUInt64LE(BigInt(listener));
    mapUpdate(this.#programs.map('listeners'), ipBytes(address), value);
    mapUpdate(this.#programs.map('pod_addresses'), ipBytes(address), encodeCookie(cookie));
  }

  #attach(netns: Netns): void {
    const path = this.#programs.podLinkPath(netns.cookie);
    if (linkState(path) === 'attached') return;
    removeLink(path);
    const link = linkCreate(this.#programs.inbound, netns.fd, ATTACH.skLookup, `the BPF program inbound to ${netns.path}`);
    try {
      repin(link, path);
    } finally {
      closeFd(link);
    }
  }

  /** Remove the pod's addresses, and the listeners they lead to, but those in `kept`. */
  #eraseAddresses(cookie: bigint, kept: readonly string[]): void {
    const keptKeys = new Set(kept.map((address) => ipBytes(address).toString('hex')));
    const value = Buffer.alloc(8);
    for (const key of mapKeys(this.#programs.map('pod_addresses'), 16)) {
      if (keptKeys.has(key.toString('hex')) || !mapLookup(this.#programs.map('pod_addresses'), key, value) || value.readBigUInt64LE() !== cookie) continue;
      mapDelete(this.#programs.map('pod_addresses'), key);
      mapDelete(this.#programs.map('listeners'), key);
    }
  }

  /** Remove the pod's prefixes but those in `kept`. */
  #erasePrefixes(cookie: bigint, kept: readonly Buffer[]): void {
    const { size, fields } = LAYOUTS.cidr;
    const keptKeys = new Set(kept.map((key) => key.toString('hex')));
    for (const key of mapKeys(this.#programs.map('cidrs'), size)) {
      if (key.readBigUInt64LE(fields.netns) === cookie && !keptKeys.has(key.toString('hex'))) mapDelete(this.#programs.map('cidrs'), key);
    }
  }
}

/** Use the programs pinned in `directory`, of whichever version, for one call. */
export function withEntries<T>(directory: string, fn: (entries: PodEntries, programs: Programs) => T): T {
  const programs = new Programs(directory);
  try {
    return fn(new PodEntries(programs), programs);
  } finally {
    programs.close();
  }
}

function planOf(pod: PodTarget, netns: Netns): PodPlan {
  return netns.run(() => planPod(pod.exclusions, podAddresses(pod), interfaceIndex));
}

/** The addresses Kubernetes knows, and those the namespace has beside them: of a second network, or on loopback. */
function podAddresses(pod: PodTarget): string[] {
  const found = Object.values(networkInterfaces()).flatMap((list) => list ?? []).map(({ address }) => address);
  return [...new Set([...pod.addresses, ...found])].filter((address) => !address.startsWith('127.') && address !== '::1').toSorted();
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
