/** Which identities a node may ask for: those of the pods that are on it, as Istio's node authorizer has it. */
import { formatSpiffeId } from '../core/spiffe.ts';
import type { Snapshot, Workload } from '../mesh/snapshot.ts';

/** Phases of a pod whose processes have ended: nobody is there who could use a certificate. */
const ENDED = new Set(['Succeeded', 'Failed']);

export interface PodIdentity {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export class NodeIdentities {
  #ofNode: ReadonlyMap<string, ReadonlySet<string>> = new Map();
  #pods: ReadonlyMap<string, Workload> = new Map();
  #trustDomain = '';

  get trustDomain(): string {
    return this.#trustDomain;
  }

  apply({ workloads, mesh: { trustDomain } }: Snapshot): void {
    const ofNode = new Map<string, Set<string>>();
    for (const { node, namespace, serviceAccount, phase } of workloads) {
      if (node === '' || ENDED.has(phase)) continue;
      const identities = ofNode.get(node) ?? new Set();
      identities.add(formatSpiffeId({ trustDomain, namespace, serviceAccount }));
      ofNode.set(node, identities);
    }
    this.#pods = new Map(workloads.map((workload) => [workload.id, workload]));
    this.#ofNode = ofNode;
    this.#trustDomain = trustDomain;
  }

  /** The node of a pod, told apart from others of its name by its UID; undefined when it is not there. */
  nodeOf(pod: PodIdentity): string | undefined {
    const found = this.#pods.get(`${pod.namespace}/${pod.name}`);
    return found === undefined || found.uid !== pod.uid || found.node === '' ? undefined : found.node;
  }

  has(node: string, identity: string): boolean {
    return this.#ofNode.get(node)?.has(identity) ?? false;
  }
}
