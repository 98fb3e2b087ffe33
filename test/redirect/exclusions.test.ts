import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ANNOTATIONS, NO_EXCLUSIONS, parseExclusions } from '../../src/redirect/exclusions.ts';
import type { Exclusions } from '../../src/redirect/exclusions.ts';
import { OWN_PORTS } from '../../src/redirect/ports.ts';
import { mergeRanges, parseRange, rangesInclude } from '../../src/redirect/ranges.ts';

describe('every vocabulary says the same', () => {
  test.each<[string, string, Partial<Exclusions>]>([
    ['orlop.io/exclude-outbound-ports', '443, 8000-8010', { excludeOutboundPorts: [{ from: 443, to: 443 }, { from: 8000, to: 8010 }] }],
    ['traffic.sidecar.istio.io/excludeOutboundPorts', '443', { excludeOutboundPorts: [{ from: 443, to: 443 }] }],
    ['config.linkerd.io/skip-outbound-ports', '25,4567-4568', { excludeOutboundPorts: [{ from: 25, to: 25 }, { from: 4567, to: 4568 }] }],
    ['traffic.kuma.io/exclude-outbound-ports', '5432', { excludeOutboundPorts: [{ from: 5432, to: 5432 }] }],
    ['orlop.io/exclude-inbound-ports', '9000:9010', { excludeInboundPorts: [{ from: 9000, to: 9010 }] }],
    ['traffic.sidecar.istio.io/excludeInboundPorts', '22', { excludeInboundPorts: [{ from: 22, to: 22 }] }],
    ['config.linkerd.io/skip-inbound-ports', '22', { excludeInboundPorts: [{ from: 22, to: 22 }] }],
    ['traffic.kuma.io/exclude-inbound-ports', '22', { excludeInboundPorts: [{ from: 22, to: 22 }] }],
    ['traffic.sidecar.istio.io/includeInboundPorts', '80,443', { includeInboundPorts: [{ from: 80, to: 80 }, { from: 443, to: 443 }] }],
    ['traffic.sidecar.istio.io/includeInboundPorts', '*', {}],
    ['traffic.sidecar.istio.io/includeInboundPorts', '', { includeInboundPorts: [] }],
    ['ambient.istio.io/bypass-inbound-capture', 'true', { includeInboundPorts: [] }],
    ['traffic.sidecar.istio.io/excludeOutboundIPRanges', '10.1.2.3/8,2001:DB8::1/32', { excludeOutboundCidrs: ['10.0.0.0/8', '2001:db8::/32'] }],
    ['traffic.sidecar.istio.io/includeOutboundIPRanges', '10.0.0.0/8', { includeOutboundCidrs: ['10.0.0.0/8'] }],
    ['traffic.sidecar.istio.io/includeOutboundIPRanges', '*', {}],
    ['traffic.sidecar.istio.io/includeOutboundIPRanges', '', { includeOutboundCidrs: [] }],
    ['traffic.kuma.io/exclude-outbound-ips', '169.254.169.254', { excludeOutboundCidrs: ['169.254.169.254/32'] }],
    ['config.linkerd.io/skip-subnets', '10.9.0.0/16', { excludeInboundCidrs: ['10.9.0.0/16'] }],
    ['traffic.kuma.io/exclude-inbound-ips', 'fd00::1', { excludeInboundCidrs: ['fd00::1/128'] }],
    ['config.linkerd.io/proxy-uid', '2102', { excludeUids: [{ from: 2102, to: 2102 }] }],
    ['orlop.io/exclude-gids', '10-20', { excludeGids: [{ from: 10, to: 20 }] }],
    ['traffic.kuma.io/exclude-outbound-ports-for-uids', 'tcp:80,8000-8010:1000-1010;udp:53:5;443:7', {
      excludeOutboundPortsForUids: [
        { ids: [{ from: 1000, to: 1010 }], ports: [{ from: 80, to: 80 }, { from: 8000, to: 8010 }] },
        { ids: [{ from: 7, to: 7 }], ports: [{ from: 443, to: 443 }] },
      ],
    }],
    ['traffic.sidecar.istio.io/excludeInterfaces', 'eth1,net0', { excludeInterfaces: ['eth1', 'net0'] }],
    ['traffic.sidecar.istio.io/kubevirtInterfaces', 'k6t-eth0', { virtualInterfaces: ['k6t-eth0'] }],
    ['istio.io/reroute-virtual-interfaces', 'tap0', { virtualInterfaces: ['tap0'] }],
  ])('%s: "%s"', (annotation, value, expected) => {
    expect(parseExclusions({ [annotation]: value })).toEqual({ exclusions: { ...NO_EXCLUSIONS, ...expected }, problems: [] });
  });
});

