/**
 * A data plane without a network: time stands still, chance has a seed, and endpoints are scripted. What a test sees is what a
 * client sees (a recorded answer) and what telemetry is told.
 */
import { FakeClock } from '../../src/core/clock.ts';
import { MeshError } from '../../src/core/errors.ts';
import { createLogger } from '../../src/core/log.ts';
import { seededRandom } from '../../src/core/random.ts';
import { matchAll } from '../../src/mesh/match.ts';
import { NO_SECURITY } from '../../src/mesh/security.ts';
import type { ClusterSpec, ConnectionLimits, EndpointSpec, ForwardAction, HeaderOperations, InboundPort, OutlierPolicy, RetryConditions, Route, Table, VirtualHost } from '../../src/mesh/table.ts';
import { Admission } from '../../src/proxy/admission.ts';
import { ClusterSet } from '../../src/proxy/cluster-set.ts';
import { STRANGER } from '../../src/proxy/connection.ts';
import type { Codecs } from '../../src/proxy/codecs.ts';
import type { Connection } from '../../src/proxy/connection.ts';
import type { DataPlane } from '../../src/proxy/dataplane.ts';
import { ExternalAuthorizer } from '../../src/proxy/ext-authz/external-authorizer.ts';
import type { RequestSink, ResponseSink, Service } from '../../src/proxy/exchange.ts';
import { LENGTH_UNKNOWN, RequestHead, ResponseHead } from '../../src/proxy/head.ts';
import type { HeaderList } from '../../src/proxy/headers.ts';
import { Inbound } from '../../src/proxy/inbound.ts';
import { Exchange } from '../../src/proxy/record.ts';
import { outboundService } from '../../src/proxy/stack.ts';
import { Buffers } from '../../src/proxy/buffers.ts';
import { Identities } from '../../src/proxy/tls/identities.ts';
import type { Transport, TransportOwner } from '../../src/proxy/transport.ts';
import type { Dialer, DialTarget, UpstreamCodec, UpstreamConnection, UpstreamOwner } from '../../src/proxy/upstream.ts';
import type { WorkloadHandle } from '../../src/proxy/workload.ts';
import type { ExchangeFacts, Telemetry } from '../../src/telemetry/telemetry.ts';
import { withoutKeys } from './jwt/without-keys.ts';

/** What an endpoint does with a request once it is complete. */
export type Script = (request: FakeRequest) => void;

export const answer =
  (status: number, headers: Readonly<Record<string, string>> = {}, body = ''): Script =>
  (request) =>
    request.answer(status, headers, body);

export const reset: Script = (request) => request.reset();
export const silent: Script = () => undefined;

/** One request as it arrived at a fake endpoint. */
export class FakeRequest {
  readonly exchange: Exchange;
  readonly head: RequestHead;
  readonly connection: FakeConnection;
  readonly response: ResponseSink;
  body = '';
  complete = false;
  /** The agent gave it up. */
  cancelled: MeshError | undefined;
  over = false;

  constructor(connection: FakeConnection, exchange: Exchange, head: RequestHead, response: ResponseSink) {
    this.connection = connection;
    this.exchange = exchange;
    this.head = head;
    this.response = response;
  }

  answer(status: number, headers: Readonly<Record<string, string>> = {}, body = ''): void {
    this.begin(status, headers, body === '' ? 0 : Buffer.byteLength(body));
    if (body !== '') this.response.data(Buffer.from(body));
    this.finish();
  }

  begin(status: number, headers: Readonly<Record<string, string>> = {}, contentLength: number = LENGTH_UNKNOWN): void {
    const head = new ResponseHead(status, '');
    for (const [name, value] of Object.entries(headers)) head.headers.add(name, value);
    head.contentLength = contentLength;
    this.response.head(head);
  }

  finish(): void {
    this.over = true;
    // As the codec does: the connection is free before the next exchange may begin.
    this.connection.finished(this);
    this.response.end(undefined);
  }

  /** The endpoint closes the connection. */
  reset(code: 'upstream_reset' | 'upstream_closed_midway' = 'upstream_reset'): void {
    this.over = true;
    this.connection.close();
    this.response.abort(new MeshError(code));
  }
}

export class FakeConnection implements UpstreamConnection {
  served = 0;
  readonly localAddress = '10.0.0.1:40000';
  readonly target: DialTarget;
  request: FakeRequest | undefined;
  open = true;
  readonly #owner: UpstreamOwner;
  readonly #world: World;
  #draining = false;

  get busy(): boolean {
    return this.request !== undefined;
  }

