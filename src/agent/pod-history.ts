/**
 * Which pods of this node have been captured before, by this agent or an earlier one, and which have been outside on purpose. By it a pod that came up
 * outside the mesh although it should have been captured before it started (its node was rebooted, the CNI configuration overwritten) is
 * told from one that was annotated later, and from one whose agent was replaced. `/run`, where it is kept, is empty after a reboot.
 */
import type { Workload } from '../mesh/snapshot.ts';
import type { JsonFile } from './json-file.ts';

export class PodHistory {
  readonly #file: JsonFile;
  /** UIDs. */
  #captured = new Set<string>();
  #outside = new Set<string>();

  constructor(file: JsonFile) {
    this.#file = file;
    this.reload();
  }

  /** What another agent has written meanwhile. */
  reload(): void {
    const saved = this.#file.read();
    this.#captured = new Set(Array.isArray(saved) ? saved.filter((uid) => typeof uid === 'string') : []);
  }

  /** All pods of the node, as they are wanted now; those that are gone are forgotten. */
  see(workloads: readonly Workload[]): void {
    const present = new Set(workloads.map(({ uid }) => uid));
    const before = this.#captured.size;
    this.#captured = this.#captured.intersection(present);
    this.#outside = this.#outside.intersection(present).union(new Set(workloads.filter(({ enrolled }) => !enrolled).map(({ uid }) => uid)));
    if (this.#captured.size !== before) this.#save();
  }

  /** Should this pod, which is joining while it runs, have been captured before it started? */
  isLate({ uid }: Workload): boolean {
    return !this.#captured.has(uid) && !this.#outside.has(uid);
  }

  captured({ uid }: Workload): void {
    if (this.#captured.has(uid)) return;
    this.#captured.add(uid);
    this.#save();
  }

  #save(): void {
    this.#file.write([...this.#captured]);
  }
}
