/** Who is behind a pod's name or an address, for labels. */
import { formatSpiffeId } from '../core/spiffe.ts';
import { gatewaysOf } from '../mesh/gateway/compile.ts';
import { serviceAccountOf } from '../mesh/gateway/placement.ts';
import type { GatewayId } from '../mesh/gateway/table.ts';
import type { Snapshot, Workload } from '../mesh/snapshot.ts';
import { workloadIndexOf } from '../mesh/workload-index.ts';
import type { WorkloadIndex } from '../mesh/workload-index.ts';

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
  readonly #workloads: WorkloadIndex | undefined;
  readonly #trustDomain: string;
  readonly #gateways: ReadonlyMap<string, Peer>;
  /** Of those that were asked for: every request asks. */
  readonly #peers = new Map<string, Peer>();

  constructor(snapshot: Snapshot | undefined) {
    this.#workloads = snapshot === undefined ? undefined : workloadIndexOf(snapshot);
    this.#trustDomain = snapshot?.mesh.trustDomain ?? '';
    this.#gateways = new Map((snapshot === undefined ? [] : gatewaysOf(snapshot)).map((id) => [`${id.namespace}/${serviceAccountOf(id)}`, gatewayPeer(id, this.#trustDomain)]));
  }

  peer(id: string | undefined): Peer {
    if (id === undefined) return UNKNOWN_PEER;
    const known = this.#peers.get(id);
    if (known !== undefined) return known;
    const workload = this.#workloads?.get(id);
    const peer = workload === undefined ? this.#gateways.get(id) : peerOf(workload, this.#trustDomain);
    if (peer === undefined) return UNKNOWN_PEER;
    this.#peers.set(id, peer);
    return peer;
  }

  /** `ns/name` of the pod that has this address. */
  idOf(address: string): string | undefined {
    return this.#workloads?.at(address)?.id;
  }
}

/** A gateway has no pods, and is called what its pods would be. */
function gatewayPeer(id: GatewayId, trustDomain: string): Peer {
  const [{ namespace }, name] = [id, serviceAccountOf(id)];
  return Object.freeze({
    ...UNKNOWN_PEER, workload: name, namespace, app: name, canonicalService: name, principal: formatSpiffeId({ trustDomain, namespace, serviceAccount: name }), cluster: CLUSTER, enrolled: true,
  });
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
