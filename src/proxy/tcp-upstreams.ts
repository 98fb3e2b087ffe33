/**
 * Upstreams of opaque connections, outbound: route, weighted cluster, endpoint within limits and health, connect, and another
 * endpoint where that fails. An endpoint whose pod is enrolled here is reached at its application directly, and reported by
 * both sides.
 */
import { hostPort } from '../core/address.ts';
import type { Timer } from '../core/clock.ts';
import { MeshError } from '../core/errors.ts';
import { TCP_CONNECT_ATTEMPTS_MAX, TCP_REPORT_INTERVAL_MS } from '../core/limits.ts';
import { below } from '../core/random.ts';
import { findTcpRoute } from '../mesh/route.ts';
import type { TcpRoute } from '../mesh/table.ts';
import type { Cluster } from './cluster.ts';
import type { ClusterSet } from './cluster-set.ts';
import type { Connection } from './connection.ts';
import type { DataPlane } from './dataplane.ts';
import { Dial } from './dial.ts';
import type { Endpoint } from './endpoint.ts';
import { localConnection } from './local.ts';
import { OpaqueWatch } from './opaque-watch.ts';
import type { Lease, OpaqueAttempt, OpaqueDialer, OpaqueOutcome, OpaqueTarget } from './opaque.ts';
import { overflow } from './pool.ts';
import { Exchange } from './record.ts';
import type { Transport } from './transport.ts';
import type { WorkloadHandle } from './workload.ts';

export class TcpUpstreams implements OpaqueDialer {
  readonly #clusters: ClusterSet;
  readonly #dataplane: DataPlane;

  constructor(clusters: ClusterSet, dataplane: DataPlane) {
    this.#clusters = clusters;
    this.#dataplane = dataplane;
  }

  connect(exchange: Exchange, target: OpaqueTarget, outcome: OpaqueOutcome): OpaqueAttempt {
    const cluster = this.#clusterOf(exchange, target.routes);
    const attempt = new TcpAttempt(this.#dataplane, exchange, outcome);
    if (cluster instanceof MeshError) attempt.refuse(cluster);
    else attempt.begin(cluster);
    return attempt;
  }

  #clusterOf(exchange: Exchange, routes: readonly TcpRoute[] | undefined): Cluster | MeshError {
    const { connection } = exchange;
    if (routes === undefined) {
      if (exchange.table?.outbound.mode === 'REGISTRY_ONLY') return new MeshError('blocked_by_registry_only', { at: connection.destinationAddress });
      return this.#clusters.passthrough;
    }
    const route = findTcpRoute(routes, connection.destinationAddress);
    if (route === undefined) return new MeshError('no_route', { at: `${connection.destinationAddress}:${connection.destinationPort}` });
    const key = this.#choose(route);
    return this.#clusters.get(key) ?? new MeshError('cluster_not_found', { at: key });
  }

  #choose(route: TcpRoute): string {
    const { clusters, weightTotal } = route;
    let point = clusters.length === 1 ? 0 : below(this.#dataplane.random, weightTotal);
    for (const { cluster, weight } of clusters) {
      point -= weight;
      if (point < 0) return cluster;
    }
    return clusters[clusters.length - 1]?.cluster ?? route.name;
  }
}

class TcpAttempt implements OpaqueAttempt {
  readonly #dataplane: DataPlane;
  readonly #exchange: Exchange;
  readonly #outcome: OpaqueOutcome;
  #dial: Dial | undefined;
  #held: Held | undefined;
  #over = false;

  constructor(dataplane: DataPlane, exchange: Exchange, outcome: OpaqueOutcome) {
    this.#dataplane = dataplane;
    this.#exchange = exchange;
    this.#outcome = outcome;
  }

  begin(cluster: Cluster): void {
    this.#exchange.cluster = cluster.spec;
    cluster.whenResolved(() => this.#try(cluster));
  }

  /** Say no, in a later turn: the caller has not got this attempt yet. */
  refuse(error: MeshError): void {
    this.#dataplane.clock.after(0, () => {
      if (this.#over) return;
      this.#over = true;
      this.#outcome.unreachable(error);
    });
  }

