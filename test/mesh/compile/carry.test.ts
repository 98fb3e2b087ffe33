/** Tables that are compiled with what the snapshot before left are those that would be compiled without it, whatever has changed. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildSnapshot } from '../../../src/mesh/build.ts';
import type { SourceObject } from '../../../src/mesh/build.ts';
import { applyChange, changeBetween } from '../../../src/mesh/change.ts';
import { carry, compile, workloadClass } from '../../../src/mesh/compile/compile.ts';
import { describeTable } from '../../../src/mesh/describe.ts';
import type { Snapshot } from '../../../src/mesh/snapshot.ts';

type Values = Readonly<Record<string, unknown>>;

/** A source gives the same value for an object that has not changed. */
const sources = new Map<string, SourceObject>();

function object(kind: string, name: string, apiVersion: string, rest: Values, metadata: Values = {}): SourceObject {
  const value = { apiVersion, kind, metadata: { name, namespace: 'shop', ...metadata }, ...rest };
  const key = JSON.stringify(value);
  const source = sources.get(key) ?? { name: `${kind} ${name}`, value };
  sources.set(key, source);
  return source;
}

const ADDRESS = (pod: number): string => `10.0.0.${pod + 1}`;

const pod = (number: number, { version, node, enrolled, ended }: { version: string; node: string; enrolled: boolean; ended: boolean }): SourceObject =>
  object('Pod', `pod-${number}`, 'v1', {
    spec: { nodeName: node, serviceAccountName: `account-${number % 3}`, containers: [{ name: 'app', ports: [{ name: 'web', containerPort: 8080 }] }] },
    status: { phase: ended ? 'Succeeded' : 'Running', podIPs: [{ ip: ADDRESS(number) }], conditions: [{ type: 'Ready', status: 'True' }] },
  }, { labels: { app: `app-${number % 3}`, version }, annotations: { 'orlop.io/mesh': enrolled ? 'enabled' : 'disabled' } });

const service = (number: number, { headless, protocol }: { headless: boolean; protocol: string }): SourceObject =>
  object('Service', `app-${number}`, 'v1', { spec: { clusterIP: headless ? 'None' : `10.96.0.${number + 1}`, selector: { app: `app-${number}` }, ports: [{ name: protocol, port: 80, targetPort: 'web' }, { name: 'tcp-more', port: 81, targetPort: 9000 }] } });

const slice = (number: number, pods: readonly { pod: number; ready: boolean }[]): SourceObject =>
  object('EndpointSlice', `app-${number}-1`, 'discovery.k8s.io/v1', {
    addressType: 'IPv4', ports: [{ name: 'http', port: 8080 }, { name: 'tcp', port: 8080 }, { name: 'tcp-more', port: 9000 }],
    endpoints: pods.map((one) => ({ addresses: [ADDRESS(one.pod)], conditions: { ready: one.ready }, targetRef: { kind: 'Pod', name: `pod-${one.pod}`, namespace: 'shop' } })),
  }, { labels: { 'kubernetes.io/service-name': `app-${number}` } });

const rules: readonly SourceObject[] = [
  object('VirtualService', 'split', 'networking.istio.io/v1', { spec: { hosts: ['app-0'], http: [{ match: [{ sourceLabels: { version: 'v1' } }], route: [{ destination: { host: 'app-1' } }] }, { route: [{ destination: { host: 'app-0', subset: 'v1' } }] }] } }),
  object('DestinationRule', 'subsets', 'networking.istio.io/v1', { spec: { host: 'app-0', subsets: [{ name: 'v1', labels: { version: 'v1' } }, { name: 'v2', labels: { version: 'v2' } }] } }),
  object('DestinationRule', 'limits', 'networking.istio.io/v1', { spec: { host: '*.shop.svc.cluster.local', trafficPolicy: { connectionPool: { tcp: { maxConnections: 5 } } } } }),
  object('ServiceEntry', 'selected', 'networking.istio.io/v1', { spec: { hosts: ['outside.example.com'], ports: [{ number: 443, name: 'tls', protocol: 'TLS' }], resolution: 'STATIC', workloadSelector: { labels: { version: 'v2' } } } }),
  object('AuthorizationPolicy', 'one', 'security.istio.io/v1', { spec: { selector: { matchLabels: { app: 'app-1' } }, rules: [{ from: [{ source: { namespaces: ['shop'] } }] }] } }),
  object('AuthorizationPolicy', 'target', 'security.istio.io/v1', { spec: { targetRefs: [{ kind: 'Service', group: '', name: 'app-2' }], action: 'DENY', rules: [{ to: [{ operation: { methods: ['POST'] } }] }] } }),
  object('PeerAuthentication', 'strict', 'security.istio.io/v1', { spec: { mtls: { mode: 'STRICT' } } }),
  object('ConfigMap', 'istio', 'v1', { data: { mesh: 'trustDomain: other.example\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}' } }, { namespace: 'istio-system' }),
];

