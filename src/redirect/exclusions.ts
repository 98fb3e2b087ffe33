/**
 * What of a pod's traffic its annotations keep out of the mesh, in Orlop's own words or in those a pod brings along from
 * Istio, Linkerd or Kuma. What cannot be understood is a problem with a remedy, never silently dropped; the rest still counts.
 */
import ipaddr from 'ipaddr.js';
import { EXCLUSION_ENTRIES_MAX } from '../core/limits.ts';
import { OWN_PORTS } from './ports.ts';
import { mergeRanges, parseRange, rangesInclude } from './ranges.ts';
import type { Range } from './ranges.ts';

export interface OwnerExclusion {
  readonly ids: readonly Range[];
  readonly ports: readonly Range[];
}

/** Lists are merged and in ascending order; CIDRs are network addresses in canonical text. */
export interface Exclusions {
  readonly excludeOutboundPorts: readonly Range[];
  /** Captured whatever the address; only of use beside includeOutboundCidrs. */
  readonly includeOutboundPorts: readonly Range[];
  readonly excludeInboundPorts: readonly Range[];
  /** undefined: all. */
  readonly includeInboundPorts: readonly Range[] | undefined;
  readonly excludeOutboundCidrs: readonly string[];
  /** undefined: all. */
  readonly includeOutboundCidrs: readonly string[] | undefined;
  /** By source address. */
  readonly excludeInboundCidrs: readonly string[];
  readonly excludeUids: readonly Range[];
  readonly excludeGids: readonly Range[];
  /** Outbound ports left alone for some users only (Kuma). */
  readonly excludeOutboundPortsForUids: readonly OwnerExclusion[];
  /** Interfaces whose traffic is left alone, both ways. */
  readonly excludeInterfaces: readonly string[];
  /** Interfaces of guests (KubeVirt): what comes in from them is outbound traffic of the pod. */
  readonly virtualInterfaces: readonly string[];
}

export interface ExclusionProblem {
  readonly annotation: string;
  readonly message: string;
  readonly remedy: string;
}

export const NO_EXCLUSIONS: Exclusions = Object.freeze({
  excludeOutboundPorts: [],
  includeOutboundPorts: [],
  excludeInboundPorts: [],
  includeInboundPorts: undefined,
  excludeOutboundCidrs: [],
  includeOutboundCidrs: undefined,
  excludeInboundCidrs: [],
  excludeUids: [],
  excludeGids: [],
  excludeOutboundPortsForUids: [],
  excludeInterfaces: [],
  virtualInterfaces: [],
});

type Setting = keyof Exclusions | 'bypassInbound';

/** Every annotation understood, and the setting it fills. */
export const ANNOTATIONS: Readonly<Record<string, Setting>> = Object.freeze({
  'orlop.io/exclude-outbound-ports': 'excludeOutboundPorts',
  'orlop.io/include-outbound-ports': 'includeOutboundPorts',
  'orlop.io/exclude-inbound-ports': 'excludeInboundPorts',
  'orlop.io/include-inbound-ports': 'includeInboundPorts',
  'orlop.io/exclude-outbound-cidrs': 'excludeOutboundCidrs',
  'orlop.io/include-outbound-cidrs': 'includeOutboundCidrs',
  'orlop.io/exclude-inbound-cidrs': 'excludeInboundCidrs',
  'orlop.io/exclude-uids': 'excludeUids',
  'orlop.io/exclude-gids': 'excludeGids',
  'orlop.io/exclude-outbound-ports-for-uids': 'excludeOutboundPortsForUids',
  'orlop.io/exclude-interfaces': 'excludeInterfaces',
  'orlop.io/virtual-interfaces': 'virtualInterfaces',
  'traffic.sidecar.istio.io/excludeOutboundPorts': 'excludeOutboundPorts',
  'traffic.sidecar.istio.io/includeOutboundPorts': 'includeOutboundPorts',
  'traffic.sidecar.istio.io/excludeInboundPorts': 'excludeInboundPorts',
  'traffic.sidecar.istio.io/includeInboundPorts': 'includeInboundPorts',
  'traffic.sidecar.istio.io/excludeOutboundIPRanges': 'excludeOutboundCidrs',
  'traffic.sidecar.istio.io/includeOutboundIPRanges': 'includeOutboundCidrs',
  'traffic.sidecar.istio.io/excludeInterfaces': 'excludeInterfaces',
  'traffic.sidecar.istio.io/kubevirtInterfaces': 'virtualInterfaces',
  'istio.io/reroute-virtual-interfaces': 'virtualInterfaces',
  'ambient.istio.io/bypass-inbound-capture': 'bypassInbound',
  'config.linkerd.io/skip-outbound-ports': 'excludeOutboundPorts',
  'config.linkerd.io/skip-inbound-ports': 'excludeInboundPorts',
  'config.linkerd.io/skip-subnets': 'excludeInboundCidrs',
  'config.linkerd.io/proxy-uid': 'excludeUids',
  'config.linkerd.io/proxy-gid': 'excludeGids',
  'traffic.kuma.io/exclude-outbound-ports': 'excludeOutboundPorts',
  'traffic.kuma.io/exclude-inbound-ports': 'excludeInboundPorts',
  'traffic.kuma.io/exclude-outbound-ports-for-uids': 'excludeOutboundPortsForUids',
  'traffic.kuma.io/exclude-outbound-ips': 'excludeOutboundCidrs',
  'traffic.kuma.io/exclude-inbound-ips': 'excludeInboundCidrs',
});

