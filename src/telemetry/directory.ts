/** Who is behind a pod's name or an address, for labels. Built once per snapshot. */
import { formatSpiffeId } from '../core/spiffe.ts';
import type { Snapshot, Workload } from '../mesh/snapshot.ts';

/** What labels say of one end of an edge. */
export interface Peer {
  readonly workload: string;
  readonly namespace: string;
  readonly app: string;
  readonly version: string;
  readonly canonicalService: string;
  readonly canonicalRevision: string;
  /** SPIFFE id. What it counts for is up to how the connection is secured. */
  readonly principal: string;
  readonly cluster: string;
  /** It takes part in the mesh, so what reaches it from there is mutually authenticated. */
  readonly enrolled: boolean;
}

/** Somebody outside the mesh. */
export const UNKNOWN_PEER: Peer = Object.freeze({
  workload: 'unknown',
  namespace: 'unknown',
  app: 'unknown',
  version: 'unknown',
  canonicalService: 'unknown',
  canonicalRevision: 'latest',
  principal: 'unknown',
  cluster: 'unknown',
  enrolled: false,
});

/** Istio's name of the cluster when it has no other (`ISTIO_META_CLUSTER_ID`). */
const CLUSTER = 'Kubernetes';

export class WorkloadDirectory {
  readonly #byId = new Map<string, Peer>();
  readonly #idByAddress = new Map<string, string>();

  constructor(snapshot: Snapshot | undefined) {
    for (const workload of snapshot?.workloads ?? []) {
      this.#byId.set(workload.id, peerOf(workload, snapshot?.mesh.trustDomain ?? ''));
      // A pod of the host network shares its node's address with others: the address says nothing about it.
      if (!workload.hostNetwork) for (const address of workload.addresses) this.#idByAddress.set(address, workload.id);
    }
  }

  peer(id: string | undefined): Peer {
    return (id === undefined ? undefined : this.#byId.get(id)) ?? UNKNOWN_PEER;
  }

  /** `ns/name` of the pod that has this address. */
  idOf(address: string): string | undefined {
    return this.#idByAddress.get(address);
  }
}

function peerOf(workload: Workload, trustDomain: string): Peer {
  const { namespace, serviceAccount } = workload;
  return Object.freeze({
    workload: workload.workloadName,
    namespace,
    app: workload.app || 'unknown',
    version: workload.version || 'unknown',
    canonicalService: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    principal: formatSpiffeId({ trustDomain, namespace, serviceAccount }),
    cluster: CLUSTER,
    enrolled: workload.enrolled,
  });
}
