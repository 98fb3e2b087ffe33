/**
 * The live state of one cluster for one client workload: its endpoints with their load, health and connections, its limits,
 * and the choice among them. It outlives the tables: an update keeps what survives and drains what does not.
 */
import { hostPort } from '../core/address.ts';
import { isIP } from 'node:net';
import type { Clock } from '../core/clock.ts';
import { MeshError } from '../core/errors.ts';
import { ORIGINAL_ENDPOINTS_MAX } from '../core/limits.ts';
import type { ClusterSpec, EndpointSpec } from '../mesh/table.ts';
import { upstreamKind } from '../mesh/upstream-kind.ts';
import { Attempt, AttemptRequest } from './attempt.ts';
import type { AttemptHost } from './attempt.ts';
import { pickerOf } from './balance/picker.ts';
import type { Picker } from './balance/picker.ts';
import { Budget } from './budget.ts';
import { codecFor } from './codecs.ts';
import type { Codecs } from './codecs.ts';
import type { Connection } from './connection.ts';
import type { DataPlane } from './dataplane.ts';
import { Endpoint } from './endpoint.ts';
import { DISCARD } from './exchange.ts';
import type { RequestSink, ResponseSink, Service } from './exchange.ts';
import type { RequestHead } from './head.ts';
import { HeldRequest } from './held.ts';
import { serveLocally } from './local.ts';
import { Names } from './names.ts';
import { OutlierDetector } from './outlier.ts';
import { Pool, overflow } from './pool.ts';
import type { PoolHost } from './pool.ts';
import type { Exchange } from './record.ts';
import type { Dialer, DialTarget, UpstreamSecurity } from './upstream.ts';
import type { WorkloadHandle } from './workload.ts';

/** Redraws of an endpoint that a retry had rather avoid (Istio's hostSelectionRetryMaxAttempts). */
const REDRAWS_MAX = 5;

const HTTP1_ONLY = Object.freeze(['http/1.1']);
const HTTP2_ONLY = Object.freeze(['h2']);

export class Cluster implements Service, PoolHost, AttemptHost {
  spec: ClusterSpec;
  readonly budget: Budget;
  readonly clock: Clock;
  readonly dialer: Dialer;
  readonly #dataplane: DataPlane;
  readonly #codecs: Codecs;
  /** The client. */
  readonly #workload: WorkloadHandle;
  readonly #endpoints = new Map<string, Endpoint>();
  /** The same, as a list. */
  members: readonly Endpoint[] = [];
  #usable: readonly Endpoint[] = [];
  #picker: Picker<Endpoint> | undefined;
  #outlier: OutlierDetector | undefined;
  #names: Names | undefined;

  constructor(spec: ClusterSpec, workload: WorkloadHandle, dataplane: DataPlane, codecs: Codecs) {
    this.spec = spec;
    this.budget = new Budget(spec.limits);
    this.clock = dataplane.clock;
    this.dialer = dataplane.dialer;
    this.#codecs = codecs;
    this.#dataplane = dataplane;
    this.#workload = workload;
    this.update(spec);
  }

