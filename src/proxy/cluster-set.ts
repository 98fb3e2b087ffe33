/**
 * The clusters that one client workload uses. Made when traffic first needs them, kept across tables: what is per client in
 * Istio (limits, ejections) stays per client here, though all pods of the node share a process.
 */
import { UPSTREAM_IDLE_TIMEOUT_MS } from '../core/limits.ts';
import type { ClusterSpec, Table } from '../mesh/table.ts';
import type { Buffers } from './buffers.ts';
import { Cluster } from './cluster.ts';
import type { Codecs } from './codecs.ts';
import type { DataPlane } from './dataplane.ts';
import { unlimited } from './unlimited.ts';
import type { WorkloadHandle } from './workload.ts';

/** Istio's cluster for destinations outside the registry, and the name they have in metrics and logs. */
const PASSTHROUGH_CLUSTER: ClusterSpec = Object.freeze({
  key: 'PassthroughCluster',
  service: { host: 'unknown', name: 'PassthroughCluster', namespace: 'unknown' },
  subset: '',
  port: 0,
  protocol: 'sniff',
  discovery: 'original',
  endpoints: [],
  balancer: 'PASSTHROUGH',
  limits: unlimited(UPSTREAM_IDLE_TIMEOUT_MS),
  outlier: undefined,
  tls: undefined,
  subjectAltNames: [],
});

export class ClusterSet {
  /** What the workload's exchanges hold in memory. */
  readonly buffers: Buffers;
  /** To wherever the client meant to go. */
  readonly passthrough: Cluster;
  readonly #workload: WorkloadHandle;
  readonly #dataplane: DataPlane;
  readonly #codecs: Codecs;
  readonly #live = new Map<string, Cluster>();
  #table: Table;

  constructor(workload: WorkloadHandle, dataplane: DataPlane, codecs: Codecs) {
    this.#workload = workload;
    this.#dataplane = dataplane;
    this.#codecs = codecs;
    this.buffers = dataplane.buffers;
    this.#table = workload.table;
    this.passthrough = new Cluster(PASSTHROUGH_CLUSTER, workload, dataplane, codecs);
  }

  /** The cluster of that key in the newest table; undefined when there is none. */
  get(key: string): Cluster | undefined {
    if (this.#table !== this.#workload.table) this.apply(this.#workload.table);
    return this.#live.get(key) ?? this.#make(key);
  }

  /** Those in use. */
  values(): Iterable<Cluster> {
    return this.#live.values();
  }

  /** Limits used, endpoints and their health of those in use, as plain data. */
  describe(): unknown {
    return [...this.#live.values()].map(({ spec, members, budget }) => ({
      key: spec.key,
      connections: budget.connections,
      requests: budget.requests,
      pending: budget.pending,
      endpoints: members.map(({ key, active, health }) => ({ address: key, active, ejected: health.ejected })),
    }));
  }

  /** Bring the clusters in use up to date with a new table; those no longer in it drain. */
  apply(table: Table): void {
    this.#table = table;
    // The pods that it leads to by their own addresses may have changed.
    this.passthrough.update(PASSTHROUGH_CLUSTER);
    for (const [key, cluster] of this.#live) {
      const spec = table.clusters.get(key);
      if (spec === undefined) {
        this.#live.delete(key);
        cluster.close();
      } else if (spec !== cluster.spec) {
        cluster.update(spec);
      }
    }
  }

  /** The workload is released: finish what is under way. */
  close(): void {
    for (const cluster of this.#live.values()) cluster.close();
    this.#live.clear();
    this.passthrough.close();
  }

  #make(key: string): Cluster | undefined {
    const spec = this.#table.clusters.get(key);
    if (spec === undefined) return undefined;
    const cluster = new Cluster(spec, this.#workload, this.#dataplane, this.#codecs);
    this.#live.set(key, cluster);
    return cluster;
  }
}
