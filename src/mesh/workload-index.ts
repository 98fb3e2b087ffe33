/**
 * The workloads of a snapshot by name and by address. The index of a snapshot that follows another is made of the other's and of what has
 * changed: a cluster of 100,000 pods changes all the time, and but a little each time.
 */
import { commonEnds } from './common-ends.ts';
import type { Snapshot, Workload } from './snapshot.ts';

/** Of a layer above the ground: when it has more entries than this share of the ground, both become one. */
const LAYER_SHARE = 8;
const LAYER_MIN = 64;

const indexes = new WeakMap<Snapshot, WorkloadIndex>();

/** Of one snapshot, computed once. */
export function workloadIndexOf(snapshot: Snapshot): WorkloadIndex {
  const index = indexes.get(snapshot) ?? WorkloadIndex.of(snapshot.workloads);
  indexes.set(snapshot, index);
  return index;
}

/** Have the index of `after` made of that of `before`, of which most still holds. */
export function carryWorkloads(before: Snapshot, after: Snapshot): void {
  indexes.set(after, workloadIndexOf(before).with(after.workloads));
}

export class WorkloadIndex {
  readonly #workloads: readonly Workload[];
  readonly #byId: Layers;
  readonly #byAddress: Layers;
  /** Two have one name or one address: the later one counts, and a change may bring the other to light. */
  readonly #ambiguous: boolean;

  private constructor(workloads: readonly Workload[], byId: Layers, byAddress: Layers, ambiguous: boolean) {
    this.#workloads = workloads;
    this.#byId = byId;
    this.#byAddress = byAddress;
    this.#ambiguous = ambiguous;
  }

  static of(workloads: readonly Workload[]): WorkloadIndex {
    const byId = new Map<string, Workload>();
    const byAddress = new Map<string, Workload>();
    let ambiguous = false;
    for (const workload of workloads) {
      ambiguous ||= byId.has(workload.id);
      byId.set(workload.id, workload);
      for (const address of addressesOf(workload)) {
        ambiguous ||= byAddress.has(address);
        byAddress.set(address, workload);
      }
    }
    return new WorkloadIndex(workloads, new Layers(byId), new Layers(byAddress), ambiguous);
  }

  /** The index of other workloads, cheap when most of them are the same objects. */
  with(workloads: readonly Workload[]): WorkloadIndex {
    if (workloads === this.#workloads) return this;
    const { removed, added } = difference(this.#workloads, workloads);
    if (this.#ambiguous || removed.length + added.length > Math.max(LAYER_MIN, workloads.length / LAYER_SHARE)) return WorkloadIndex.of(workloads);
    const ids = new Map<string, Change>(removed.map(({ id }) => [id, GONE]));
    const addresses = new Map<string, Change>(removed.flatMap((one) => addressesOf(one).map((address) => [address, GONE])));
    for (const workload of added) {
      if (holds(ids, this.#byId, workload.id)) return WorkloadIndex.of(workloads);
      ids.set(workload.id, workload);
      for (const address of addressesOf(workload)) {
        if (holds(addresses, this.#byAddress, address)) return WorkloadIndex.of(workloads);
        addresses.set(address, workload);
      }
    }
    return new WorkloadIndex(workloads, this.#byId.with(ids), this.#byAddress.with(addresses), false);
  }

  /** By `ns/name`. */
  get(id: string): Workload | undefined {
    return this.#byId.get(id);
  }

  /**
   * The pod that has this address: not one that has ended, which gives its address back while its object is still there, nor one of the host
   * network, which shares its node's.
   */
  at(address: string): Workload | undefined {
    return this.#byAddress.get(address);
  }
}

const GONE = null;
type Change = Workload | typeof GONE;

/** A map that is never changed, and a smaller one of what is different. */
class Layers {
  readonly #ground: ReadonlyMap<string, Workload>;
  readonly #above: ReadonlyMap<string, Change>;

  constructor(ground: ReadonlyMap<string, Workload>, above: ReadonlyMap<string, Change> = new Map()) {
    this.#ground = ground;
    this.#above = above;
  }

  /** Asked for every request. */
  get(key: string): Workload | undefined {
    const above = this.#above.get(key);
    return above === undefined ? this.#ground.get(key) : (above ?? undefined);
  }

  with(changes: ReadonlyMap<string, Change>): Layers {
    const above = new Map([...this.#above, ...changes]);
    if (above.size <= Math.max(LAYER_MIN, this.#ground.size / LAYER_SHARE)) return new Layers(this.#ground, above);
    const ground = new Map(this.#ground);
    for (const [key, workload] of above) {
      if (workload === GONE) ground.delete(key);
      else ground.set(key, workload);
    }
    return new Layers(ground);
  }
}

/** Once what is taken away is gone. */
function holds(changes: ReadonlyMap<string, Change>, layers: Layers, key: string): boolean {
  const change = changes.get(key);
  return change === undefined ? layers.get(key) !== undefined : change !== GONE;
}

function addressesOf({ addresses, phase, hostNetwork }: Workload): readonly string[] {
  return hostNetwork || phase === 'Succeeded' || phase === 'Failed' ? [] : addresses;
}

/** By identity. Both ends are compared first, since mostly a few elements differ. */
function difference(before: readonly Workload[], after: readonly Workload[]): { readonly removed: Workload[]; readonly added: Workload[] } {
  const { head, tail } = commonEnds(before, after);
  const old = new Set(before.slice(head, before.length - tail));
  const added = after.slice(head, after.length - tail).filter((workload) => !old.delete(workload));
  return { removed: [...old], added };
}
