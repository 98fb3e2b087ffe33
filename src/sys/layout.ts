/**
 * Layouts of the structs that bpf/capture.h shares with the agent. test/sys/layout.test.ts compares them with the BTF of the
 * built object, so a change on one side only is a test failure and not a misread map.
 */
import { formatIp, ipBytes } from './sockaddr.ts';
import type { Address } from './sockaddr.ts';

/** RANGES_MAX: entries that each list of struct pod holds. */
export const RANGES_MAX = 16;

export const MARK_OUTBOUND = 0x539;
export const MARK_INBOUND = 0x111;
export const MARK_MASK = 0xfff;

interface Layout {
  readonly size: number;
  /** Field name in C, and its offset in bytes. */
  readonly fields: Readonly<Record<string, number>>;
}

export const LAYOUTS = {
  endpoint: { size: 24, fields: { address: 0, port: 16, pad: 20 } },
  handshake: { size: 32, fields: { netns: 0, source: 8, source_port: 24, pad: 28 } },
  range: { size: 8, fields: { from: 0, to: 4 } },
  owner_rule: { size: 16, fields: { ids: 0, ports: 8 } },
  pod: {
    size: 1128,
    fields: {
      flags: 0,
      outbound_port: 4,
      exclude_outbound_ports_count: 8,
      include_outbound_ports_count: 12,
      exclude_inbound_ports_count: 16,
      include_inbound_ports_count: 20,
      uid_rules_count: 24,
      gid_rules_count: 28,
      exclude_interfaces_count: 32,
      pad: 36,
      exclude_outbound_ports: 40,
      include_outbound_ports: 168,
      exclude_inbound_ports: 296,
      include_inbound_ports: 424,
      uid_rules: 552,
      gid_rules: 808,
      exclude_interfaces: 1064,
    },
  },
  cidr: { size: 32, fields: { prefix_bits: 0, list: 4, netns: 8, address: 16 } },
} as const satisfies Record<string, Layout>;

export const POD_FLAGS = { includesOutboundPorts: 1, includesOutboundCidrs: 2, includesInboundPorts: 4 } as const;
export const CIDR_LISTS = { outboundExclude: 0, outboundInclude: 1, inboundExclude: 2 } as const;
export const COUNTERS = ['handshakesFull', 'storageFailed', 'deviceBound', 'listenerMissing'] as const;

export interface Range {
  readonly from: number;
  /** Inclusive. */
  readonly to: number;
}

export interface OwnerRule {
  readonly ids: Range;
  readonly ports: Range;
}

/** struct pod in words of the agent. Undefined includes mean "all". Each list holds at most RANGES_MAX entries. */
export interface PodConfig {
  readonly outboundPort: number;
  readonly excludeOutboundPorts: readonly Range[];
  readonly includeOutboundPorts: readonly Range[];
  readonly excludeInboundPorts: readonly Range[];
  readonly includeInboundPorts: readonly Range[] | undefined;
  readonly includesOutboundCidrs: boolean;
  readonly uidRules: readonly OwnerRule[];
  readonly gidRules: readonly OwnerRule[];
  readonly excludeInterfaces: readonly number[];
}

export function encodePod(pod: PodConfig): Buffer {
  const { size, fields } = LAYOUTS.pod;
  const bytes = Buffer.alloc(size);
  let flags = 0;
  if (pod.includeOutboundPorts.length > 0) flags |= POD_FLAGS.includesOutboundPorts;
  if (pod.includesOutboundCidrs) flags |= POD_FLAGS.includesOutboundCidrs;
  if (pod.includeInboundPorts !== undefined) flags |= POD_FLAGS.includesInboundPorts;
  bytes.writeUInt32LE(flags, fields.flags);
  bytes.writeUInt32LE(pod.outboundPort, fields.outbound_port);
  const writeRanges = (ranges: readonly Range[], count: number, at: number): void => {
    bytes.writeUInt32LE(ranges.length, count);
    ranges.forEach((range, i) => writeRange(bytes, range, at + i * LAYOUTS.range.size));
  };
  const writeOwners = (rules: readonly OwnerRule[], count: number, at: number): void => {
    bytes.writeUInt32LE(rules.length, count);
    rules.forEach(({ ids, ports }, i) => {
      writeRange(bytes, ids, at + i * LAYOUTS.owner_rule.size + LAYOUTS.owner_rule.fields.ids);
      writeRange(bytes, ports, at + i * LAYOUTS.owner_rule.size + LAYOUTS.owner_rule.fields.ports);
    });
  };
  writeRanges(pod.excludeOutboundPorts, fields.exclude_outbound_ports_count, fields.exclude_outbound_ports);
  writeRanges(pod.includeOutboundPorts, fields.include_outbound_ports_count, fields.include_outbound_ports);
  writeRanges(pod.excludeInboundPorts, fields.exclude_inbound_ports_count, fields.exclude_inbound_ports);
  writeRanges(pod.includeInboundPorts ?? [], fields.include_inbound_ports_count, fields.include_inbound_ports);
  writeOwners(pod.uidRules, fields.uid_rules_count, fields.uid_rules);
  writeOwners(pod.gidRules, fields.gid_rules_count, fields.gid_rules);
  bytes.writeUInt32LE(pod.excludeInterfaces.length, fields.exclude_interfaces_count);
  pod.excludeInterfaces.forEach((ifindex, i) => bytes.writeUInt32LE(ifindex, fields.exclude_interfaces + 4 * i));
  return bytes;
}

/** Key of the map `cidrs`. `prefixBits` is that of the address as it is written: 0 to 32 for IPv4, 0 to 128 for IPv6. */
export function encodeCidr(list: number, netns: bigint, address: string, prefixBits: number): Buffer {
  const { size, fields } = LAYOUTS.cidr;
  const bytes = Buffer.alloc(size);
  const bitsBeforeAddress = 8 * (fields.address - fields.list) + (address.includes(':') ? 0 : 96);
  bytes.writeUInt32LE(bitsBeforeAddress + prefixBits, fields.prefix_bits);
  bytes.writeUInt32LE(list, fields.list);
  bytes.writeBigUInt64LE(netns, fields.netns);
  ipBytes(address).copy(bytes, fields.address);
  return bytes;
}

export function decodeEndpoint(bytes: Buffer): Address {
  const { fields } = LAYOUTS.endpoint;
  return { address: formatIp(bytes.subarray(fields.address, fields.address + 16)), port: bytes.readUInt32LE(fields.port) };
}

/** A netns cookie as map key. */
export function encodeCookie(cookie: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(cookie);
  return bytes;
}

function writeRange(bytes: Buffer, range: Range, at: number): void {
  bytes.writeUInt32LE(range.from, at + LAYOUTS.range.fields.from);
  bytes.writeUInt32LE(range.to, at + LAYOUTS.range.fields.to);
}