  constructor(world: World, target: DialTarget, owner: UpstreamOwner) {
    this.#world = world;
    this.target = target;
    this.#owner = owner;
    world.open.add(this);
  }

  get capacity(): number {
    return this.open && !this.#draining && this.request === undefined ? 1 : 0;
  }

  send(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    if (this.capacity === 0) throw new Error('no capacity');
    this.served += 1;
    const request = new FakeRequest(this, exchange, head, response);
    this.request = request;
    this.#world.requests.push(request);
    return {
      data: (chunk) => {
        request.body += chunk.toString();
        return true;
      },
      end: () => {
        request.complete = true;
        if (!request.over) this.#world.scriptFor(this.target)(request);
      },
      abort: (error) => {
        if (request.over) return;
        request.over = true;
        request.cancelled = error;
        this.close();
      },
      resumeResponse: () => undefined,
    };
  }

  finished(request: FakeRequest): void {
    if (this.request !== request) return;
    this.request = undefined;
    if (this.#draining) this.close();
    else this.#owner.ready(this);
  }

  drain(): void {
    this.#draining = true;
    if (this.request === undefined) this.close();
  }

  destroy(): void {
    this.close();
  }

  close(): void {
    if (!this.open) return;
    this.open = false;
    this.#world.open.delete(this);
    this.#owner.closed(this);
  }
}

/** What the client got. */
export class FakeClient implements ResponseSink {
  status = 0;
  headers: HeaderList | undefined;
  body = '';
  ends = 0;
  aborted: MeshError | undefined;
  resumed = 0;
  informationals = 0;
  exchange!: Exchange;
  sink!: RequestSink;

  informational(): void {
    this.informationals += 1;
  }

  head(head: ResponseHead): void {
    if (this.status !== 0) throw new Error('two heads');
    this.status = head.status;
    this.headers = head.headers;
  }

  data(chunk: Buffer): boolean {
    if (this.ends > 0) throw new Error('data after the end');
    this.body += chunk.toString();
    return true;
  }

  end(): void {
    this.ends += 1;
  }

  abort(error: MeshError): void {
    this.ends += 1;
    this.aborted = error;
  }

  resumeRequest(): void {
    this.resumed += 1;
  }
}

export interface RequestOptions {
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | readonly string[];
  readonly connection?: Connection;
  readonly version?: RequestHead['version'];
  /** Leave the request open: the test goes on itself. */
  readonly unfinished?: boolean;
}

const HOST = 'reviews';
export const CLUSTER = 'outbound|9080||reviews.default.svc.cluster.local';

export class World {
  readonly clock = new FakeClock();
  readonly requests: FakeRequest[] = [];
  readonly ended: ExchangeFacts[] = [];
  readonly tcp: string[] = [];
  readonly open = new Set<FakeConnection>();
  readonly dials: DialTarget[] = [];
  /** TCP keep-alive settings that connections were given. */
  readonly probed: object[] = [];
  /** Numbers of dials (from 1) that fail; `all` for all. */
  failDials: ReadonlySet<number> | 'all' | 'never-answered' = new Set();
  /** What the endpoint at `address` does; the default answers 200. */
  readonly scripts = new Map<string, Script>();
  script: Script = answer(200);
  resolve: (name: string) => Promise<readonly string[]> = () => Promise.reject(new Error('no such name'));
  readonly workloads = new Map<string, WorkloadHandle>();
  readonly nodeAddresses = new Set(['10.9.0.1']);
  readonly dataplane: DataPlane;
  readonly workload: { -readonly [K in keyof WorkloadHandle]: WorkloadHandle[K] };
  readonly clusters: ClusterSet;
  readonly service: Service;
  readonly connection: Connection;
  readonly #targets = new WeakMap<Transport, DialTarget>();

  constructor(table: Table, seed = 1) {
    this.dataplane = {
      clock: this.clock,
      random: seededRandom(seed),
      log: createLogger('test', 'silent'),
      telemetry: this.#telemetry(),
      dialer: this.#dialer(),
      identities: new Identities(),
      authenticator: withoutKeys(this.clock),
      buffers: new Buffers(),
      resolve: (name) => this.resolve(name),
      nodeAddresses: () => this.nodeAddresses,
      workloads: this.workloads,
      draining: () => false,
    };
    this.workload = this.pod('default/client', table);
    this.clusters = new ClusterSet(this.workload, this.dataplane, this.codecs);
    this.service = outboundService(this.clusters, this.dataplane);
    this.connection = this.connectTo('10.96.0.1', 9080);
  }

