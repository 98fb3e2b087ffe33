/** What the maps should hold for one pod. Pure: `orlop redirect render` prints it, `redirector.ts` writes it, `check` compares with it. */
import { CIDR_LISTS, encodeCidr, encodePod, RANGES_MAX } from '../../sys/layout.ts';
import type { OwnerRule, PodConfig } from '../../sys/layout.ts';
import type { Exclusions } from '../exclusions.ts';
import { OUTBOUND_PORT } from '../../core/ports.ts';
import { LINK_LOCAL_CIDR } from '../ports.ts';

export interface CidrEntry {
  readonly list: keyof typeof CIDR_LISTS;
  readonly cidr: string;
}

export interface PodPlan {
  readonly config: PodConfig;
  readonly cidrs: readonly CidrEntry[];
  readonly addresses: readonly string[];
}

const ALL_PORTS = { from: 0, to: 65_535 };

/**
 * The plan for a pod with these addresses. `interfaceIndex` gives the number of an interface in its namespace, undefined when
 * there is none. Lists are cut at RANGES_MAX entries; `unsupportedByEbpf` has named them before.
 */
export function planPod(exclusions: Exclusions, addresses: readonly string[], interfaceIndex: (name: string) => number | undefined): PodPlan {
  return {
    addresses,
    config: {
      outboundPort: OUTBOUND_PORT,
      excludeOutboundPorts: cut(exclusions.excludeOutboundPorts),
      includeOutboundPorts: cut(exclusions.includeOutboundPorts),
      excludeInboundPorts: cut(exclusions.excludeInboundPorts),
      includeInboundPorts: exclusions.includeInboundPorts === undefined ? undefined : cut(exclusions.includeInboundPorts),
      includesOutboundCidrs: exclusions.includeOutboundCidrs !== undefined,
      uidRules: cut(uidRules(exclusions)),
      gidRules: cut(exclusions.excludeGids.map((ids) => ({ ids, ports: ALL_PORTS }))),
      excludeInterfaces: cut(exclusions.excludeInterfaces.map(interfaceIndex).filter((index) => index !== undefined)),
    },
    cidrs: [
      { list: 'outboundExclude', cidr: LINK_LOCAL_CIDR },
      ...addresses.map((address) => ({ list: 'outboundExclude' as const, cidr: `${address}/${address.includes(':') ? 128 : 32}` })),
      ...exclusions.excludeOutboundCidrs.map((cidr) => ({ list: 'outboundExclude' as const, cidr })),
      ...(exclusions.includeOutboundCidrs ?? []).map((cidr) => ({ list: 'outboundInclude' as const, cidr })),
      ...exclusions.excludeInboundCidrs.map((cidr) => ({ list: 'inboundExclude' as const, cidr })),
    ],
  };
}

/** Value of the map `pods`. */
export function podValue(plan: PodPlan): Buffer {
  return encodePod(plan.config);
}

/** Keys of the map `cidrs`. */
export function cidrKeys(plan: PodPlan, cookie: bigint): Buffer[] {
  return plan.cidrs.map(({ list, cidr }) => {
    const [address = '', bits = ''] = cidr.split('/');
    return encodeCidr(CIDR_LISTS[list], cookie, address, Number(bits));
  });
}

/** What eBPF cannot honour of these exclusions, each with the reason. */
export function unsupportedByEbpf(exclusions: Exclusions): string[] {
  const unsupported: string[] = [];
  const limited = {
    'excluded outbound ports': exclusions.excludeOutboundPorts,
    'included outbound ports': exclusions.includeOutboundPorts,
    'excluded inbound ports': exclusions.excludeInboundPorts,
    'included inbound ports': exclusions.includeInboundPorts ?? [],
    'excluded users': uidRules(exclusions),
    'excluded groups': exclusions.excludeGids,
  };
  for (const [name, list] of Object.entries(limited)) {
    if (list.length > RANGES_MAX) unsupported.push(`${name}: ${list.length} ranges, and the eBPF backend holds ${RANGES_MAX}`);
  }
  if (exclusions.excludeInterfaces.length > 0) unsupported.push('excluded interfaces: eBPF decides at connect(2), before the kernel has chosen the interface; only inbound connections are excluded');
  if (exclusions.virtualInterfaces.length > 0) unsupported.push('virtual interfaces: a guest\'s packets are forwarded, and pass no socket of the pod');
  return unsupported;
}

function cut<T>(list: readonly T[]): T[] {
  return list.slice(0, RANGES_MAX);
}

function uidRules(exclusions: Exclusions): OwnerRule[] {
  return [
    ...exclusions.excludeUids.map((ids) => ({ ids, ports: ALL_PORTS })),
    ...exclusions.excludeOutboundPortsForUids.flatMap(({ ids, ports }) => ids.flatMap((idRange) => ports.map((portRange) => ({ ids: idRange, ports: portRange })))),
  ];
}
