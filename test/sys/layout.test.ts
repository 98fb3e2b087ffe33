import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { findCommand } from '../../src/redirect/command.ts';
import { CIDR_LISTS, COUNTERS, decodeEndpoint, encodeCidr, encodePod, LAYOUTS, MARK_INBOUND, MARK_MASK, MARK_OUTBOUND, POD_FLAGS, RANGES_MAX } from '../../src/sys/layout.ts';
import { ipBytes } from '../../src/sys/sockaddr.ts';

interface BtfType {
  kind: string;
  name: string;
  size?: number;
  members?: { name: string; bits_offset: number }[];
  values?: { name: string; val: number }[];
}

const objectPath = fileURLToPath(new URL('../../bpf/capture.bpf.o', import.meta.url));
const header = readFileSync(new URL('../../bpf/capture.h', import.meta.url), 'utf8');
const { stdout, stderr } = spawnSync(findCommand('bpftool') ?? 'bpftool', ['-j', 'btf', 'dump', 'file', objectPath], { encoding: 'utf8' });
if (stdout === '') throw new Error(`bpftool reads no BTF from ${objectPath} (built by \`make -C bpf\`): ${stderr}`);
const { types } = JSON.parse(stdout) as { types: BtfType[] };

test.each(Object.entries(LAYOUTS))('struct %s is laid out as the programs have it', (name, layout) => {
  const struct = types.find((type) => type.kind === 'STRUCT' && type.name === name);
  const fields = Object.fromEntries((struct?.members ?? []).map((member) => [member.name, member.bits_offset / 8]));
  expect({ size: struct?.size, fields }).toEqual({ size: layout.size, fields: { ...layout.fields } });
});

test('constants are those of capture.h', () => {
  expect({ mark: [MARK_OUTBOUND, MARK_INBOUND, MARK_MASK], ranges: RANGES_MAX, flags: Object.values(POD_FLAGS), lists: Object.values(CIDR_LISTS), counters: COUNTERS.length }).toEqual({
    mark: ['MARK_OUTBOUND', 'MARK_INBOUND', 'MARK_MASK'].map(constant),
    ranges: constant('RANGES_MAX'),
    flags: ['POD_INCLUDES_OUTBOUND_PORTS', 'POD_INCLUDES_OUTBOUND_CIDRS', 'POD_INCLUDES_INBOUND_PORTS'].map(constant),
    lists: ['CIDR_OUTBOUND_EXCLUDE', 'CIDR_OUTBOUND_INCLUDE', 'CIDR_INBOUND_EXCLUDE'].map(constant),
    counters: constant('COUNTERS'),
  });
});

test('an IPv4 prefix is the v4-mapped IPv6 prefix 96 bits longer', () => {
  const v4 = encodeCidr(CIDR_LISTS.outboundExclude, 7n, '10.0.0.0', 8);
  expect(v4.readUInt32LE(LAYOUTS.cidr.fields.prefix_bits)).toBe(96 + 96 + 8);
  expect(v4.subarray(LAYOUTS.cidr.fields.address)).toEqual(ipBytes('::ffff:10.0.0.0'));
  expect(encodeCidr(CIDR_LISTS.inboundExclude, 7n, 'fd00::', 8).readUInt32LE(LAYOUTS.cidr.fields.prefix_bits)).toBe(96 + 8);
});

test('a pod\'s settings stand where the programs read them', () => {
  const bytes = encodePod({
    outboundPort: 15001,
    excludeOutboundPorts: [{ from: 1, to: 2 }, { from: 4, to: 4 }],
    includeOutboundPorts: [],
    excludeInboundPorts: [],
    includeInboundPorts: [],
    includesOutboundCidrs: true,
    uidRules: [{ ids: { from: 1000, to: 1001 }, ports: { from: 80, to: 81 } }],
    gidRules: [],
    excludeInterfaces: [3],
  });
  const { fields } = LAYOUTS.pod;
  expect(bytes.readUInt32LE(fields.flags)).toBe(POD_FLAGS.includesOutboundCidrs | POD_FLAGS.includesInboundPorts);
  expect(bytes.readUInt32LE(fields.exclude_outbound_ports_count)).toBe(2);
  expect([0, 4, 8, 12].map((offset) => bytes.readUInt32LE(fields.exclude_outbound_ports + offset))).toEqual([1, 2, 4, 4]);
  expect([0, 4, 8, 12].map((offset) => bytes.readUInt32LE(fields.uid_rules + offset))).toEqual([1000, 1001, 80, 81]);
  expect(bytes.readUInt32LE(fields.exclude_interfaces)).toBe(3);
});

test('an endpoint reads as address and port', () => {
  const bytes = Buffer.alloc(LAYOUTS.endpoint.size);
  ipBytes('10.1.2.3').copy(bytes);
  bytes.writeUInt32LE(443, LAYOUTS.endpoint.fields.port);
  expect(decodeEndpoint(bytes)).toEqual({ address: '10.1.2.3', port: 443 });
});

/** Value of a #define or an enum's member in capture.h. */
function constant(name: string): number {
  return Number(new RegExp(`\\b${name}\\b\\s*=?\\s*(0x[0-9a-f]+|\\d+)`).exec(header)?.[1]);
}