  readonly codec: UpstreamCodec = {
    expectedCapacity: 1,
    open: (transport, owner) => new FakeConnection(this, this.#targets.get(transport) as DialTarget, owner),
  };

  /** The versions of HTTP in which connections were opened, in order. */
  readonly spoken: string[] = [];
  readonly codecs: Codecs = { http1: this.#speaking('1.1'), http2: this.#speaking('2') };

  #speaking(version: string): UpstreamCodec {
    return {
      ...this.codec,
      open: (transport, owner) => {
        this.spoken.push(version);
        return this.codec.open(transport, owner);
      },
    };
  }

  /** An enrolled pod with its inbound stack. */
  pod(id: string, table: Table): WorkloadHandle {
    let inbound: Inbound | undefined;
    let admission: Admission | undefined;
    const { dataplane } = this;
    const handle: WorkloadHandle = {
      id,
      identity: `spiffe://cluster.local/ns/default/sa/${id.slice(id.indexOf('/') + 1)}`,
      baggage: '',
      addresses: id === 'default/client' ? ['10.0.0.1'] : ['10.1.0.1'],
      table,
      get admission() {
        admission ??= new Admission(handle, dataplane);
        return admission;
      },
      sockets: { outbound: () => -1, inbound: () => -1 },
      inbound: () => {
        inbound ??= new Inbound(handle, this.dataplane, this.codecs, new ExternalAuthorizer({ workload: handle, clusters: new ClusterSet(handle, this.dataplane, this.codecs), clock: this.clock }, this.dataplane.log));
        return inbound.service;
      },
    };
    return handle;
  }

  connectTo(destinationAddress: string, destinationPort: number): Connection {
    return { workload: this.workload, direction: 'outbound', peer: STRANGER, remoteAddress: '10.0.0.1', remotePort: 50000, destinationAddress, destinationPort, serverName: '' };
  }

  /** Send a request; dials are answered at once unless the test holds them. */
  request(options: RequestOptions = {}): FakeClient {
    const client = new FakeClient();
    const { connection = this.connection, method = 'GET', path = '/', host = HOST, version = 11 } = options;
    client.exchange = new Exchange('source', connection, this.workload.table, this.clock.nowMs());
    const head = new RequestHead(method, path, host, version);
    head.headers.add('Host', host);
    for (const [name, value] of Object.entries(options.headers ?? {})) head.headers.add(name, value);
    const body = typeof options.body === 'string' ? [options.body] : (options.body ?? []);
    if (body.length > 0) head.contentLength = LENGTH_UNKNOWN;
    client.sink = this.service.serve(client.exchange, head, client);
    for (const part of body) client.sink.data(Buffer.from(part));
    if (options.unfinished !== true) client.sink.end(undefined);
    return client;
  }

  /** Send a request and let its connection be made. */
  send(options: RequestOptions = {}): FakeClient {
    const client = this.request(options);
    this.clock.advance(0);
    return client;
  }

  scriptFor(target: DialTarget): Script {
    return this.scripts.get(target.address) ?? this.script;
  }

  /** Addresses that requests went to, in order. */
  get seen(): string[] {
    return this.requests.map((request) => request.connection.target.address);
  }

  /** Everything counted was given back. */
  get idle(): boolean {
    return [...this.clusters.values(), this.clusters.passthrough].every(
      ({ budget, members }) => budget.pending === 0 && budget.requests === 0 && budget.retries === 0 && members.every((endpoint) => endpoint.active === 0),
    );
  }

  #dialer(): Dialer {
    return {
      socket: () => {
        throw new Error('no sockets here');
      },
      dial: (target: DialTarget, owner: TransportOwner): Transport => {
        this.dials.push(target);
        const number = this.dials.length;
        let gone = false;
        const destroy = (): void => {
          gone = true;
        };
        const transport = { owner, open: true, localAddress: '10.0.0.1', localPort: 40000, bytesRead: 0, bytesWritten: 0, destroy, reset: destroy, setKeepAlive: (keepalive: object) => this.probed.push(keepalive) } as unknown as Transport;
        this.#targets.set(transport, target);
        const { failDials } = this;
        if (failDials === 'never-answered') return transport;
        const fails = failDials === 'all' || failDials.has(number);
        this.clock.after(0, () => {
          if (gone) return;
          if (fails) owner.closed(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }));
          else owner.connected?.();
        });
        return transport;
      },
    };
  }

  #telemetry(): Telemetry {
    return {
      exchangeEnded: (facts) => this.ended.push(facts),
      tcpOpened: (facts) => this.tcp.push(`${facts.reporter} opened ${facts.upstreamAddress}`),
      tcpBytes: (facts, received, sent) => this.tcp.push(`${facts.reporter} bytes ${received} ${sent}`),
      tcpClosed: (facts) => this.tcp.push(`${facts.reporter} closed ${facts.flags}`),
    };
  }
}

