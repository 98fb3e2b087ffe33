/** A snapshot made of the one before and what has changed is the snapshot that was meant, and shares with the one before all that stays. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildSnapshot } from '../../src/mesh/build.ts';
import type { SourceObject } from '../../src/mesh/build.ts';
import { applyChange, changeBetween } from '../../src/mesh/change.ts';
import type { SnapshotChange } from '../../src/mesh/change.ts';
import type { Snapshot } from '../../src/mesh/snapshot.ts';

/** As it arrives in another thread. */
function crossed<T>(value: T): T {
  return structuredClone(value);
}

function pod(number: number, version = 0): SourceObject {
  const name = `pod-${number}`;
  return {
    name: `Pod shop/${name}`,
    value: { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'shop', labels: { version: `v${version}` } }, spec: { nodeName: 'one' }, status: { phase: 'Running', podIPs: [{ ip: `10.0.0.${number}` }] } },
  };
}

function rule(name: string, host: string): SourceObject {
  return { name: `VirtualService shop/${name}`, value: { apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata: { name, namespace: 'shop' }, spec: { hosts: [host], http: [{ route: [{ destination: { host } }] }] } } };
}

function step(before: Snapshot, sources: readonly SourceObject[]): { readonly after: Snapshot; readonly change: SnapshotChange } {
  const after = buildSnapshot(sources, before);
  return { after, change: crossed(changeBetween(before, after)) };
}

/** Without what stays in the main thread. */
function sent(snapshot: Snapshot): Snapshot {
  return { ...snapshot, objects: {}, problems: [] };
}

const first = Array.from({ length: 20 }, (_, i) => pod(i));

describe('a change', () => {
  it('is as small as what has changed', () => {
    const before = buildSnapshot([...first, rule('web', 'web')]);
    // The rule is another object, though it says the same.
    const after = buildSnapshot([...first.with(7, pod(7, 1)), rule('web', 'web')], before);
    const change = changeBetween(sent(before), sent(after));
    expect(Object.keys(change.members).sort()).toEqual(['version', 'virtualServices', 'workloads']);
    expect(change.members['workloads']).toMatchObject({ parts: [{ at: 0, count: 7 }, { added: [{ id: 'shop/pod-7', labels: { version: 'v1' } }] }, { at: 8, count: 12 }] });
  });

  it('leaves what has not changed the same object', () => {
    const web = rule('web', 'web');
    const before = buildSnapshot([...first, web]);
    const held = crossed(before);
    const { change } = step(before, [...first.with(7, pod(7, 1)), web]);
    const result = applyChange(held, change);
    expect(result.virtualServices).toBe(held.virtualServices);
    expect(result.mesh).toBe(held.mesh);
    expect(result.gatewayApi).toBe(held.gatewayApi);
    expect(result.workloads.filter((workload, i) => workload !== held.workloads[i]).map(({ id }) => id)).toEqual(['shop/pod-7']);
  });

  it('of another snapshot is refused', () => {
    const before = buildSnapshot(first);
    const { after, change } = step(before, first.slice(1));
    expect(() => applyChange(after, change)).toThrow('a change of snapshot 1 cannot be applied to snapshot 2');
  });

  it('of any kind leads to the snapshot that was meant', () => {
    const sources = fc.uniqueArray(fc.record({ number: fc.nat(30), version: fc.nat(1) }), { selector: ({ number }) => number, maxLength: 25 }).map((pods) => pods.map(({ number, version }) => kept(number, version)));
    fc.assert(
      fc.property(fc.array(sources, { minLength: 2, maxLength: 6 }), (states) => {
        let meant = buildSnapshot(states[0] ?? []);
        let held = crossed(meant);
        for (const state of states.slice(1)) {
          const { after, change } = step(meant, state);
          held = applyChange(held, change);
          meant = after;
          expect(held).toEqual(meant);
        }
      }),
    );
  });
});

/** A source gives the same value for an object that has not changed. */
const values = new Map<string, SourceObject>();

function kept(number: number, version: number): SourceObject {
  const key = `${number} ${version}`;
  const value = values.get(key) ?? pod(number, version);
  values.set(key, value);
  return value;
}
