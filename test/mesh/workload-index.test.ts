/** An index that follows another answers like one that is made anew. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Workload } from '../../src/mesh/snapshot.ts';
import { WorkloadIndex } from '../../src/mesh/workload-index.ts';

function workload(number: number, address: number, phase = 'Running', hostNetwork = false): Workload {
  return {
    id: `shop/pod-${number}`, uid: `uid-${number}`, name: `pod-${number}`, namespace: 'shop', labels: {}, annotations: {}, serviceAccount: 'default', node: 'one', addresses: [`10.0.0.${address}`], phase, ready: true, hostNetwork,
    enrolled: true, asked: true, enrolReason: '', ports: [], probes: [], netnsPath: undefined, workloadName: '', canonicalName: '', canonicalRevision: '', app: '', version: '',
  };
}

describe('the index of workloads', () => {
  it('finds by name and by address', () => {
    const one = workload(1, 7);
    const index = WorkloadIndex.of([one, workload(2, 8)]);
    expect([index.get('shop/pod-1'), index.at('10.0.0.7'), index.get('shop/pod-3'), index.at('10.0.0.9')]).toEqual([one, one, undefined, undefined]);
  });

  it('knows no pod by an address that it shares or has given back', () => {
    const index = WorkloadIndex.of([workload(1, 1, 'Succeeded'), workload(2, 2, 'Failed'), workload(3, 3, 'Running', true)]);
    expect([1, 2, 3].map((last) => index.at(`10.0.0.${last}`))).toEqual([undefined, undefined, undefined]);
    expect(index.get('shop/pod-3')).toBeDefined();
  });

  it('gives an address to the pod that has it now', () => {
    const [first, second] = [workload(1, 1), workload(2, 1)];
    expect(WorkloadIndex.of([first]).with([second]).at('10.0.0.1')).toBe(second);
    // Two at once: the later one, and when it goes, the other again.
    const both = WorkloadIndex.of([first]).with([first, second]);
    expect(both.at('10.0.0.1')).toBe(second);
    expect(both.with([first]).at('10.0.0.1')).toBe(first);
  });

  it('is the same however it was made', () => {
    const known = new Map<string, Workload>();
    const kept = fc.record({ number: fc.nat(300), address: fc.nat(300), ended: fc.boolean() }).map(({ number, address, ended }) => {
      const key = `${number} ${address} ${ended}`;
      const value = known.get(key) ?? workload(number, address, ended ? 'Succeeded' : 'Running');
      known.set(key, value);
      return value;
    });
    const many = Array.from({ length: 200 }, (_, i) => workload(i + 1000, i + 1000));
    // Few changes of many pods go into layers; each state changes a part of the one before.
    const states = fc.array(fc.record({ from: fc.nat(200), count: fc.nat(5), added: fc.array(kept, { maxLength: 4 }) }), { maxLength: 40 });
    fc.assert(
      fc.property(states, (changes) => {
        let workloads: readonly Workload[] = many;
        let index = WorkloadIndex.of(workloads);
        for (const { from, count, added } of changes) {
          workloads = [...workloads.slice(0, from), ...added, ...workloads.slice(from + count)];
          index = index.with(workloads);
        }
        const fresh = WorkloadIndex.of(workloads);
        for (const { id, addresses } of [...many, ...known.values()]) {
          expect(index.get(id)).toBe(fresh.get(id));
          for (const address of addresses) expect(index.at(address)).toBe(fresh.at(address));
        }
      }),
    );
  });
});
