/**
 * The networks that the CNI plugin has told of, by pod: where a pod's namespace is, and which addresses it has, before the API server knows, and
 * before a process is in it. One is kept until it is torn down, or its pod is gone; on disk too, for the next agent.
 */
import { existsSync } from 'node:fs';
import type { Workload } from '../mesh/snapshot.ts';
import type { Sandbox } from './cni-server.ts';
import type { JsonFile } from './json-file.ts';
import { kubeletUidOf } from './pod-namespaces.ts';

interface Kept {
  readonly sandbox: Sandbox;
  /** Who waits for the pod to be served; undefined when it is. */
  waiting: PromiseWithResolvers<void> | undefined;
  /** Has the configuration had its pod? */
  known: boolean;
}

export class Sandboxes {
  readonly #file: JsonFile;
  #kept = new Map<string, Kept>();

  constructor(file: JsonFile) {
    this.#file = file;
    this.reload();
  }

  /** What another agent has written meanwhile. */
  reload(): void {
    const saved = (this.#file.read() ?? []) as readonly Sandbox[];
    const waiting = [...this.#kept].filter(([, kept]) => kept.waiting !== undefined);
    this.#kept = new Map<string, Kept>([...saved.map((sandbox) => [sandbox.id, { sandbox, waiting: undefined, known: true }] as const), ...waiting]);
  }

  /** In place of one before. Resolves when {@link served} is called for the pod. */
  async add(sandbox: Sandbox): Promise<void> {
    const waiting = Promise.withResolvers<void>();
    this.#kept.set(sandbox.id, { sandbox, waiting, known: false });
    return waiting.promise;
  }

  served(id: string): void {
    const kept = this.#kept.get(id);
    if (kept?.waiting === undefined) return;
    this.#save();
    kept.waiting.resolve();
    kept.waiting = undefined;
  }

  /** False when this is not the pod's sandbox any more. */
  remove({ id, containerId }: Pick<Sandbox, 'id' | 'containerId'>): boolean {
    if (this.#kept.get(id)?.sandbox.containerId !== containerId) return false;
    this.#kept.delete(id);
    this.#save();
    return true;
  }

  /** The sandbox of this very pod, not of another that had its name, nor one that was torn down without a word: while no agent, or no plugin, was there. */
  of(workload: Workload): Sandbox | undefined {
    const kept = this.#kept.get(workload.id);
    if (kept === undefined || (kept.sandbox.uid !== '' && kept.sandbox.uid !== kubeletUidOf(workload))) return undefined;
    if (!existsSync(kept.sandbox.netnsPath)) {
      this.remove(kept.sandbox);
      return undefined;
    }
    kept.known = true;
    return kept.sandbox;
  }

  /** The pod with the addresses it really has: until its kubelet has reported them, the API server has none, or those of the sandbox before. */
  complete(workload: Workload): Workload {
    const addresses = this.of(workload)?.addresses ?? [];
    return addresses.length === 0 ? workload : { ...workload, addresses };
  }

  /** Forget those whose pods were there, and are not any more. */
  retain(workloads: readonly Workload[]): void {
    const present = new Set(workloads.map(({ id }) => id));
    const gone = [...this.#kept].filter(([id, { known }]) => known && !present.has(id));
    for (const [id] of gone) this.#kept.delete(id);
    if (gone.length > 0) this.#save();
  }

  #save(): void {
    this.#file.write([...this.#kept.values()].map(({ sandbox }) => sandbox));
  }
}
