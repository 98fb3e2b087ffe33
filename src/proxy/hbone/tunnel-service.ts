/** What the server of a tunnel does with its requests: each CONNECT becomes a connection to the pod's own application. */
import { isIP, isIPv6 } from 'node:net';
import { MeshError } from '../../core/errors.ts';
import { HBONE_PORT, INBOUND_PORT, OUTBOUND_PORT } from '../../core/ports.ts';
import type { Connection, Peer } from '../connection.ts';
import type { DataPlane } from '../dataplane.ts';
import { DISCARD } from '../exchange.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead } from '../head.ts';
import { receive } from '../newcomer.ts';
import type { ConnectionHandler } from '../newcomer.ts';
import type { Exchange } from '../record.ts';
import { localReply } from '../respond.ts';
import type { TransportOwner } from '../transport.ts';
import type { WorkloadHandle } from '../workload.ts';
import { acceptedHead } from './accepted-head.ts';
import { StreamTransport } from './stream-transport.ts';
import { TcpStream } from './tcp-stream.ts';
import type { StreamEnd } from './stream-transport.ts';

/** The agent's own ports in a pod: who connects to them by a tunnel would go round in a circle. */
const OWN_PORTS = new Set([OUTBOUND_PORT, INBOUND_PORT, HBONE_PORT]);

export interface TunnelEnds {
  readonly workload: WorkloadHandle;
  readonly peer: Peer;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** The pod's address that the tunnel was made to. */
  readonly localAddress: string;
}

export class TunnelService implements Service {
  readonly #ends: TunnelEnds;
  readonly #handler: ConnectionHandler;
  readonly #dataplane: DataPlane;

  constructor(ends: TunnelEnds, handler: ConnectionHandler, dataplane: DataPlane) {
    this.#ends = ends;
    this.#handler = handler;
    this.#dataplane = dataplane;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    exchange.begin(head);
    const port = this.#portOf(head);
    if (port instanceof MeshError) {
      exchange.error = port;
      exchange.flag(port.kind.flag);
      exchange.details = port.details;
      exchange.status = port.kind.status;
      localReply(port, exchange, response);
      this.#dataplane.telemetry.exchangeEnded(exchange, 0);
      return DISCARD;
    }
    return this.#accept(port, response);
  }

  #accept(destinationPort: number, response: ResponseSink): RequestSink {
    const { workload, peer, remoteAddress, remotePort, localAddress: destinationAddress } = this.#ends;
    const connection: Connection = { workload, direction: 'inbound', peer, remoteAddress, remotePort, destinationAddress, destinationPort, serverName: '' };
    const transport = new StreamTransport(new ToPeer(response), { localAddress: destinationAddress, localPort: destinationPort, remoteAddress, remotePort }, NOBODY);
    if (this.#handler.fault(connection) === undefined && this.#handler.protocol(connection) === 'tcp') return new TcpStream(transport, connection, response, this.#handler);
    response.head(acceptedHead(workload));
    receive(transport, connection, this.#handler, this.#dataplane, () => undefined);
    return new FromPeer(transport);
  }

  /** The port that is asked for, when everything about the request is right. */
  #portOf({ method, authority }: RequestHead): number | MeshError {
    if (method !== 'CONNECT') return new MeshError('tunnel_bad_request', { reason: `${method} in a tunnel` });
    const colon = authority.lastIndexOf(':');
    const address = authority.slice(0, colon).replaceAll(/[[\]]/g, '');
    const port = Number(authority.slice(colon + 1));
    if (isIP(address) === 0 || port < 1 || port > 65_535) return new MeshError('tunnel_bad_request', { reason: `:authority ${authority} is not ADDRESS:PORT` });
    const { localAddress } = this.#ends;
    if (normal(address) !== normal(localAddress)) return new MeshError('tunnel_bad_request', { reason: `:authority ${authority} in a tunnel to ${localAddress}` });
    return OWN_PORTS.has(port) ? new MeshError('tunnel_port_refused', { reason: `port ${port}` }) : port;
  }
}

/** What the client sends through the stream, and what becomes of it. */
class FromPeer implements RequestSink {
  readonly #transport: StreamTransport;

  constructor(transport: StreamTransport) {
    this.#transport = transport;
  }

  data(chunk: Buffer): boolean {
    return this.#transport.received(chunk);
  }

  end(): void {
    this.#transport.receivedEnd();
  }

  abort(error: MeshError): void {
    this.#transport.lost(error);
  }

  resumeResponse(): void {
    this.#transport.mayGoOn();
  }
}

/** What the application sends back. */
class ToPeer implements StreamEnd {
  readonly #response: ResponseSink;

  constructor(response: ResponseSink) {
    this.#response = response;
  }

  send(chunk: Buffer): boolean {
    return this.#response.data(chunk);
  }

  finish(): void {
    this.#response.end(undefined);
  }

  cut(abruptly: boolean): void {
    this.#response.abort(new MeshError(abruptly ? 'tunnel_reset' : 'tunnel_closed'));
  }

  goOn(): void {
    this.#response.resumeRequest();
  }
}

const NOBODY: TransportOwner = { bytes: () => undefined, ended: () => undefined, drained: () => undefined, closed: () => undefined };

function normal(address: string): string {
  const plain = address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address;
  // URLs know no zones (fe80::1%eth0).
  const [bare = ''] = plain.split('%');
  return isIPv6(bare) ? new URL(`http://[${bare}]`).hostname : plain;
}