  cancel(): void {
    this.#over = true;
    this.#dial?.cancel();
    this.#held?.release();
  }

  #try(cluster: Cluster): void {
    if (this.#over) return;
    const { budget } = cluster;
    if (budget.connections >= budget.limits.maxConnections) {
      this.refuse(overflow('maxConnections', budget.limits.maxConnections));
      return;
    }
    const endpoint = cluster.pick(this.#exchange);
    if (endpoint === undefined) {
      this.refuse(cluster.unavailable());
      return;
    }
    this.#exchange.attempts += 1;
    this.#exchange.upstreamAddress = endpoint.key;
    this.#exchange.upstreamWorkload = endpoint.spec.workload;
    const held = new Held(cluster, endpoint);
    this.#held = held;
    this.#connect(cluster, endpoint, held);
  }

  #connect(cluster: Cluster, endpoint: Endpoint, held: Held): void {
    const { connection } = this.#exchange;
    const pod = cluster.localPod(endpoint);
    const { address, port } = endpoint;
    const local = pod === undefined ? undefined : localSide(pod, endpoint, connection);
    const fault = local?.workload.admission.judgeOpaque(local, false);
    if (local !== undefined && fault !== undefined) {
      held.release();
      reportRefused(this.#dataplane, this.#exchange, local, fault);
      this.refuse(fault);
      return;
    }
    this.#dial = new Dial(
      this.#dataplane,
      local === undefined ? cluster.targetOf(endpoint) : { workload: local.workload, direction: 'inbound', address, port, clientAddress: local.remoteAddress, security: undefined },
      cluster.budget.limits.connectTimeoutMs,
      {
        dialled: (transport) => {
          cluster.connected(endpoint);
          this.#over = true;
          this.#exchange.upstreamLocalAddress = hostPort(transport.localAddress, transport.localPort);
          const { keepalive, maxConnectionDurationMs, tcpIdleTimeoutMs } = cluster.budget.limits;
          if (keepalive !== undefined) transport.setKeepAlive(keepalive);
          const end = maxConnectionDurationMs > 0 ? this.#dataplane.clock.coarse(maxConnectionDurationMs, () => this.#outlived(transport)) : undefined;
          const twin = local === undefined ? undefined : new ServerSide(this.#dataplane, this.#exchange, local, transport);
          this.#outcome.dialled(transport, new ClusterLease(tcpIdleTimeoutMs, held, twin, end));
        },
        unreachable: (error) => this.#failed(cluster, endpoint, held, error),
      },
    );
  }

  /** maxConnectionDuration: whoever is in the middle of something is cut off, as in Envoy. */
  #outlived(transport: Transport): void {
    this.#exchange.flag('DT');
    this.#exchange.details = 'max_duration_reached';
    transport.destroy();
  }

  #failed(cluster: Cluster, endpoint: Endpoint, held: Held, error: MeshError): void {
    cluster.failed(endpoint, false);
    held.release();
    this.#held = undefined;
    if (this.#exchange.attempts < Math.min(TCP_CONNECT_ATTEMPTS_MAX, cluster.members.length)) {
      (this.#exchange.avoid ??= []).push(endpoint.key);
      this.#try(cluster);
      return;
    }
    if (this.#exchange.attempts > 1) {
      this.#exchange.flag(error.kind.flag);
      this.#exchange.flag('URX');
    }
    this.#over = true;
    this.#outcome.unreachable(error);
  }
}

/** What a connection counts for in its cluster; given back once. */
class Held {
  readonly #cluster: Cluster;
  readonly #endpoint: Endpoint;
  #open = true;

  constructor(cluster: Cluster, endpoint: Endpoint) {
    this.#cluster = cluster;
    this.#endpoint = endpoint;
    cluster.budget.connections += 1;
    endpoint.active += 1;
  }