const PREFIXES_OF_CAPTURE = ['traffic.sidecar.istio.io/', 'traffic.kuma.io/'];
const ID_MAX = 0xffff_fffe;
/** IFNAMSIZ less the closing zero; the characters the kernel and iptables both take. */
const INTERFACE = /^[A-Za-z0-9_.@-]{1,15}$/;

/** The exclusions in a pod's annotations, and what of them could not be understood. */
export function parseExclusions(annotations: Readonly<Record<string, string>>): { exclusions: Exclusions; problems: ExclusionProblem[] } {
  const parser = new Parser();
  for (const [annotation, value] of Object.entries(annotations)) {
    const setting = Object.hasOwn(ANNOTATIONS, annotation) ? ANNOTATIONS[annotation] : undefined;
    if (setting !== undefined) parser.read(annotation, setting, value);
    else if (PREFIXES_OF_CAPTURE.some((prefix) => annotation.startsWith(prefix)) || annotation === 'sidecar.istio.io/interceptionMode') {
      parser.problem(annotation, 'is an annotation of traffic capture that Orlop does not honour', 'remove it, or see `orlop redirect render` for what is captured');
    }
  }
  return { exclusions: parser.finish(), problems: parser.problems };
}

class Parser {
  readonly problems: ExclusionProblem[] = [];
  readonly #ranges = new Map<Setting, Range[]>();
  readonly #texts = new Map<Setting, Set<string>>();
  readonly #owners: OwnerExclusion[] = [];

  read(annotation: string, setting: Setting, value: string): void {
    switch (setting) {
      case 'excludeOutboundPorts':
      case 'includeOutboundPorts':
      case 'excludeInboundPorts':
      case 'includeInboundPorts':
        return this.#readPorts(annotation, setting, value);
      case 'excludeUids':
      case 'excludeGids':
        return this.#readIds(annotation, setting, value);
      case 'excludeOutboundCidrs':
      case 'includeOutboundCidrs':
      case 'excludeInboundCidrs':
        return this.#readCidrs(annotation, setting, value);
      case 'excludeInterfaces':
      case 'virtualInterfaces':
        return this.#readInterfaces(annotation, setting, value);
      case 'excludeOutboundPortsForUids':
        return this.#readPortsForUids(annotation, value);
      case 'bypassInbound':
        // The pod takes inbound traffic itself (an ingress gateway): no inbound port is captured.
        if (value.trim() === 'true') this.#ranges.set('includeInboundPorts', []);
    }
  }

  problem(annotation: string, message: string, remedy: string): void {
    this.problems.push({ annotation, message, remedy });
  }

  finish(): Exclusions {
    const ranges = (setting: Setting): Range[] => mergeRanges(this.#ranges.get(setting) ?? []);
    const texts = (setting: Setting): string[] => [...(this.#texts.get(setting) ?? [])].toSorted();
    return {
      excludeOutboundPorts: ranges('excludeOutboundPorts'),
      includeOutboundPorts: ranges('includeOutboundPorts'),
      excludeInboundPorts: ranges('excludeInboundPorts'),
      includeInboundPorts: this.#ranges.has('includeInboundPorts') ? ranges('includeInboundPorts') : undefined,
      excludeOutboundCidrs: texts('excludeOutboundCidrs'),
      includeOutboundCidrs: this.#texts.has('includeOutboundCidrs') ? texts('includeOutboundCidrs') : undefined,
      excludeInboundCidrs: texts('excludeInboundCidrs'),
      excludeUids: ranges('excludeUids'),
      excludeGids: ranges('excludeGids'),
      excludeOutboundPortsForUids: this.#owners,
      excludeInterfaces: texts('excludeInterfaces'),
      virtualInterfaces: texts('virtualInterfaces'),
    };
  }

  #readPorts(annotation: string, setting: Setting, value: string): void {
    const including = setting === 'includeInboundPorts' || setting === 'includeOutboundPorts';
    if (including && value.trim() === '*') return;
    const ranges = this.#rangesOf(setting);
    for (const item of this.#items(annotation, value)) {
      const range = parseRange(item, 1, 65_535);
      const own = range === undefined ? undefined : OWN_PORTS.find((port) => rangesInclude([range], port));
      if (range === undefined) {
        this.problem(annotation, `"${item}" is not a port (1 to 65535) or a range of ports`, 'write ports and ranges separated by commas: "80,8000-8010"');
      } else if (own !== undefined && !including) {
        this.problem(annotation, `"${item}" takes in port ${own}, on which Orlop itself listens in the pod`, `leave out ${OWN_PORTS.join(', ')}`);
      } else {
        ranges.push(range);
      }
    }
  }

  #readIds(annotation: string, setting: Setting, value: string): void {
    const ranges = this.#rangesOf(setting);
    for (const item of this.#items(annotation, value)) {
      const range = parseRange(item, 0, ID_MAX);
      if (range !== undefined) ranges.push(range);
      else this.problem(annotation, `"${item}" is not a numeric id or a range of ids`, 'write ids and ranges separated by commas: "1337,2000-2010"');
    }
  }

  #readCidrs(annotation: string, setting: Setting, value: string): void {
    if (setting === 'includeOutboundCidrs' && value.trim() === '*') return;
    const cidrs = this.#textsOf(setting);
    for (const item of this.#items(annotation, value)) {
      const cidr = canonicalCidr(item);
      if (cidr !== undefined) cidrs.add(cidr);
      else this.problem(annotation, `"${item}" is not an address or a range of addresses`, 'write ranges as "10.0.0.0/8" or "2001:db8::/32", separated by commas');
    }
  }

