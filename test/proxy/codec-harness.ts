/**
 * A client's side and an endpoint's side of a codec put back to back on loopback sockets, with nothing between them: what a
 * real client and a real server make of each other through it is what the tests look at. Each side may be either version.
 */
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { connect } from 'node:net';
import { systemClock } from '../../src/core/clock.ts';
import type { Clock } from '../../src/core/clock.ts';
import { MeshError } from '../../src/core/errors.ts';
import { createLogger } from '../../src/core/log.ts';
import { seededRandom } from '../../src/core/random.ts';
import { STRANGER } from '../../src/proxy/connection.ts';
import type { Connection } from '../../src/proxy/connection.ts';
import type { DataPlane } from '../../src/proxy/dataplane.ts';
import { DISCARD } from '../../src/proxy/exchange.ts';
import type { RequestSink, ResponseSink, Service } from '../../src/proxy/exchange.ts';
import { LENGTH_UNKNOWN, ResponseHead } from '../../src/proxy/head.ts';
import type { RequestHead } from '../../src/proxy/head.ts';
import { HeaderList } from '../../src/proxy/headers.ts';
import { HeldRequest } from '../../src/proxy/held.ts';
import { Http1Client } from '../../src/proxy/http1/client.ts';
import { Http1Server } from '../../src/proxy/http1/server.ts';
import { Http2Client } from '../../src/proxy/http2/client.ts';
import { Http2Server } from '../../src/proxy/http2/server.ts';
import { observe } from '../../src/proxy/layers/observe.ts';
import { rescue } from '../../src/proxy/layers/rescue.ts';
import { stack } from '../../src/proxy/layers/layer.ts';
import { Exchange } from '../../src/proxy/record.ts';
import { Buffers } from '../../src/proxy/buffers.ts';
import { Identities } from '../../src/proxy/tls/identities.ts';
import { SocketTransport, acceptHandles } from '../../src/proxy/socket-transport.ts';
import type { Transport, TransportOwner } from '../../src/proxy/transport.ts';
import type { UpstreamConnection, UpstreamOwner } from '../../src/proxy/upstream.ts';
import type { ExchangeFacts } from '../../src/telemetry/telemetry.ts';
import { withoutKeys } from './jwt/without-keys.ts';

export const CONNECTION: Connection = {
  workload: undefined as never,
  direction: 'outbound',
  peer: STRANGER,
  remoteAddress: '10.0.0.1',
  remotePort: 40000,
  destinationAddress: '10.0.0.2',
  destinationPort: 80,
  serverName: '',
};

const NOBODY: TransportOwner = { bytes: () => undefined, ended: () => undefined, drained: () => undefined, closed: () => undefined };

export type HttpVersion = 'http1' | 'http2';

export interface ProxyOptions {
  readonly clock?: Clock;
  /** What clients speak to it. */
  readonly downstream?: HttpVersion;
  /** What it speaks to the endpoint. */
  readonly upstream?: HttpVersion;
  /** Who answers, instead of the endpoint. */
  readonly service?: Service;
  /** Nothing stands between the codec and the service. */
  readonly bare?: boolean;
}

/** Everything a test may look at afterwards. */
export class Proxy implements UpstreamOwner, Service {
  port = 0;
  readonly clock: Clock;
  draining = false;
  readonly ended: ExchangeFacts[] = [];
  /** Connections to the endpoint made so far. */
  dialled = 0;
  open = 0;
  readonly dataplane: DataPlane;
  /** The clients' connections, by the side of the codec that serves them. */
  readonly servers = new Set<Http1Server | Http2Server>();
  readonly #server: Server;
  readonly #service: Service;
  readonly #upstreamPort: number;
  readonly #downstream: HttpVersion;
  readonly #upstream: HttpVersion;
  /** Last used last. */
  readonly #connections = new Set<UpstreamConnection>();
  readonly #transports = new Set<Transport>();

