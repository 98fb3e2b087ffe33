/**
 * What the layers between the codecs cost per exchange, without codecs and sockets: `node bench/micro/stack.ts`.
 * One core of the reference machine, Node 26, best of five runs, with other work on the machine: a plain route 1.2 to 1.4 µs, with a
 * timeout 1.4 to 1.6, with header operations both ways 1.4 to 1.7, to a pod of the same node (both sides reported) 2.0 to 2.6.
 */
import { systemClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';
import { systemRandom } from '../../src/core/random.ts';
import { RequestHead, ResponseHead } from '../../src/proxy/head.ts';
import { HeaderList } from '../../src/proxy/headers.ts';
import { Admission } from '../../src/proxy/admission.ts';
import { ClusterSet } from '../../src/proxy/cluster-set.ts';
import { STRANGER } from '../../src/proxy/connection.ts';
import type { Connection } from '../../src/proxy/connection.ts';
import type { DataPlane } from '../../src/proxy/dataplane.ts';
import type { RequestSink, ResponseSink, Service } from '../../src/proxy/exchange.ts';
import { ExternalAuthorizer } from '../../src/proxy/ext-authz/external-authorizer.ts';
import { Inbound } from '../../src/proxy/inbound.ts';
import { Exchange } from '../../src/proxy/record.ts';
import { outboundService } from '../../src/proxy/stack.ts';
import { Buffers } from '../../src/proxy/buffers.ts';
import { Identities } from '../../src/proxy/tls/identities.ts';
import type { Transport } from '../../src/proxy/transport.ts';
import type { UpstreamCodec, UpstreamConnection, UpstreamOwner } from '../../src/proxy/upstream.ts';
import type { WorkloadHandle } from '../../src/proxy/workload.ts';
import { withoutKeys } from '../../test/proxy/jwt/without-keys.ts';
import { clusterOf, endpoints, forwardTo, headersOf, retryOn, routeOf, tableOf } from '../../test/proxy/world.ts';

const ROUNDS = 200_000;
const BATCH = 500;
const RUNS = 5;

/** Answers every request at once with a small body. */
class Endpoint implements UpstreamConnection, RequestSink {
  readonly localAddress = '10.0.0.1:40000';
  served = 0;
  capacity = 1;
  busy = false;
  readonly #owner: UpstreamOwner;
  #response: ResponseSink | undefined;

  constructor(_transport: Transport, owner: UpstreamOwner) {
    this.#owner = owner;
  }

  send(_exchange: Exchange, _head: RequestHead, response: ResponseSink): RequestSink {
    this.served += 1;
    this.capacity = 0;
    this.#response = response;
    return this;
  }

  data(): boolean {
    return true;
  }

  end(): void {
    const response = this.#response as ResponseSink;
    const head = new ResponseHead(200, 'OK', list(RESPONSE_FIELDS));
    head.contentLength = BODY.length;
    response.head(head);
    response.data(BODY);
    this.capacity = 1;
    this.#owner.ready(this);
    response.end(undefined);
  }

  abort(): void {
    throw new Error('nothing is aborted here');
  }

  resumeResponse(): void {
    throw new Error('nothing is held here');
  }

  drain(): void {
    throw new Error('nothing is drained here');
  }

  destroy(): void {
    throw new Error('nothing is destroyed here');
  }
}

const BODY = Buffer.from('{"ok": true}');
const RESPONSE_FIELDS = ['content-type', 'application/json', 'content-length', '12', 'date', 'Sat, 21 Nov 2026 05:00:00 GMT'];
const REQUEST_FIELDS = 'host reviews user-agent curl/8.10 accept */* accept-encoding gzip cookie session=abcdef x-request-id 5f2d1c6e-6f0e-4e39-9f4e-1f9a6a3c2b11'.split(' ');

/** As the parser leaves it: fields, and their text. */
function list(fields: readonly string[]): HeaderList {
  const headers = new HeaderList();
  for (let i = 0; i < fields.length; i += 2) headers.pushParsed(fields[i] as string, fields[i] as string, fields[i + 1] as string);
  headers.keepRaw('');
  return headers;
}

const client: ResponseSink = { informational: () => undefined, head: () => undefined, data: () => true, end: () => undefined, abort: () => undefined, resumeRequest: () => undefined };
let reported = 0;

const workloads = new Map<string, WorkloadHandle>();
const dataplane: DataPlane = {
  clock: systemClock,
  random: systemRandom,
  log: createLogger('bench', 'silent'),
  telemetry: {
    exchangeEnded: (facts, durationMs) => {
      if (facts.status === 200 && durationMs >= 0) reported += 1;
    },
    tcpOpened: () => undefined,
    tcpBytes: () => undefined,
    tcpClosed: () => undefined,
  },
  identities: new Identities(),
  authenticator: withoutKeys(systemClock),
  buffers: new Buffers(),
  dialer: {
    socket: () => {
      throw new Error('no TLS here');
    },
    dial: (_target, owner) => {
      setImmediate(() => owner.connected?.());
      return { destroy: () => undefined } as unknown as Transport;
    },
  },
  resolve: () => Promise.resolve([]),
  nodeAddresses: () => new Set(),
  workloads,
  draining: () => false,
};
const codec: UpstreamCodec = { expectedCapacity: 1, open: (transport, owner) => new Endpoint(transport, owner) };
const codecs = { http1: codec, http2: codec };

function pod(id: string, table: WorkloadHandle['table']): WorkloadHandle {
  let inbound: Inbound | undefined;
  let admission: Admission | undefined;
  const handle: WorkloadHandle = {
    id,
    identity: 'spiffe://cluster.local/ns/default/sa/client',
    baggage: '',
    addresses: ['10.0.0.1'],
    table,
    get admission() {
      return (admission ??= new Admission(handle, dataplane));
    },
    sockets: { outbound: () => -1, inbound: () => -1 },
    inbound: () => (inbound ??= new Inbound(handle, dataplane, codecs, new ExternalAuthorizer({ workload: handle, clusters: new ClusterSet(handle, dataplane, codecs), clock: systemClock }, dataplane.log))).service,
  };
  return handle;
}

async function measure(name: string, table: WorkloadHandle['table']): Promise<void> {
  const workload = pod('default/client', table);
  const clusters = new ClusterSet(workload, dataplane, codecs);
  const service = outboundService(clusters, dataplane);
  const connection: Connection = { workload, direction: 'outbound', peer: STRANGER, remoteAddress: '10.0.0.1', remotePort: 50000, destinationAddress: '10.96.0.1', destinationPort: 9080, serverName: '' };
  for (let i = 0; i < 16; i += 1) exchange(service, connection, table);
  await new Promise((resolve) => setTimeout(resolve, 20));
  let best = Infinity;
  for (let run = 0; run < RUNS; run += 1) {
    reported = 0;
    let spentMs = 0;
    for (let batch = 0; batch < ROUNDS; batch += BATCH) {
      const startMs = performance.now();
      for (let i = 0; i < BATCH; i += 1) exchange(service, connection, table);
      spentMs += performance.now() - startMs;
      // As in a worker, timers run between bursts; cancelled ones would pile up otherwise.
      await new Promise((resolve) => setImmediate(resolve));
    }
    best = Math.min(best, (spentMs * 1000) / ROUNDS);
    if (reported < ROUNDS) throw new Error('an exchange was not reported');
  }
  console.log(`${name.padEnd(60)} ${best.toFixed(2)} µs`);
}

function exchange(service: Service, connection: Connection, table: WorkloadHandle['table']): void {
  const record = new Exchange('source', connection, table, systemClock.nowMs());
  const head = new RequestHead('GET', '/productpage?user=jason', 'reviews', 11, list(REQUEST_FIELDS));
  service.serve(record, head, client).end(undefined);
}

const retries = retryOn({ connectFailure: true, refusedStream: true });
const three = endpoints('10.1.0.1', '10.1.0.2', '10.1.0.3');
const plain = forwardTo({ retry: retries });
const edits = headersOf({ request: { set: [{ name: 'x-a', parts: ['1'] }] }, response: { set: [{ name: 'x-b', parts: ['2'] }] } });
const local = three.map((endpoint, i) => ({ ...endpoint, workload: `default/reviews-${i}`, enrolled: true }));

{
  const startMs = performance.now();
  for (let i = 0; i < ROUNDS * 5; i += 1) {
    const head = new RequestHead('GET', '/productpage?user=jason', 'reviews', 11, list(REQUEST_FIELDS));
    if (head.headers.size + list(RESPONSE_FIELDS).size === 0) throw new Error('no fields');
  }
  console.log(`${'(of which: making the two heads, as the codecs would)'.padEnd(60)} ${(((performance.now() - startMs) * 1000) / (ROUNDS * 5)).toFixed(2)} µs`);
}
await measure('plain route: default retries, three endpoints', tableOf({ clusters: [clusterOf({ endpoints: three })], routes: [routeOf({ action: plain })] }));
await measure('with a timeout of 10 s', tableOf({ clusters: [clusterOf({ endpoints: three })], routes: [routeOf({ action: { ...plain, timeoutMs: 10_000 } })] }));
await measure('with header operations both ways', tableOf({ clusters: [clusterOf({ endpoints: three })], routes: [routeOf({ action: plain, headers: edits })] }));
for (const endpoint of local) workloads.set(endpoint.workload, pod(endpoint.workload, tableOf()));
await measure('to a pod of the same node, both sides reported', tableOf({ clusters: [clusterOf({ endpoints: local })], routes: [routeOf({ action: plain })] }));
process.exit(0);
