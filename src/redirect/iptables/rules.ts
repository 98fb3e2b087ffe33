/**
 * The iptables rules of a pod as data, one reason each. Their text is exactly what iptables-save prints, so that what should
 * be there can be compared with what is.
 */
import { MARK_INBOUND, MARK_MASK, MARK_OUTBOUND } from '../../sys/layout.ts';
import type { Family } from '../../sys/sockaddr.ts';
import type { Exclusions } from '../exclusions.ts';
import { HBONE_PORT, INBOUND_PORT, OUTBOUND_PORT } from '../../core/ports.ts';
import { LINK_LOCAL_CIDR } from '../ports.ts';
import type { Range } from '../ranges.ts';

export interface Rule {
  readonly chain: string;
  /** Matches and target, as iptables-save prints them. */
  readonly spec: string;
  readonly why: string;
}

export interface Table {
  readonly name: 'nat' | 'raw';
  /** From the kernel's chains into ours. */
  readonly jumps: readonly Rule[];
  /** Content of our chains, first match wins. */
  readonly rules: readonly Rule[];
}

export const OUTPUT_CHAIN = 'ORLOP_OUTPUT';
export const PREROUTING_CHAIN = 'ORLOP_PREROUTING';
/** Every chain of ours begins so, and nothing else is ever touched. */
export const CHAIN_PREFIX = 'ORLOP_';

/**
 * First packets only. Conntrack takes any packet of a connection older than the rules for a new connection
 * (nf_conntrack_tcp_loose), and would redirect it in the middle.
 */
const SYN = '-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN';

/** iptables' multiport match holds 15 ports; a range counts twice. */
const MULTIPORT_SLOTS = 15;

/**
 * Rules that capture a pod's TCP traffic of one address family. RETURN rather than ACCEPT: whatever else is in the pod's
 * tables (KubeVirt's, another CNI's) still has its turn.
 */
export function compileRules(exclusions: Exclusions, family: Family): Table[] {
  return [
    {
      name: 'raw',
      jumps: [{ chain: 'OUTPUT', spec: `-p tcp -j ${OUTPUT_CHAIN}`, why: 'sockets of the pod and of the agent' }],
      rules: [{
        chain: OUTPUT_CHAIN,
        spec: `-m mark --mark ${mark(MARK_INBOUND)} -j CT --notrack`,
        why: 'agent and application under the client\'s address: tracked, they could be taken for the client\'s own connection, and would double conntrack\'s entries',
      }],
    },
    {
      name: 'nat',
      jumps: [
        { chain: 'PREROUTING', spec: `${SYN} -j ${PREROUTING_CHAIN}`, why: 'connections to the pod' },
        { chain: 'OUTPUT', spec: `${SYN} -j ${OUTPUT_CHAIN}`, why: 'connections from the pod' },
      ],
      rules: [...inboundRules(exclusions, family), ...outboundRules(exclusions, family)],
    },
  ];
}

function inboundRules(exclusions: Exclusions, family: Family): Rule[] {
  const rule = ruleIn(PREROUTING_CHAIN);
  const redirect = `-j REDIRECT --to-ports ${INBOUND_PORT}`;
  const rules = [
    rule('-i lo -j RETURN', 'the pod\'s calls to itself, and the agent\'s connections to the application'),
    ...exclusions.excludeInterfaces.map((name) => rule(`-i ${name} -j RETURN`, 'excluded interface')),
    ...exclusions.virtualInterfaces.map((name) => rule(`-i ${name} -p tcp -j REDIRECT --to-ports ${OUTBOUND_PORT}`, 'outbound traffic of a guest')),
    rule('-m addrtype ! --dst-type LOCAL -j RETURN', 'forwarded through the pod, not to it'),
    rule(`-p tcp -m tcp --dport ${HBONE_PORT} -j RETURN`, 'the agent listens there itself'),
    ...cidrsOf(exclusions.excludeInboundCidrs, family).map((cidr) => rule(`${source(cidr)}-j RETURN`, 'excluded source')),
    ...portMatches(exclusions.excludeInboundPorts).map((match) => rule(`-p tcp ${match} -j RETURN`, 'excluded inbound ports')),
  ];
  if (exclusions.includeInboundPorts === undefined) return [...rules, rule(`-p tcp ${redirect}`, 'everything else to the agent')];
  return [...rules, ...portMatches(exclusions.includeInboundPorts).map((match) => rule(`-p tcp ${match} ${redirect}`, 'included inbound ports'))];
}

