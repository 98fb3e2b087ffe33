/** A connection that is being made through a tunnel: the CONNECT request, its answer, and then the bytes. */
import { hostPort } from '../../core/address.ts';
import { MeshError } from '../../core/errors.ts';
import type { Random } from '../../core/random.ts';
import { DISCARD } from '../exchange.ts';
import type { RequestSink } from '../exchange.ts';
import { LENGTH_UNKNOWN, RequestHead } from '../head.ts';
import type { ResponseHead } from '../head.ts';
import type { PooledRequest } from '../pool.ts';
import type { Exchange } from '../record.ts';
import type { TransportOwner } from '../transport.ts';
import type { DialTarget } from '../upstream.ts';
import { StreamTransport } from './stream-transport.ts';
import type { StreamEnd } from './stream-transport.ts';

/** The request that asks the server of a tunnel for a connection (HBONE: plain CONNECT, no scheme, no path). */
export function connectHead({ workload, address, port }: DialTarget, random: Random): RequestHead {
  const authority = hostPort(address, port);
  const head = new RequestHead('CONNECT', authority, authority, 20);
  head.contentLength = LENGTH_UNKNOWN;
  const [own] = workload.addresses;
  if (workload.baggage !== '') head.headers.add('baggage', workload.baggage);
  if (own !== undefined) head.headers.add('forwarded', `for="${own.includes(':') ? `[${own}]` : own}"`);
  head.headers.add('traceparent', `00-${hex(random, 16)}-${hex(random, 8)}-00`);
  return head;
}

export class Opening implements PooledRequest, StreamEnd {
  readonly exchange: Exchange;
  readonly requestHead: RequestHead;
  readonly transport: StreamTransport;
  /** Where our bytes go; before the pool has taken the request, nowhere. */
  request: RequestSink = DISCARD;
  #answered = false;

  constructor(exchange: Exchange, head: RequestHead, target: DialTarget, owner: TransportOwner) {
    this.exchange = exchange;
    this.requestHead = head;
    this.transport = new StreamTransport(this, { localAddress: target.workload.addresses[0] ?? '', localPort: 0, remoteAddress: target.address, remotePort: target.port }, owner);
  }

  begun(): void {
    // The tunnel counts nothing; the connections in it are counted by whose they are.
  }

  informational(): void {
    // Nothing is waited for but the answer.
  }

  head(head: ResponseHead): void {
    if (head.status !== 200) {
      this.request.abort(new MeshError('tunnel_closed'));
      this.transport.lost(new MeshError('upstream_connect_failed', { reason: `the server of the tunnel answered ${head.status}` }));
      return;
    }
    this.#answered = true;
    this.transport.opened();
  }

  /** From the server of the tunnel. {@link send} is the other direction. */
  data(chunk: Buffer): boolean {
    return this.transport.received(chunk);
  }

  end(): void {
    if (this.#answered) this.transport.receivedEnd();
    else this.transport.lost(new MeshError('upstream_connect_failed', { reason: 'the server of the tunnel ended the stream' }));
  }

  abort(error: MeshError): void {
    this.transport.lost(error);
  }

  resumeRequest(): void {
    this.transport.mayGoOn();
  }

  send(chunk: Buffer): boolean {
    return this.request.data(chunk);
  }

  finish(): void {
    this.request.end(undefined);
  }

  cut(abruptly: boolean): void {
    this.request.abort(new MeshError(abruptly ? 'tunnel_reset' : 'tunnel_closed'));
  }

  goOn(): void {
    this.request.resumeResponse();
  }
}

function hex(random: Random, bytes: number): string {
  let text = '';
  for (let i = 0; i < bytes; i += 1) text += Math.floor(random.next() * 256).toString(16).padStart(2, '0');
  return text;
}