  #readInterfaces(annotation: string, setting: Setting, value: string): void {
    const names = this.#textsOf(setting);
    for (const item of this.#items(annotation, value)) {
      if (!INTERFACE.test(item)) this.problem(annotation, `"${item}" is not the name of a network interface`, 'write names such as "eth1", separated by commas');
      else if (item === 'lo') this.problem(annotation, '"lo" is never captured', 'leave it out');
      else names.add(item);
    }
  }

  /** Kuma: `[protocol:]ports:uids`, several separated by `;`. */
  #readPortsForUids(annotation: string, value: string): void {
    for (const entry of value.split(';').map((text) => text.trim()).filter((text) => text !== '')) {
      const parts = entry.split(':').map((text) => text.trim());
      const ids = parseRanges(parts.at(-1) ?? '', 0, ID_MAX);
      const ports = parseRanges(parts.at(-2) ?? '', 1, 65_535);
      const protocols = parts.length === 3 ? (parts[0] ?? '').split(',') : ['tcp'];
      if (parts.length < 2 || parts.length > 3 || ids === undefined || ports === undefined || protocols.some((name) => name !== 'tcp' && name !== 'udp')) {
        this.problem(annotation, `"${entry}" is not of the form protocol:ports:uids`, 'write "tcp:80,8000-8010:1000-1010", several separated by ";"');
      } else if (protocols.includes('tcp')) {
        this.#owners.push({ ids: mergeRanges(ids), ports: mergeRanges(ports) });
      }
    }
  }

  #rangesOf(setting: Setting): Range[] {
    const ranges = this.#ranges.get(setting) ?? [];
    this.#ranges.set(setting, ranges);
    return ranges;
  }

  #textsOf(setting: Setting): Set<string> {
    const texts = this.#texts.get(setting) ?? new Set<string>();
    this.#texts.set(setting, texts);
    return texts;
  }

  #items(annotation: string, value: string): string[] {
    const items = value.split(',').map((item) => item.trim()).filter((item) => item !== '');
    if (items.length > EXCLUSION_ENTRIES_MAX) {
      this.problem(annotation, `has ${items.length} entries; the limit is ${EXCLUSION_ENTRIES_MAX}`, 'join them into ranges');
      return items.slice(0, EXCLUSION_ENTRIES_MAX);
    }
    return items;
  }
}

function parseRanges(list: string, min: number, max: number): Range[] | undefined {
  const ranges = list.split(',').map((item) => parseRange(item.trim(), min, max));
  return ranges.every((range) => range !== undefined) ? ranges : undefined;
}

/** `address/bits` of the network, as iptables prints it; an address alone is a range of one. */
function canonicalCidr(text: string): string | undefined {
  const [address = '', bits, ...rest] = text.split('/');
  if (rest.length > 0 || !(ipaddr.IPv4.isValidFourPartDecimal(address) || ipaddr.IPv6.isValid(address)) || address.includes('%')) return undefined;
  const isV4 = !address.includes(':');
  const bitsMax = isV4 ? 32 : 128;
  const prefixBits = bits === undefined ? bitsMax : /^\d{1,3}$/.test(bits) ? Number(bits) : -1;
  if (prefixBits < 0 || prefixBits > bitsMax) return undefined;
  const network = isV4 ? ipaddr.IPv4.networkAddressFromCIDR(`${address}/${prefixBits}`) : ipaddr.IPv6.networkAddressFromCIDR(`${address}/${prefixBits}`);
  return `${network.toString()}/${prefixBits}`;
}
