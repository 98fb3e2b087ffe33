/** A large cluster: nothing in its tables grows with what a single lookup costs. */
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { buildSnapshot } from '../../src/mesh/build.ts';
import { compile } from '../../src/mesh/compile/compile.ts';
import { findDestination } from '../../src/mesh/route.ts';
import type { Workload } from '../../src/mesh/snapshot.ts';
import { request, routeOf, shares } from './world.ts';

const SERVICES = 10_000;
const RULES = 1_000;

describe('10,000 Services and 1,000 VirtualServices', () => {
  it('compile, and each is found by address and by name', { timeout: 60_000 }, () => {
    const service = (i: number): string => JSON.stringify({ apiVersion: 'v1', kind: 'Service', metadata: { name: `s${i}`, namespace: `n${i % 50}` }, spec: { clusterIP: `10.96.${i >> 8}.${i & 255}`, ports: [{ name: 'http', port: 80 }] } });
    const rule = (i: number): string => JSON.stringify({
      apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata: { name: `r${i}`, namespace: `n${i % 50}` },
      spec: { hosts: [`s${i}`], http: [{ match: [{ uri: { prefix: '/other' } }], route: [{ destination: { host: `s${i + 1}.n${(i + 1) % 50}.svc.cluster.local` } }] }, { route: [{ destination: { host: `s${i}` } }] }] },
    });
    const pod = stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'client', namespace: 'n0' } });
    const text = (count: number, one: (i: number) => string): string => Array.from({ length: count }, (_, i) => one(i)).join('\n---\n');
    const snapshot = buildSnapshot([{ name: 'services.yaml', text: text(SERVICES, service) }, { name: 'rules.yaml', text: text(RULES, rule) }, { name: 'pod.yaml', text: pod }]);
    expect(snapshot.problems).toEqual([]);
    const table = compile(snapshot, snapshot.workloads[0] as Workload);
    expect(table.clusters.size).toBe(SERVICES);
    for (const i of [0, 1, 999, 1000, SERVICES - 1]) {
      const host = `s${i}.n${i % 50}`;
      const own = `outbound|80||${host}.svc.cluster.local`;
      expect(findDestination(table, `10.96.${i >> 8}.${i & 255}`, 80)?.service.name).toBe(`s${i}`);
      expect(shares(routeOf(table, request(host), 80))).toEqual({ [own]: 1 });
      const other = i < RULES ? `outbound|80||s${i + 1}.n${(i + 1) % 50}.svc.cluster.local` : own;
      expect(shares(routeOf(table, request(host, '/other'), 80))).toEqual({ [other]: 1 });
    }
    // A second workload of the class shares what was computed for the first.
    expect(compile(snapshot, { ...(snapshot.workloads[0] as Workload), id: 'n0/second' }).outbound).toBe(table.outbound);
  });
});