  constructor(upstreamPort: number, { clock = systemClock, downstream = 'http1', upstream = 'http1', service, bare = false }: ProxyOptions) {
    this.clock = clock;
    const inner = service ?? this;
    this.#upstreamPort = upstreamPort;
    this.#downstream = downstream;
    this.#upstream = upstream;
    this.#server = createServer();
    const log = createLogger('test', 'silent');
    this.dataplane = {
      clock,
      random: seededRandom(1),
      log,
      telemetry: { exchangeEnded: (facts) => void this.ended.push(facts), tcpOpened: () => undefined, tcpBytes: () => undefined, tcpClosed: () => undefined },
      dialer: undefined as never,
      identities: new Identities(),
      authenticator: withoutKeys(clock),
      buffers: new Buffers(),
      resolve: async () => await Promise.resolve([]),
      nodeAddresses: () => new Set(),
      workloads: new Map(),
      draining: () => this.draining,
    };
    this.#service = bare ? inner : stack([observe(this.dataplane.telemetry, clock), rescue(log)], inner);
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.port = (this.#server.address() as AddressInfo).port;
    acceptHandles(this.#server, (handle) => {
      const transport = SocketTransport.accepted(handle, NOBODY);
      this.#transports.add(transport);
      this.open += 1;
      const Codec = this.#downstream === 'http1' ? Http1Server : Http2Server;
      const server: Http1Server | Http2Server = new Codec({
        transport,
        connection: CONNECTION,
        service: this.#service,
        dataplane: this.dataplane,
        begin: () => new Exchange('source', CONNECTION, undefined, this.clock.nowMs()),
        onClosed: () => {
          this.open -= 1;
          this.#transports.delete(transport);
          this.servers.delete(server);
        },
      });
      this.servers.add(server);
      transport.owner = server;
    });
  }

  close(): void {
    this.#server.close();
    for (const transport of this.#transports) transport.destroy();
    for (const connection of this.#connections) connection.destroy();
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const free = [...this.#connections].reverse().find((connection) => connection.capacity > 0);
    if (free !== undefined) return free.send(exchange, head, response);
    const held = new HeldRequest(response);
    this.dialled += 1;
    const socket: Socket = connect(this.#upstreamPort, '127.0.0.1');
    socket.once('connect', () => {
      const transport = SocketTransport.over(socket, NOBODY);
      if (held.over) {
        transport.destroy();
        return;
      }
      const connection = this.#upstream === 'http1' ? new Http1Client(transport, this) : Http2Client.over(this.dataplane).open(transport, this);
      this.#connections.add(connection);
      held.release(connection.send(exchange, head, response));
    });
    socket.allowHalfOpen = true;
    socket.once('error', () => {
      if (!this.#connections.size) response.abort(new MeshError('upstream_connect_failed'));
    });
    return held;
  }

  ready(connection: UpstreamConnection): void {
    this.#connections.delete(connection);
    this.#connections.add(connection);
  }

  closed(connection: UpstreamConnection): void {
    this.#connections.delete(connection);
  }
}

export async function proxyTo(upstreamPort: number, options: ProxyOptions = {}): Promise<Proxy> {
  const proxy = new Proxy(upstreamPort, options);
  await proxy.listen();
  return proxy;
}

/** The codec of the clients' side alone; `service` answers. */
export async function serving(service: Service, downstream: HttpVersion, clock: Clock = systemClock): Promise<Proxy> {
  return await proxyTo(0, { service, downstream, clock });
}

const WORDS = Buffer.from('a few words');

/** Answers with what it is sent; a request without a body gets a few words. */
export const ECHO: Service = {
  serve(_exchange, head, response) {
    const answer = new ResponseHead(200, '', new HeaderList());
    answer.headers.add('content-type', 'text/plain');
    answer.contentLength = head.contentLength === 0 ? WORDS.length : LENGTH_UNKNOWN;
    response.head(answer);
    if (head.contentLength === 0) {
      if (head.method !== 'HEAD') response.data(WORDS);
      response.end(undefined);
      return DISCARD;
    }
    return {
      data: (chunk) => response.data(chunk),
      end: (trailers) => {
        response.end(trailers);
      },
      abort: () => undefined,
      resumeResponse: () => {
        response.resumeRequest();
      },
    };
  },
};
