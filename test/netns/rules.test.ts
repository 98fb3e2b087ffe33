/** The text of the rules must be what the kernel gives back, in both variants of iptables, or every check would see drift. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cleanNetns } from '../../src/redirect/clean.ts';
import { parseExclusions } from '../../src/redirect/exclusions.ts';
import { Iptables } from '../../src/redirect/iptables/apply.ts';
import { compareRules } from '../../src/redirect/iptables/check.ts';
import { compileRules } from '../../src/redirect/iptables/rules.ts';
import { CASES } from '../redirect/cases.ts';
import { Cluster } from './cluster.ts';
import type { Host } from './cluster.ts';

describe.each(['nft', 'legacy'] as const)('iptables-%s', (variant) => {
  let cluster: Cluster;
  let pod: Host;

  beforeAll(() => {
    cluster = Cluster.create({ nodes: 1 });
    pod = cluster.addPod(1, variant);
  });

  afterAll(() => cluster[Symbol.asyncDispose]());

  test.each(Object.keys(CASES).flatMap((name) => [[name, 4], [name, 6]] as const))('%s, IPv%d', (name, family) => {
    const tables = compileRules(parseExclusions(CASES[name] ?? {}).exclusions, family);
    const iptables = new Iptables(variant, family);
    pod.netns.run(() => iptables.apply(tables));
    expect(pod.netns.run(() => compareRules(name, family, tables, iptables.save()))).toEqual([]);
    const unchanged = pod.netns.run(() => iptables.fingerprint());
    pod.netns.run(() => iptables.apply(tables));
    expect(pod.netns.run(() => compareRules(name, family, tables, iptables.save()))).toEqual([]);
    expect(unchanged).toBeDefined();
    cleanNetns(pod.netns);
    expect([...pod.netns.run(() => iptables.save()).values()].flatMap((chains) => [...chains.values()].flat())).toEqual([]);
  });
});
