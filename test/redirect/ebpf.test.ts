import { expect, test } from 'vitest';
import { nodeDirectory } from '../../src/redirect/ebpf/pins.ts';
import { cidrKeys, planPod, podValue, unsupportedByEbpf } from '../../src/redirect/ebpf/plan.ts';
import { NO_EXCLUSIONS, parseExclusions } from '../../src/redirect/exclusions.ts';
import { ebpfObstacle } from '../../src/redirect/detect.ts';
import { LAYOUTS, RANGES_MAX } from '../../src/sys/layout.ts';

const noInterface = (): undefined => undefined;

test('the pod\'s own addresses and link-local ones are left alone', () => {
  const plan = planPod(NO_EXCLUSIONS, ['10.0.0.7', 'fd00::7'], noInterface);
  expect(plan.cidrs).toEqual([
    { list: 'outboundExclude', cidr: 'fe80::/10' },
    { list: 'outboundExclude', cidr: '10.0.0.7/32' },
    { list: 'outboundExclude', cidr: 'fd00::7/128' },
  ]);
  expect(cidrKeys(plan, 9n).map((key) => key.length)).toEqual([LAYOUTS.cidr.size, LAYOUTS.cidr.size, LAYOUTS.cidr.size]);
  expect(podValue(plan)).toHaveLength(LAYOUTS.pod.size);
});

test('what eBPF cannot honour is named', () => {
  expect(unsupported({ 'orlop.io/exclude-outbound-ports': '80', 'orlop.io/exclude-uids': '1', 'orlop.io/exclude-outbound-cidrs': '10.0.0.0/8' })).toEqual([]);
  expect(unsupported({ 'orlop.io/exclude-interfaces': 'eth1' })).toEqual([expect.stringContaining('excluded interfaces')]);
  expect(unsupported({ 'istio.io/reroute-virtual-interfaces': 'tap0' })).toEqual([expect.stringContaining('virtual interfaces')]);
  const ports = Array.from({ length: RANGES_MAX + 1 }, (_, i) => 2 * i + 1).join();
  expect(unsupported({ 'orlop.io/exclude-outbound-ports': ports })).toEqual([`excluded outbound ports: ${RANGES_MAX + 1} ranges, and the eBPF backend holds ${RANGES_MAX}`]);
  expect(unsupported({ 'traffic.kuma.io/exclude-outbound-ports-for-uids': `${ports}:1-2` })).toEqual([expect.stringContaining('excluded users')]);
});

test('lists longer than the programs hold are cut, never written past their end', () => {
  const { exclusions } = parseExclusions({ 'orlop.io/exclude-outbound-ports': Array.from({ length: 200 }, (_, i) => 2 * i + 1).join() });
  expect(planPod(exclusions, [], noInterface).config.excludeOutboundPorts).toHaveLength(RANGES_MAX);
});

test('the reason against eBPF is told', () => {
  expect(ebpfObstacle('/nowhere/capture.bpf.o', '5.15.0-91-generic')).toContain('Linux 5.15.0-91-generic is older than 5.17');
  expect(ebpfObstacle('/nowhere/capture.bpf.o', '6.1.0')).toContain('/nowhere/capture.bpf.o is not built');
});

test('a node name cannot lead out of the node\'s directory', () => {
  expect(nodeDirectory('node-1.example')).toBe('/sys/fs/bpf/orlop/node-1_example');
  for (const name of ['..', '../etc', 'a/b', '', 'A', '-a']) expect(() => nodeDirectory(name), name).toThrow('is not a node name');
});

function unsupported(annotations: Record<string, string>): string[] {
  return unsupportedByEbpf(parseExclusions(annotations).exclusions);
}