function outboundRules(exclusions: Exclusions, family: Family): Rule[] {
  const rule = ruleIn(OUTPUT_CHAIN);
  const redirect = `-j REDIRECT --to-ports ${OUTBOUND_PORT}`;
  const rules = [
    rule(`-m mark --mark ${mark(MARK_OUTBOUND)} -j RETURN`, 'the agent\'s connections to the network'),
    rule(`-m mark --mark ${mark(MARK_INBOUND)} -j RETURN`, 'the agent\'s connections to the application'),
    rule('-o lo -j RETURN', 'loopback, and the pod\'s own addresses, which are routed over it'),
    ...(family === 6 ? [rule(`-d ${LINK_LOCAL_CIDR} -j RETURN`, 'link-local addresses mean nothing without their interface, which a proxy does not learn')] : []),
    ...exclusions.excludeInterfaces.map((name) => rule(`-o ${name} -j RETURN`, 'excluded interface')),
    ...cidrsOf(exclusions.excludeOutboundCidrs, family).map((cidr) => rule(`${destination(cidr)}-j RETURN`, 'excluded destination')),
    ...portMatches(exclusions.excludeOutboundPorts).map((match) => rule(`-p tcp ${match} -j RETURN`, 'excluded outbound ports')),
    ...exclusions.excludeUids.map((ids) => rule(`-m owner --uid-owner ${idRange(ids)} -j RETURN`, 'excluded users')),
    ...exclusions.excludeGids.map((ids) => rule(`-m owner --gid-owner ${idRange(ids)} -j RETURN`, 'excluded groups')),
    ...exclusions.excludeOutboundPortsForUids.flatMap(({ ids, ports }) =>
      ids.flatMap((range) => portMatches(ports).map((match) => rule(`-p tcp -m owner --uid-owner ${idRange(range)} ${match} -j RETURN`, 'ports excluded for some users')))),
    ...portMatches(exclusions.includeOutboundPorts).map((match) => rule(`-p tcp ${match} ${redirect}`, 'included outbound ports')),
  ];
  if (exclusions.includeOutboundCidrs === undefined) return [...rules, rule(`-p tcp ${redirect}`, 'everything else to the agent')];
  return [...rules, ...cidrsOf(exclusions.includeOutboundCidrs, family).map((cidr) => rule(`${destination(cidr)}-p tcp ${redirect}`, 'included destinations'))];
}

function ruleIn(chain: string): (spec: string, why: string) => Rule {
  return (spec, why) => ({ chain, spec, why });
}

function mark(value: number): string {
  return `0x${value.toString(16)}/0x${MARK_MASK.toString(16)}`;
}

function cidrsOf(cidrs: readonly string[], family: Family): string[] {
  return cidrs.filter((cidr) => cidr.includes(':') === (family === 6));
}

/** iptables-save leaves a match of every address out. */
function source(cidr: string): string {
  return cidr.endsWith('/0') ? '' : `-s ${cidr} `;
}

function destination(cidr: string): string {
  return cidr.endsWith('/0') ? '' : `-d ${cidr} `;
}

function idRange({ from, to }: Range): string {
  return from === to ? `${from}` : `${from}-${to}`;
}

function portRange({ from, to }: Range): string {
  return from === to ? `${from}` : `${from}:${to}`;
}

/** Matches that together take in all of `ports`, as few as iptables allows. */
function portMatches(ports: readonly Range[]): string[] {
  const groups: Range[][] = [];
  let slots = 0;
  for (const range of ports) {
    const needed = range.from === range.to ? 1 : 2;
    if (groups.length === 0 || slots + needed > MULTIPORT_SLOTS) {
      groups.push([]);
      slots = 0;
    }
    groups.at(-1)?.push(range);
    slots += needed;
  }
  return groups.map((group) => group.length === 1 ? `-m tcp --dport ${group.map(portRange).join()}` : `-m multiport --dports ${group.map(portRange).join()}`);
}