interface World {
  readonly pods: readonly Parameters<typeof pod>[1][];
  readonly members: readonly Parameters<typeof slice>[1][];
  readonly services: readonly Parameters<typeof service>[1][];
  readonly rules: readonly SourceObject[];
}

const pods = fc.array(fc.record({ version: fc.constantFrom('v1', 'v2'), node: fc.constantFrom('one', 'two'), enrolled: fc.boolean(), ended: fc.boolean() }), { minLength: 4, maxLength: 6 });
const members = fc.array(fc.uniqueArray(fc.record({ pod: fc.nat(5), ready: fc.boolean() }), { selector: (one) => one.pod, maxLength: 4 }), { minLength: 3, maxLength: 3 });
const services = fc.array(fc.record({ headless: fc.constantFrom(false, false, true), protocol: fc.constantFrom('http', 'http', 'tcp') }), { minLength: 1, maxLength: 3 });
const some = fc.subarray([...rules]);
const start: fc.Arbitrary<World> = fc.record({ pods, members, services, rules: some });
/** One thing at a time: mostly pods and endpoints, as in a cluster. */
const next: fc.Arbitrary<Partial<World>> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ pods }) },
  { weight: 4, arbitrary: fc.record({ members }) },
  { weight: 2, arbitrary: fc.record({ services }) },
  { weight: 2, arbitrary: fc.record({ rules: some }) },
);

function sourcesOf(world: World): SourceObject[] {
  return [...world.pods.map((one, i) => pod(i, one)), ...world.services.flatMap((one, i) => [service(i, one), slice(i, world.members[i] ?? [])]), ...world.rules];
}

function seen(snapshot: Snapshot): unknown {
  return snapshot.workloads.map((workload) => {
    const table = compile(snapshot, workload);
    return { class: workloadClass(snapshot, workload), table: describeTable(table), at: snapshot.workloads.flatMap(({ addresses }) => addresses.map((address) => table.podAt(address))) };
  });
}

describe('a snapshot that follows another', () => {
  it('compiles to the tables that it compiles to by itself', () => {
    fc.assert(
      fc.property(start, fc.array(next, { minLength: 1, maxLength: 8 }), (before, changes) => {
        let world = before;
        let meant: Snapshot = { ...buildSnapshot(sourcesOf(world)), problems: [] };
        let held = structuredClone(meant);
        seen(held);
        for (const change of changes) {
          world = { ...world, ...change };
          const after: Snapshot = { ...buildSnapshot(sourcesOf(world), meant), problems: [] };
          const sent = applyChange(held, structuredClone(changeBetween(meant, after)));
          carry(held, sent);
          expect(seen(sent)).toEqual(seen(structuredClone(after)));
          [meant, held] = [after, sent];
        }
      }),
      { numRuns: 150 },
    );
  });

  it('keeps what is not affected the very same', () => {
    const world: World = {
      pods: Array.from({ length: 4 }, () => ({ version: 'v1', node: 'one', enrolled: true, ended: false })),
      members: [[{ pod: 0, ready: true }, { pod: 3, ready: true }], [{ pod: 1, ready: true }]],
      services: [{ headless: false, protocol: 'http' }, { headless: false, protocol: 'http' }],
      rules: rules.slice(0, 2),
    };
    const before = buildSnapshot(sourcesOf(world));
    const client = before.workloads[2];
    if (client === undefined) throw new Error('no client');
    const first = compile(before, client);
    const after = applyChange(before, changeBetween(before, buildSnapshot(sourcesOf({ ...world, members: [[{ pod: 0, ready: true }], [{ pod: 1, ready: true }]] }), before)));
    carry(before, after);
    const second = compile(after, client);
    expect(second.outbound).toBe(first.outbound);
    const kept = [...second.clusters.values()].filter((cluster) => first.clusters.get(cluster.key) === cluster).map(({ service: { name } }) => name);
    expect(new Set(kept)).toEqual(new Set(['app-1']));
    expect(second.clusters.get('outbound|80||app-0.shop.svc.cluster.local')?.endpoints.map(({ address }) => address)).toEqual([ADDRESS(0)]);
  });

  it('has no Service that is gone', () => {
    const world: World = { pods: [{ version: 'v1', node: 'one', enrolled: true, ended: false }], members: [], services: [{ headless: false, protocol: 'http' }, { headless: false, protocol: 'http' }], rules: [] };
    const before = buildSnapshot(sourcesOf(world));
    const [client] = before.workloads;
    if (client === undefined) throw new Error('no client');
    expect([...compile(before, client).outbound.destinations.keys()]).toContain('10.96.0.2:80');
    const after = applyChange(before, changeBetween(before, buildSnapshot(sourcesOf({ ...world, services: world.services.slice(0, 1) }), before)));
    carry(before, after);
    expect([...compile(after, client).outbound.destinations.keys()]).toEqual(['10.96.0.1:80', '10.96.0.1:81']);
  });
});