test('annotations of several meshes add up', () => {
  const { exclusions } = parseExclusions({ 'orlop.io/exclude-outbound-ports': '80', 'config.linkerd.io/skip-outbound-ports': '81,443', 'unrelated/annotation': 'x' });
  expect(exclusions.excludeOutboundPorts).toEqual([{ from: 80, to: 81 }, { from: 443, to: 443 }]);
});

test.each([
  ['orlop.io/exclude-outbound-ports', '80,http', '"http" is not a port'],
  ['orlop.io/exclude-outbound-ports', '0', '"0" is not a port'],
  ['orlop.io/exclude-outbound-ports', '90-80', '"90-80" is not a port'],
  ['orlop.io/exclude-outbound-ports', '70000', '"70000" is not a port'],
  ['config.linkerd.io/skip-inbound-ports', '15008', 'port 15008, on which Orlop itself listens'],
  ['orlop.io/exclude-inbound-ports', '15000-15100', 'port 15001, on which Orlop itself listens'],
  ['orlop.io/exclude-outbound-cidrs', '10.0.0.0/33', '"10.0.0.0/33" is not an address'],
  ['orlop.io/exclude-outbound-cidrs', '10.0.0', '"10.0.0" is not an address'],
  ['orlop.io/exclude-outbound-cidrs', 'fe80::1%eth0', 'is not an address'],
  ['orlop.io/exclude-uids', 'root', '"root" is not a numeric id'],
  ['orlop.io/exclude-interfaces', 'eth0; reboot', 'is not the name of a network interface'],
  ['orlop.io/exclude-interfaces', 'lo', '"lo" is never captured'],
  ['traffic.kuma.io/exclude-outbound-ports-for-uids', 'sctp:1:1', 'is not of the form protocol:ports:uids'],
  ['traffic.kuma.io/exclude-outbound-ports-for-uids', '80', 'is not of the form protocol:ports:uids'],
  ['traffic.kuma.io/drop-invalid-packets', 'true', 'does not honour'],
  ['sidecar.istio.io/interceptionMode', 'TPROXY', 'does not honour'],
  ['orlop.io/exclude-outbound-ports', Array.from({ length: 300 }, (_, i) => 2 * i + 1).join(), '300 entries; the limit is 256'],
])('%s: "%s" is a problem with a remedy', (annotation, value, message) => {
  const { problems } = parseExclusions({ [annotation]: value });
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatchObject({ annotation, message: expect.stringContaining(message) as string, remedy: expect.stringMatching(/\w/) as string });
});

test('what is wrong in a list does not take what is right with it', () => {
  const { exclusions, problems } = parseExclusions({ 'orlop.io/exclude-outbound-ports': '80,nonsense,443' });
  expect(exclusions.excludeOutboundPorts).toEqual([{ from: 80, to: 80 }, { from: 443, to: 443 }]);
  expect(problems).toHaveLength(1);
});

test('no text in any annotation throws, and no own port is ever excluded', () => {
  fc.assert(fc.property(fc.constantFrom(...Object.keys(ANNOTATIONS)), fc.oneof(fc.string(), fc.stringMatching(/^[0-9,:;\-*./ ]{0,30}$/)), (annotation, value) => {
    const { exclusions } = parseExclusions({ [annotation]: value });
    for (const port of OWN_PORTS) expect(rangesInclude([...exclusions.excludeInboundPorts, ...exclusions.excludeOutboundPorts], port)).toBe(false);
  }));
});

test('merged ranges hold the same values, ascending and apart', () => {
  const range = fc.tuple(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 0, max: 10 })).map(([from, length]) => ({ from, to: from + length }));
  fc.assert(fc.property(fc.array(range), (ranges) => {
    const merged = mergeRanges(ranges);
    for (let value = 0; value <= 75; value += 1) expect(rangesInclude(merged, value)).toBe(rangesInclude(ranges, value));
    for (const [i, { from }] of merged.entries()) if (i > 0) expect(from).toBeGreaterThan((merged[i - 1]?.to ?? 0) + 1);
  }));
});

test('a range reads back as it was written', () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 65_535 }), fc.nat(1000), fc.constantFrom('-', ':'), (from, length, separator) => {
    const to = Math.min(from + length, 65_535);
    expect(parseRange(`${from}${separator}${to}`, 1, 65_535)).toEqual({ from, to });
  }));
});