export const LIMITS: ConnectionLimits = {
  maxConnections: Infinity,
  connectTimeoutMs: 10_000,
  tcpIdleTimeoutMs: 3_600_000,
  maxConnectionDurationMs: 0,
  keepalive: undefined,
  maxPendingRequests: Infinity,
  maxRequests: Infinity,
  maxRequestsPerConnection: 0,
  maxRetries: Infinity,
  httpIdleTimeoutMs: 3_600_000,
};

export const OUTLIER: OutlierPolicy = {
  consecutive5xx: 5,
  consecutiveGatewayErrors: 0,
  splitLocalOrigin: false,
  consecutiveLocalOrigin: 5,
  intervalMs: 10_000,
  baseEjectionMs: 30_000,
  maxEjectionPercent: 10,
  minHealthPercent: 0,
};

const NO_CONDITIONS: RetryConditions = {
  fiveHundreds: false,
  gatewayError: false,
  reset: false,
  resetBeforeRequest: false,
  connectFailure: false,
  refusedStream: false,
  retriable4xx: false,
  statuses: new Set(),
  grpcStatuses: new Set(),
};

export function endpoints(...addresses: readonly string[]): EndpointSpec[] {
  return addresses.map((address) => ({ address, port: 9080, weight: 1, workload: undefined, node: undefined, enrolled: false, identity: '' }));
}

export function clusterOf(change: Partial<ClusterSpec> = {}): ClusterSpec {
  return {
    key: CLUSTER,
    service: { host: 'reviews.default.svc.cluster.local', name: 'reviews', namespace: 'default' },
    subset: '',
    port: 9080,
    protocol: 'http',
    discovery: 'static',
    endpoints: endpoints('10.1.0.1'),
    balancer: 'LEAST_REQUEST',
    limits: LIMITS,
    outlier: undefined,
    tls: undefined,
    subjectAltNames: [],
    ...change,
  };
}

export function forwardTo(change: Partial<ForwardAction> = {}): ForwardAction {
  return {
    kind: 'forward',
    clusters: [{ cluster: CLUSTER, weight: 1, headers: undefined }],
    weightTotal: 1,
    rewrite: undefined,
    timeoutMs: 0,
    retry: retryOn({}, 0),
    mirrors: [],
    ...change,
  };
}

export function retryOn(on: Partial<RetryConditions>, attempts = 2, change: Partial<ForwardAction['retry']> = {}): ForwardAction['retry'] {
  return { attempts, perTryTimeoutMs: 0, on: { ...NO_CONDITIONS, ...on }, backoffBaseMs: 25, backoffMaxMs: 250, avoidPreviousHosts: true, ...change };
}

export function routeOf(change: Partial<Route> = {}): Route {
  return { name: 'default', origin: 'VirtualService default/reviews http[0]', match: matchAll, action: forwardTo(), fault: undefined, cors: undefined, headers: undefined, ...change };
}

export function headersOf(change: { readonly [K in keyof HeaderOperations]?: Partial<HeaderOperations[K]> }): HeaderOperations {
  const none = { remove: [], set: [], add: [] };
  return { request: { ...none, ...change.request }, response: { ...none, ...change.response } };
}

export interface TableOptions {
  readonly routes?: readonly Route[];
  readonly clusters?: readonly ClusterSpec[];
  readonly mode?: 'ALLOW_ANY' | 'REGISTRY_ONLY';
  readonly inbound?: ReadonlyMap<number, InboundPort>;
}

let version = 0;

export function tableOf({ routes = [routeOf()], clusters = [clusterOf()], mode = 'ALLOW_ANY', inbound = new Map() }: TableOptions = {}): Table {
  const service = { host: 'reviews.default.svc.cluster.local', name: 'reviews', namespace: 'default' };
  const host: VirtualHost = { name: 'reviews:9080', routes, service };
  version += 1;
  return {
    version,
    workloadClass: 'test',
    outbound: {
      mode,
      destinations: new Map(),
      ranges: [],
      anyAddress: new Map(),
      httpPorts: new Map([[9080, { exact: new Map([[HOST, host]]), wildcards: [] }]]),
      tlsPorts: new Map(),
    },
    inbound,
    security: NO_SECURITY,
    podAt: () => undefined,
    clusters: new Map(clusters.map((cluster) => [cluster.key, cluster])),
  };
}
