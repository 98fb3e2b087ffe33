/** Which identities a node may ask for: those of the pods that are on it, as Istio's node authorizer has it, and those of the gateways that have chosen it. */
import { formatSpiffeId } from '../core/spiffe.ts';
import { gatewaysOf } from '../mesh/gateway/compile.ts';
import { isPlacedOn, placementOf, serviceAccountOf } from '../mesh/gateway/placement.ts';
import type { Placement } from '../mesh/gateway/placement.ts';
import type { Snapshot, Workload } from '../mesh/snapshot.ts';

/** Phases of a pod whose processes have ended: nobody is there who could use a certificate. */
const ENDED = new Set(['Succeeded', 'Failed']);

export interface PodIdentity {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

interface GatewayIdentity {
  readonly identity: string;
  readonly placement: Placement;
}

export class NodeIdentities {
  readonly #standalone: boolean;
  #gateways: readonly GatewayIdentity[] = [];
  #nodeLabels: Snapshot['nodeLabels'] = {};
  #ofNode: ReadonlyMap<string, ReadonlySet<string>> = new Map();
  #pods: ReadonlyMap<string, Workload> = new Map();
  #trustDomain = '';

  /** `standalone`: there is no cluster, and gateways are placed as agents of a directory place them. */
  constructor(standalone = false) {
    this.#standalone = standalone;
  }

  get trustDomain(): string {
    return this.#trustDomain;
  }

  apply(snapshot: Snapshot): void {
    const { workloads, mesh: { trustDomain } } = snapshot;
    const ofNode = new Map<string, Set<string>>();
    for (const { node, namespace, serviceAccount, phase } of workloads) {
      if (node === '' || ENDED.has(phase)) continue;
      const identities = ofNode.get(node) ?? new Set();
      identities.add(formatSpiffeId({ trustDomain, namespace, serviceAccount }));
      ofNode.set(node, identities);
    }
    this.#pods = new Map(workloads.map((workload) => [workload.id, workload]));
    this.#ofNode = ofNode;
    this.#nodeLabels = snapshot.nodeLabels;
    this.#gateways = gatewaysOf(snapshot).map((id) => ({
      identity: formatSpiffeId({ trustDomain, namespace: id.namespace, serviceAccount: serviceAccountOf(id) }),
      placement: placementOf(id, snapshot, this.#standalone),
    }));
    this.#trustDomain = trustDomain;
  }

  /** The node of a pod, told apart from others of its name by its UID; undefined when it is not there. */
  nodeOf(pod: PodIdentity): string | undefined {
    const found = this.#pods.get(`${pod.namespace}/${pod.name}`);
    return found === undefined || found.uid !== pod.uid || found.node === '' ? undefined : found.node;
  }

  has(node: string, identity: string): boolean {
    if (this.#ofNode.get(node)?.has(identity) === true) return true;
    return this.#gateways.some((gateway) => gateway.identity === identity && isPlacedOn(gateway.placement, this.#nodeLabels[node]));
  }
}
