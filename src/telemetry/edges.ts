/** The label sets that a worker counts under: found by what identifies them, made when first seen, dropped when long unused. */
import { METRIC_EDGES_MAX, METRIC_IDLE_MS } from '../core/limits.ts';
import type { ServiceRef } from '../mesh/table.ts';
import { Edge } from './cells.ts';
import { UNKNOWN_PEER, WorkloadDirectory } from './directory.ts';
import type { Peer } from './directory.ts';
import type { EdgeLabels } from './labels.ts';
import type { ExchangeFacts, Reporter } from './telemetry.ts';

type Protocol = ExchangeFacts['protocol'];
type ByDestination = Map<string, Edge>;

/** Names for traffic that belongs to no service, as Istio has them. */
const NO_SERVICE: Readonly<Record<Reporter, ServiceRef>> = {
  source: { host: 'unknown', name: 'unknown', namespace: 'unknown' },
  destination: { host: 'unknown', name: 'InboundPassthroughCluster', namespace: 'unknown' },
};
const BLACK_HOLE: ServiceRef = { host: 'unknown', name: 'BlackHoleCluster', namespace: 'unknown' };

export class Edges {
  #directory = new WorkloadDirectory(undefined);
  /** Client's identity → source workload → service → protocol and destination workload; one tree per reporter. Nothing is built per request. */
  #trees: Record<Reporter, Map<string, Map<string, Map<ServiceRef, Map<Protocol, ByDestination>>>>> = { source: new Map(), destination: new Map() };
  #all: Edge[] = [];
  #overflow: Edge | undefined;

  /** Every edge that has counted something. */
  get all(): readonly Edge[] {
    return this.#overflow === undefined ? this.#all : [...this.#all, this.#overflow];
  }

  /** Workloads may have changed: edges found from now on are labelled anew, and counts go on where the labels are the same. */
  use(directory: WorkloadDirectory): void {
    this.#directory = directory;
    this.#trees = { source: new Map(), destination: new Map() };
  }

  /** The edge that an exchange counts under. */
  find(facts: ExchangeFacts, nowMs: number): Edge {
    const { reporter, connection } = facts;
    const outbound = reporter === 'source';
    const source = outbound ? connection.workload.id : (this.#directory.idOf(connection.remoteAddress) ?? '');
    const destination = outbound ? (facts.upstreamWorkload ?? '') : connection.workload.id;
    const service = serviceOf(facts);
    const proof = outbound ? this.#proofOf(facts, destination) : principalOf(connection.peer);
    const byService = branch(branch(this.#trees[reporter], proof), source);
    const byProtocol = branch(byService, service);
    const byDestination: ByDestination = branch(byProtocol, facts.protocol);
    let edge = byDestination.get(destination);
    if (edge === undefined) {
      edge = this.#make(reporter, proof, source, destination, service, facts.protocol);
      byDestination.set(destination, edge);
    }
    edge.usedMs = nowMs;
    return edge;
  }

  /** Forget edges that counted nothing for long: pods come and go, and their series must not stay for ever. */
  expire(nowMs: number): void {
    const kept = this.#all.filter((edge) => nowMs - edge.usedMs < METRIC_IDLE_MS);
    if (kept.length === this.#all.length) return;
    this.#all = kept;
    this.#trees = { source: new Map(), destination: new Map() };
  }

  /** To a pod of the mesh both ends prove who they are, unless the DestinationRule wants something else. */
  #proofOf({ cluster }: ExchangeFacts, destination: string): string {
    const mutual = cluster?.tls === undefined || cluster.tls.mode === 'ISTIO_MUTUAL';
    return mutual && this.#directory.peer(destination).enrolled ? MUTUAL : PLAINTEXT;
  }

  #make(reporter: Reporter, proof: string, source: string, destination: string, service: ServiceRef, protocol: Protocol): Edge {
    const labels = labelsOf(reporter, proof, this.#directory.peer(source), this.#directory.peer(destination), service, protocol);
    const same = this.#all.find((edge) => sameLabels(edge.labels, labels));
    if (same !== undefined) return same;
    if (this.#all.length >= METRIC_EDGES_MAX) {
      this.#overflow ??= new Edge(labelsOf(reporter, PLAINTEXT, OVERFLOW_PEER, OVERFLOW_PEER, OVERFLOW_SERVICE, protocol));
      return this.#overflow;
    }
    const edge = new Edge(labels);
    this.#all.push(edge);
    return edge;
  }
}

const UNKNOWN = 'unknown';
/** The connection is plaintext, which proves nobody. */
const PLAINTEXT = 'plaintext';
/** Of an outgoing one: both ends have proved that they are what the registry says. */
const MUTUAL = 'mutual';

/** Bytes that never leave the process count as mutual TLS: to whoever reads the metrics it is the same promise. */
function principalOf({ identity, security }: ExchangeFacts['connection']['peer']): string {
  return security === 'none' ? PLAINTEXT : identity || UNKNOWN;
}

const OVERFLOW_PEER: Peer = { ...UNKNOWN_PEER, workload: 'overflow' };
const OVERFLOW_SERVICE: ServiceRef = { host: 'overflow', name: 'overflow', namespace: 'overflow' };

function serviceOf(facts: ExchangeFacts): ServiceRef {
  if (facts.error?.code === 'blocked_by_registry_only') return BLACK_HOLE;
  return facts.cluster?.service ?? facts.service ?? NO_SERVICE[facts.reporter];
}

/** The sub-tree at `key`, made when it is not there. */
function branch<K, L, V>(tree: Map<K, Map<L, V>>, key: K): Map<L, V> {
  const known = tree.get(key);
  if (known !== undefined) return known;
  const made = new Map<L, V>();
  tree.set(key, made);
  return made;
}

/** Istio's values: an unknown peer is `unknown`, and what a connection is secured by is only told at its server. */
function labelsOf(reporter: Reporter, proof: string, source: Peer, destination: Peer, service: ServiceRef, protocol: Protocol): EdgeLabels {
  const secure = proof !== PLAINTEXT;
  return {
    reporter,
    source_workload: source.workload,
    source_canonical_service: source.canonicalService,
    source_canonical_revision: source.canonicalRevision,
    source_workload_namespace: source.namespace,
    source_principal: secure ? (proof === MUTUAL ? source.principal : proof) : UNKNOWN,
    source_app: source.app,
    source_version: source.version,
    source_cluster: source.cluster,
    destination_workload: destination.workload,
    destination_workload_namespace: destination.namespace,
    destination_principal: secure ? destination.principal : UNKNOWN,
    destination_app: destination.app,
    destination_version: destination.version,
    destination_service: service.host,
    destination_canonical_service: destination.canonicalService,
    destination_canonical_revision: destination.canonicalRevision,
    destination_service_name: service.name,
    destination_service_namespace: service.namespace === 'unknown' ? destination.namespace : service.namespace,
    destination_cluster: destination.cluster,
    request_protocol: protocol,
    connection_security_policy: reporter === 'source' ? UNKNOWN : secure ? 'mutual_tls' : 'none',
  };
}

function sameLabels(a: EdgeLabels, b: EdgeLabels): boolean {
  for (const key in a) if (a[key as keyof EdgeLabels] !== b[key as keyof EdgeLabels]) return false;
  return true;
}