  /** Take over a changed specification. Endpoints that remain keep their connections, load and ejections. */
  update(spec: ClusterSpec): void {
    if (JSON.stringify(spec.tls) !== JSON.stringify(this.spec.tls)) for (const endpoint of this.#endpoints.values()) endpoint.drain();
    this.spec = spec;
    this.budget.limits = spec.limits;
    this.#updateOutlier(spec);
    this.#updateNames(spec);
    if (this.#isOriginal()) this.#updateOriginal();
    else if (this.#names === undefined) this.#setMembers(spec.endpoints.map((endpoint) => [endpoint, endpoint.address]));
    else this.#namesChanged();
    this.#outlier?.resume();
  }

  /** The cluster is gone from the configuration: what is under way may finish. */
  close(): void {
    this.#outlier?.stop();
    this.#names?.stop();
    this.#names = undefined;
    this.#setMembers([]);
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    exchange.cluster = this.spec;
    const names = this.#names;
    if (names !== undefined && !names.ready) {
      const waiting = new WaitingForNames(this, exchange, head, response);
      names.whenReady(() => waiting.go());
      return waiting;
    }
    names?.refresh();
    const endpoint = this.pick(exchange);
    if (endpoint === undefined) {
      response.abort(this.unavailable());
      return DISCARD;
    }
    const attempt = new Attempt(this, endpoint, exchange, head, response);
    return new AttemptRequest(attempt, this.#send(endpoint, attempt, exchange.connection));
  }

  /** An endpoint for this exchange; undefined when there is none that may be used. */
  pick(exchange: Exchange): Endpoint | undefined {
    if (this.#isOriginal()) return this.#original(exchange.connection);
    const picker = this.#picker;
    if (picker === undefined) return undefined;
    const endpoint = picker.pick();
    const { avoid } = exchange;
    return avoid === undefined || !avoid.includes(endpoint.key) ? endpoint : this.#another(picker, avoid, endpoint);
  }

  /** Why there is no endpoint to pick. */
  unavailable(): MeshError {
    const at = this.spec.key;
    if (this.#names?.failure !== undefined) return new MeshError('dns_failure', { at, reason: this.#names.failure });
    if (this.#isOriginal()) return new MeshError('overflow', { at, reason: `${ORIGINAL_ENDPOINTS_MAX} original destinations in use` });
    const ejected = this.members.length;
    return new MeshError('no_healthy_upstream', { at, reason: ejected === 0 ? 'no endpoints' : `all ${ejected} endpoints are ejected` });
  }

  /** Call `then` once addresses are known, or known to be unknown: at once unless the cluster is discovered by DNS. */
  whenResolved(then: () => void): void {
    if (this.#names === undefined || this.#names.ready) then();
    else this.#names.whenReady(then);
  }

  answered(endpoint: Endpoint, status: number): void {
    this.#outlier?.answered(endpoint, status);
  }

  failed(endpoint: Endpoint, timeout: boolean): void {
    this.#outlier?.failedLocally(endpoint, timeout);
  }

  connected(endpoint: Endpoint): void {
    this.#outlier?.connected(endpoint);
  }

  released(endpoint: Endpoint): void {
    if (endpoint.active === 0 && !endpoint.connected && this.#isOriginal()) this.#forget(endpoint);
  }

  emptied(pool: Pool): void {
    const endpoint = this.#endpoints.get(hostPort(pool.target.address, pool.target.port));
    if (endpoint === undefined) return;
    endpoint.forget(pool);
    this.released(endpoint);
  }

  /** Endpoints were ejected or returned: choose among the others from now on. */
  healthChanged(): void {
    const healthy = this.members.filter((endpoint) => !endpoint.health.ejected);
    // Below minHealthPercent the ejections do more harm than good: use everybody (Envoy's panic mode).
    const panic = healthy.length * 100 < this.members.length * (this.spec.outlier?.minHealthPercent ?? 0);
    this.#usable = panic ? this.members : healthy;
    this.#picker = this.#usable.length === 0 ? undefined : pickerOf(this.spec.balancer, this.#usable, this.#dataplane.random);
  }

  #send(endpoint: Endpoint, attempt: Attempt, connection: Connection): RequestSink {
    const local = this.#localPod(endpoint.spec);
    if (local === undefined) return this.#poolOf(endpoint, attempt.requestHead).send(attempt);
    const { budget } = this;
    if (!budget.mayBegin()) {
      attempt.abort(overflow('http2MaxRequests', budget.limits.maxRequests));
      return DISCARD;
    }
    return serveLocally(local, endpoint, connection, this.spec.protocol, attempt, this.clock);
  }

  /** The pod behind the endpoint, when exchanges are handed to it straight. */
  #localPod(spec: EndpointSpec): WorkloadHandle | undefined {
    const pod = spec.enrolled && spec.workload !== undefined ? this.#dataplane.workloads.get(spec.workload) : undefined;
    return pod !== undefined && upstreamKind(this.spec, spec, true) === 'local' ? pod : undefined;
  }

  /** The pod itself when it is here, for an opaque connection. */
  localPod(endpoint: Endpoint): WorkloadHandle | undefined {
    return this.#localPod(endpoint.spec);
  }

  #poolOf(endpoint: Endpoint, head: RequestHead): Pool {
    const codec = codecFor(this.#codecs, this.spec.protocol, head);
    return endpoint.pool(codec) ?? endpoint.keep(new Pool(this, this.targetOf(endpoint, codec === this.#codecs.http2 ? HTTP2_ONLY : HTTP1_ONLY), codec));
  }

  /** Where to connect to for this endpoint. `protocols`: by ALPN, where TLS is spoken to the endpoint itself. */
  targetOf(endpoint: Endpoint, protocols: readonly string[] = []): DialTarget {
    const { address, port, spec } = endpoint;
    return { workload: this.#workload, direction: 'outbound', address, port, clientAddress: '', security: this.#securityOf(spec, protocols) };
  }

  /** Mutual TLS to pods of the mesh, plaintext to others; or as the DestinationRule says. */
  #securityOf(endpoint: EndpointSpec, protocols: readonly string[]): UpstreamSecurity | undefined {
    const { tls, subjectAltNames, service } = this.spec;
    const { identity } = endpoint;
    const kind = upstreamKind(this.spec, endpoint, false);
    if (kind === 'hbone') return { kind, identities: [identity, ...(tls?.subjectAltNames ?? []), ...subjectAltNames] };
    return kind === 'plain' || tls === undefined ? undefined : { kind: 'tls', tls, host: service.host, identities: identity === '' ? [] : [identity], protocols };
  }

  #another(picker: Picker<Endpoint>, avoid: readonly string[], first: Endpoint): Endpoint {
    for (let draw = 1; draw < REDRAWS_MAX; draw += 1) {
      const endpoint = picker.pick();
      if (!avoid.includes(endpoint.key)) return endpoint;
    }
    return this.#usable.find((endpoint) => !avoid.includes(endpoint.key)) ?? first;
  }

  #isOriginal(): boolean {
    return this.spec.discovery === 'original' || this.spec.balancer === 'PASSTHROUGH';
  }

  /** The endpoint the client itself named; known only while it is in use. */
  #original(connection: Connection): Endpoint | undefined {
    const { destinationAddress, destinationPort } = connection;
    const key = hostPort(destinationAddress, destinationPort);
    const known = this.#endpoints.get(key);
    if (known !== undefined) return known.health.ejected ? undefined : known;
    if (this.#endpoints.size >= ORIGINAL_ENDPOINTS_MAX && !this.#evict()) return undefined;
    const endpoint = new Endpoint(this.#specAt(destinationAddress, destinationPort), destinationAddress, destinationPort);
    this.#endpoints.set(key, endpoint);
    if (this.#outlier !== undefined) this.members = [...this.#endpoints.values()];
    return endpoint;
  }

  /** What is at an address that the client named: an endpoint of the cluster, else a pod of the mesh, else a stranger. */
  #specAt(address: string, port: number): EndpointSpec {
    const declared = this.spec.endpoints.find((endpoint) => endpoint.address === address && endpoint.port === port);
    return declared ?? { ...strangerAt(address, port), ...this.#workload.table.podAt(address) };
  }

  #updateOriginal(): void {
    for (const endpoint of this.#endpoints.values()) this.#renew(endpoint, this.#specAt(endpoint.address, endpoint.port));
    this.members = [...this.#endpoints.values()];
  }

  /** Make room by closing the idle connections of the destination used longest ago. */
  #evict(): boolean {
    for (const endpoint of this.#endpoints.values()) {
      if (endpoint.active > 0) continue;
      endpoint.drain();
      this.#forget(endpoint);
      return true;
    }
    return false;
  }

  #forget(endpoint: Endpoint): void {
    if (endpoint.health.ejected || this.#endpoints.get(endpoint.key) !== endpoint) return;
    endpoint.removed = true;
    this.#endpoints.delete(endpoint.key);
    if (this.#outlier !== undefined) this.members = [...this.#endpoints.values()];
  }

  /** Connections made to somebody else, or in another way than is wanted now, take no new exchange. */
  #renew(endpoint: Endpoint, spec: EndpointSpec): void {
    const before = endpoint.spec;
    endpoint.spec = spec;
    if (spec.identity !== before.identity || spec.enrolled !== before.enrolled || spec.workload !== before.workload) endpoint.drain();
  }

  #updateOutlier(spec: ClusterSpec): void {
    if (spec.outlier === undefined) {
      this.#outlier?.stop();
      this.#outlier = undefined;
      for (const endpoint of this.members) endpoint.health.ejected = false;
      return;
    }
    if (this.#outlier === undefined) this.#outlier = new OutlierDetector(spec.outlier, this.clock, this);
    else this.#outlier.policy = spec.outlier;
  }

  #updateNames(spec: ClusterSpec): void {
    if (spec.discovery !== 'dns') {
      this.#names?.stop();
      this.#names = undefined;
      return;
    }
    const names = spec.endpoints.map((endpoint) => endpoint.address).filter((address) => isIP(address) === 0);
    if (this.#names === undefined) this.#names = new Names(names, this.#dataplane, () => this.#namesChanged());
    else this.#names.update(names);
  }

  /** All addresses of a name are endpoints (Envoy's STRICT_DNS). */
  #namesChanged(): void {
    const names = this.#names;
    if (names === undefined) return;
    this.#setMembers(this.spec.endpoints.flatMap((spec) => (names.addresses(spec.address) ?? (isIP(spec.address) === 0 ? [] : [spec.address])).map((address) => [spec, address] as const)));
  }

  #setMembers(wanted: readonly (readonly [EndpointSpec, string])[]): void {
    const gone = new Map(this.#endpoints);
    this.#endpoints.clear();
    for (const [spec, address] of wanted) {
      const key = hostPort(address, spec.port);
      const kept = gone.get(key);
      gone.delete(key);
      if (kept !== undefined) this.#renew(kept, spec);
      if (!this.#endpoints.has(key)) this.#endpoints.set(key, kept ?? new Endpoint(spec, address, spec.port));
    }
    this.members = [...this.#endpoints.values()];
    this.healthChanged();
    for (const endpoint of gone.values()) {
      endpoint.removed = true;
      endpoint.drain();
    }
  }
}

/** A destination that no resource describes. */
function strangerAt(address: string, port: number): EndpointSpec {
  return { address, port, weight: 1, workload: undefined, node: undefined, enrolled: false, identity: '' };
}

/** A request that came before the first answer of DNS. */
class WaitingForNames extends HeldRequest {
  readonly #cluster: Cluster;
  readonly #exchange: Exchange;
  readonly #head: RequestHead;
  readonly #sink: ResponseSink;

  constructor(cluster: Cluster, exchange: Exchange, head: RequestHead, response: ResponseSink) {
    super(response);
    this.#cluster = cluster;
    this.#exchange = exchange;
    this.#head = head;
    this.#sink = response;
  }

  /** There is an answer now, or none will come: then the cluster says so. */
  go(): void {
    if (!this.over) this.proceed(() => this.#cluster.serve(this.#exchange, this.#head, this.#sink));
  }
}
