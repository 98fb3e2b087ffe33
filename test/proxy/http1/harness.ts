/**
 * A client's side and an endpoint's side of the codec put back to back on loopback sockets, with nothing between them: what a
 * real client and a real server make of each other through it is what the tests look at.
 */
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { connect } from 'node:net';
import { systemClock } from '../../../src/core/clock.ts';
import type { Clock } from '../../../src/core/clock.ts';
import { MeshError } from '../../../src/core/errors.ts';
import { createLogger } from '../../../src/core/log.ts';
import { seededRandom } from '../../../src/core/random.ts';
import { STRANGER } from '../../../src/proxy/connection.ts';
import type { Connection } from '../../../src/proxy/connection.ts';
import type { DataPlane } from '../../../src/proxy/dataplane.ts';
import type { RequestSink, ResponseSink, Service } from '../../../src/proxy/exchange.ts';
import type { RequestHead } from '../../../src/proxy/head.ts';
import { HeldRequest } from '../../../src/proxy/held.ts';
import { Http1Client } from '../../../src/proxy/http1/client.ts';
import { Http1Server } from '../../../src/proxy/http1/server.ts';
import { observe } from '../../../src/proxy/layers/observe.ts';
import { rescue } from '../../../src/proxy/layers/rescue.ts';
import { stack } from '../../../src/proxy/layers/layer.ts';
import { Exchange } from '../../../src/proxy/record.ts';
import { SocketTransport, acceptHandles } from '../../../src/proxy/socket-transport.ts';
import type { Transport, TransportOwner } from '../../../src/proxy/transport.ts';
import type { UpstreamConnection, UpstreamOwner } from '../../../src/proxy/upstream.ts';
import type { ExchangeFacts } from '../../../src/telemetry/telemetry.ts';

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

export interface ProxyOptions {
  readonly upstreamPort: number;
  readonly clock?: Clock;
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
  readonly #server: Server;
  readonly #upstreamPort: number;
  readonly #idle: UpstreamConnection[] = [];
  readonly #connections = new Set<UpstreamConnection>();
  readonly #transports = new Set<Transport>();

  constructor({ upstreamPort, clock = systemClock }: ProxyOptions) {
    this.clock = clock;
    this.#upstreamPort = upstreamPort;
    this.#server = createServer();
    const log = createLogger('test', 'silent');
    this.dataplane = {
      clock,
      random: seededRandom(1),
      log,
      telemetry: { exchangeEnded: (facts) => void this.ended.push(facts), tcpOpened: () => undefined, tcpBytes: () => undefined, tcpClosed: () => undefined },
      dialer: undefined as never,
      resolve: async () => await Promise.resolve([]),
      workloads: new Map(),
      draining: () => this.draining,
    };
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.port = (this.#server.address() as AddressInfo).port;
    const service = stack([observe(this.dataplane.telemetry, this.clock), rescue(this.dataplane.log)], this);
    acceptHandles(this.#server, (handle) => {
      const transport = SocketTransport.accepted(handle, NOBODY);
      this.#transports.add(transport);
      this.open += 1;
      transport.owner = new Http1Server({
        transport,
        connection: CONNECTION,
        service,
        dataplane: this.dataplane,
        begin: () => new Exchange('source', CONNECTION, undefined, this.clock.nowMs()),
        onClosed: () => {
          this.open -= 1;
          this.#transports.delete(transport);
        },
      });
    });
  }

  close(): void {
    this.#server.close();
    for (const transport of this.#transports) transport.destroy();
    for (const connection of this.#connections) connection.destroy();
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle.send(exchange, head, response);
    const held = new HeldRequest(response);
    this.dialled += 1;
    const socket: Socket = connect(this.#upstreamPort, '127.0.0.1');
    socket.once('connect', () => {
      const transport = SocketTransport.over(socket, NOBODY);
      if (held.over) {
        transport.destroy();
        return;
      }
      const connection = new Http1Client(transport, this);
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
    this.#idle.push(connection);
  }

  closed(connection: UpstreamConnection): void {
    this.#connections.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
  }
}

export async function proxyTo(upstreamPort: number, clock: Clock = systemClock): Promise<Proxy> {
  const proxy = new Proxy({ upstreamPort, clock });
  await proxy.listen();
  return proxy;
}