  release(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#cluster.budget.connections -= 1;
    this.#endpoint.active -= 1;
    this.#cluster.released(this.#endpoint);
  }
}

class ClusterLease implements Lease {
  readonly idleTimeoutMs: number;
  readonly #held: Held;
  readonly #serverSide: ServerSide | undefined;
  readonly #end: Timer | undefined;

  constructor(idleTimeoutMs: number, held: Held, serverSide: ServerSide | undefined, end: Timer | undefined) {
    this.#end = end;
    this.idleTimeoutMs = idleTimeoutMs;
    this.#held = held;
    this.#serverSide = serverSide;
  }

  release(): void {
    this.#end?.cancel();
    this.#held.release();
    this.#serverSide?.close();
  }
}

/** Reports a connection to a pod of this node as its server's agent would: there is no second agent on the way to do it. */
class ServerSide {
  readonly #dataplane: DataPlane;
  readonly #exchange: Exchange;
  readonly #transport: Transport;
  readonly #watch: OpaqueWatch;
  #received = 0;
  #sent = 0;
  #timer: Timer | undefined;

  constructor(dataplane: DataPlane, client: Exchange, connection: Exchange['connection'], transport: Transport) {
    this.#dataplane = dataplane;
    this.#exchange = serverExchange(dataplane, client, connection);
    this.#transport = transport;
    this.#watch = new OpaqueWatch(this.#exchange, transport, false);
    dataplane.telemetry.tcpOpened(this.#exchange);
    this.#schedule();
  }

  close(): void {
    this.#watch.stop();
    this.#timer?.cancel();
    this.#report();
    this.#exchange.requestBodyBytes = this.#received;
    this.#exchange.responseBodyBytes = this.#sent;
    const { clock, telemetry } = this.#dataplane;
    telemetry.tcpClosed(this.#exchange, clock.nowMs() - this.#exchange.startedMs);
  }

  #schedule(): void {
    this.#timer = this.#dataplane.clock.coarse(TCP_REPORT_INTERVAL_MS, () => {
      this.#report();
      this.#schedule();
    });
  }

  #report(): void {
    const received = this.#transport.bytesWritten - this.#received;
    const sent = this.#transport.bytesRead - this.#sent;
    if (received === 0 && sent === 0) return;
    this.#received += received;
    this.#sent += sent;
    this.#dataplane.telemetry.tcpBytes(this.#exchange, received, sent);
  }
}

/**
 * Undefined: the connection takes the wire, and the pod's own side decides, because an authorizer has to be asked about it, or because
 * it may be HTTP there: a client that takes the port for TCP must not pass requests whose tokens nobody has looked at.
 */
function localSide(pod: WorkloadHandle, endpoint: Endpoint, client: Connection): Connection | undefined {
  const { inbound, security } = pod.table;
  if (security.jwtRules.length > 0 && inbound.get(endpoint.port)?.protocol !== 'tcp') return undefined;
  const connection = localConnection(pod, endpoint, client, 'tcp');
  return pod.admission.providerFor(connection) === undefined ? connection : undefined;
}

function serverExchange(dataplane: DataPlane, client: Exchange, connection: Exchange['connection']): Exchange {
  const exchange = new Exchange('destination', connection, undefined, dataplane.clock.nowMs());
  exchange.protocol = 'tcp';
  exchange.service = connection.workload.table.inbound.get(connection.destinationPort)?.service;
  exchange.upstreamAddress = client.upstreamAddress;
  exchange.upstreamLocalAddress = client.upstreamLocalAddress;
  exchange.upstreamWorkload = connection.workload.id;
  return exchange;
}

/** The server's side of a connection that a policy of the pod refused. */
function reportRefused(dataplane: DataPlane, client: Exchange, connection: Exchange['connection'], error: MeshError): void {
  const exchange = serverExchange(dataplane, client, connection);
  exchange.error = error;
  exchange.flag(error.kind.flag);
  exchange.details = error.details;
  dataplane.telemetry.tcpOpened(exchange);
  dataplane.telemetry.tcpClosed(exchange, 0);
}
