/** Pods as the API server's watch has them this moment. Snapshots come later: after a burst of changes, and in large clusters seconds later. */
import { record } from '../mesh/parse/json.ts';
import { readPod } from '../mesh/parse/kubernetes.ts';
import type { Snapshot, Workload } from '../mesh/snapshot.ts';
import type { Reflector } from './reflector.ts';

export class LivePods {
  readonly #pods: Reflector;
  readonly #namespaces: Reflector;
  readonly #snapshot: () => Snapshot | undefined;
  readonly #waiting = new Set<() => void>();

  /** `snapshot`: what is in force, and all that is known as long as the server has told nothing. */
  constructor(pods: Reflector, namespaces: Reflector, snapshot: () => Snapshot | undefined) {
    this.#pods = pods;
    this.#namespaces = namespaces;
    this.#snapshot = snapshot;
  }

  /** A pod or a namespace may have changed. */
  changed(): void {
    for (const look of this.#waiting) look();
  }

  /** Undefined while it, or the namespace that may speak for it, is not known. */
  find(id: string): Workload | undefined {
    if (!this.#pods.synced) return this.#snapshot()?.workloads.find((workload) => workload.id === id);
    const [namespace = '', name = ''] = id.split('/');
    const pod = this.#pods.get(`Pod ${id}`);
    const owner = this.#namespaces.get(`Namespace ${namespace}`);
    if (pod === undefined || owner === undefined) return undefined;
    const origin = { kind: 'Pod', namespace, name, file: pod.name, line: 0, createdMs: Date.parse(String(record(pod.value['metadata'])['creationTimestamp'])) || 0 };
    return readPod(origin, pod.value, owner.value, this.#snapshot()?.mesh.istioDataplaneMode === 'honoured');
  }

  /** The pod, as soon as it is known and `isIt`; rejects with the reason of `signal`. */
  async until(id: string, isIt: (pod: Workload) => boolean, signal: AbortSignal): Promise<Workload> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.#waiting.delete(look);
        signal.removeEventListener('abort', give);
      };
      const look = (): void => {
        const pod = this.find(id);
        if (pod === undefined || !isIt(pod)) return;
        end();
        resolve(pod);
      };
      const give = (): void => {
        end();
        reject(signal.reason as Error);
      };
      this.#waiting.add(look);
      signal.addEventListener('abort', give);
      if (signal.aborted) give();
      else look();
    });
  }
}
