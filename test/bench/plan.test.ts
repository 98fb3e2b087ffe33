import { expect, test } from 'vitest';

import { parseCpuList } from '../../bench/machine.ts';
import { CASES, PAIRS, parsePlan, PEERS } from '../../bench/plan.ts';

test('without arguments everything is measured, at length', () => {
  const plan = parsePlan([], '/out');
  expect(plan).toMatchObject({ peers: [...PEERS], pairs: [...PAIRS], cases: [...CASES], quick: false, redirect: 'ebpf', out: '/out' });
  expect(plan.rounds).toBeGreaterThan(parsePlan(['--quick'], '/out').rounds);
});

test('peers and cases can be chosen, and keep their order', () => {
  const plan = parsePlan(['--only', 'orlop,direct', '--cases', 'latency,keepalive', '--out', '/tmp/x'], '/out');
  expect(plan).toMatchObject({ peers: ['direct', 'orlop'], cases: ['keepalive', 'latency'], out: '/tmp/x' });
});

test('pairs are started for the cases about pairs, and single proxies for theirs', () => {
  expect(parsePlan(['--cases', 'mtls,mtls-upload'], '/out')).toMatchObject({ peers: [], pairs: [...PAIRS] });
  expect(parsePlan(['--cases', 'keepalive'], '/out')).toMatchObject({ peers: [...PEERS], pairs: [] });
  expect(parsePlan(['--only', 'orlop-mtls,envoy', '--cases', 'mtls,latency'], '/out')).toMatchObject({ peers: ['envoy'], pairs: ['orlop-mtls'] });
  expect(() => parsePlan(['--only', 'envoy', '--cases', 'mtls'], '/out')).toThrow('none of --only envoy is measured by --cases mtls');
});

test('an unknown name is refused with the known ones', () => {
  expect(() => parsePlan(['--only', 'traefik'], '/out')).toThrow('--only: traefik is not one of direct, nginx');
  expect(() => parsePlan(['--cases', 'grpc'], '/out')).toThrow('keepalive');
  expect(() => parsePlan(['--redirect', 'tproxy'], '/out')).toThrow('ebpf');
  expect(() => parsePlan(['--fast'], '/out')).toThrow('--fast');
});

test('lists of cores are read as the kernel writes them', () => {
  expect(parseCpuList('0-3,8')).toEqual([0, 1, 2, 3, 8]);
  expect(parseCpuList('5')).toEqual([5]);
  expect(parseCpuList('')).toEqual([]);
});
