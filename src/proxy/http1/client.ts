/**
 * The connection to an endpoint, one exchange at a time. It is used again only when both messages ended as announced and
 * nothing came after them; every doubt closes it.
 */
import { MeshError } from '../../core/errors.ts';
import type { RequestSink, ResponseSink } from '../exchange.ts';
import type { RequestHead, ResponseHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import type { Exchange } from '../record.ts';
import type { Transport, TransportOwner } from '../transport.ts';
import type { UpstreamCodec, UpstreamConnection, UpstreamOwner } from '../upstream.ts';
import { ResponseParser } from './parser.ts';
import type { ResponseReader } from './parser.ts';
import { BODY_RAW, BodyWriter, framingOf, requestText } from './serializer.ts';

export class Http1Client implements UpstreamConnection, TransportOwner, ResponseReader {
  readonly #transport: Transport;
  readonly #owner: UpstreamOwner;
  readonly #parser: ResponseParser;
  readonly #writer: BodyWriter;
  #current: ClientExchange | undefined;
  /** Read past what the client could take; the transport is paused while there is some. */
  #rest: Buffer | undefined;
  #paused = false;
  /** The endpoint has sent FIN. */
  #ended = false;
  #draining = false;
  #gone = false;
  #localAddress: string | undefined;
  served = 0;

  constructor(transport: Transport, owner: UpstreamOwner) {
    this.#transport = transport;
    this.#owner = owner;
    this.#parser = new ResponseParser(this);
    this.#writer = new BodyWriter(transport);
    transport.owner = this;
  }

  /** What a pool is given to make its connections speak HTTP/1.1. */
  static readonly codec: UpstreamCodec = Object.freeze({
    expectedCapacity: 1,
    open: (transport: Transport, owner: UpstreamOwner) => new Http1Client(transport, owner),
  });

  get busy(): boolean {
    return this.#current !== undefined;
  }

  get capacity(): number {
    return this.#current === undefined && !this.#gone && !this.#draining ? 1 : 0;
  }

  /** Asked for once an exchange; the kernel is asked once a connection. */
  get localAddress(): string {
    this.#localAddress ??= `${this.#transport.localAddress}:${this.#transport.localPort}`;
    return this.#localAddress;
  }

  send(_exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    this.served += 1;
    const current = new ClientExchange(this, head, response);
    this.#current = current;
    this.#parser.method = head.method;
    this.#writer.begin(framingOf(head.contentLength), head.contentLength);
    this.#transport.write(requestText(head, this.#draining));
    return current;
  }

  drain(): void {
    this.#draining = true;
    if (this.#current === undefined) this.#close();
  }

  destroy(): void {
    this.#lose(new MeshError('upstream_reset', { reason: 'closed by the agent' }));
  }

  bytes(buffer: Buffer, length: number): void {
    if (this.#gone) return;
    if (this.#rest !== undefined) {
      // Paused, but what the kernel had already handed over still comes.
      this.#rest = Buffer.concat([this.#rest, buffer.subarray(0, length)]);
      return;
    }
    this.#consume(buffer, length);
  }

  ended(): void {
    this.#ended = true;
    if (this.#rest === undefined) this.#endOfInput();
  }

  drained(): void {
    this.#current?.response.resumeRequest();
  }

  closed(error: Error | undefined): void {
    if (this.#gone) return;
    this.#lose(this.#cutOff(error === undefined ? 'closed' : ((error as NodeJS.ErrnoException).code ?? error.message)));
  }

  responseHead(head: ResponseHead): void {
    const current = this.#current as ClientExchange;
    const { status } = head;
    if (status < 200 && status !== 101) {
      current.response.informational(head);
      return;
    }
    if (status === 101) {
      if (current.request.upgrade === undefined || head.upgrade === undefined) {
        throw new MeshError('upstream_protocol_error', { reason: '101 that was not asked for' });
      }
      current.tunnel = true;
    } else if (current.request.method === 'CONNECT' && status < 300) current.tunnel = true;
    current.answered = true;
    if (current.tunnel) this.#writer.begin(BODY_RAW, 0);
    current.response.head(head);
  }

  body(chunk: Buffer): boolean {
    const current = this.#current;
    if (current === undefined || current.response.data(chunk)) return true;
    this.#pause();
    return false;
  }

  /** Of the exchange in progress. */
  writeBody(chunk: Buffer): boolean {
    return this.#writer.write(chunk);
  }

  endBody(current: ClientExchange, trailers: HeaderList | undefined): void {
    if (current.tunnel) {
      // When both directions have ended the connection closes by itself, after what is still unsent.
      this.#transport.end();
      return;
    }
    // Shorter than announced: the endpoint waits for more, and would take the next request for it.
    if (!this.#writer.end(trailers)) this.#lose(new MeshError('internal', { reason: 'request body shorter than its Content-Length' }));
  }

  /** The client gave up. What the endpoint got is half a request, so it must not look like a whole one. */
  abandon(current: ClientExchange): void {
    if (this.#current !== current) return;
    this.#current = undefined;
    this.#close(true);
  }

  resumeReading(): void {
    if (!this.#paused || this.#gone) return;
    this.#paused = false;
    const rest = this.#rest;
    this.#rest = undefined;
    if (rest !== undefined) this.#consume(rest, rest.length);
    if (this.#paused || this.#gone) return;
    this.#transport.resume();
    if (this.#ended) this.#endOfInput();
  }

  #pause(): void {
    this.#paused = true;
    this.#transport.pause();
  }

  #consume(buffer: Buffer, length: number): void {
    const parser = this.#parser;
    let at = 0;
    while (at < length && !this.#gone) {
      const current = this.#current;
      if (current === undefined) {
        // Nobody asked: a second answer, or garbage after one.
        this.#close();
        return;
      }
      if (this.#paused) {
        this.#rest = Buffer.from(buffer.subarray(at, length));
        return;
      }
      if (current.tunnel) {
        if (!current.response.data(buffer.subarray(at, length))) this.#pause();
        return;
      }
      try {
        at = parser.feed(buffer, at, length);
      } catch (error) {
        this.#lose(asMeshError(error));
        return;
      }
      if (parser.complete) this.#messageEnded(current, at === length);
    }
  }

  #messageEnded(current: ClientExchange, nothingFollows: boolean): void {
    const parser = this.#parser;
    if (current.tunnel) {
      parser.next();
      return;
    }
    if (!current.answered) {
      // An informational head; the answer is still to come.
      parser.next();
      return;
    }
    this.#finish(current, nothingFollows && parser.persistent && this.#writer.complete && !this.#ended);
  }

  /** The answer is complete. The connection is free before its client is told, so that the next request finds it. */
  #finish(current: ClientExchange, reusable: boolean): void {
    const { trailers } = this.#parser;
    this.#current = undefined;
    current.over = true;
    this.#parser.next();
    if (!reusable || this.#draining) this.#close();
    else this.#owner.ready(this);
    current.response.end(trailers);
  }

  #endOfInput(): void {
    const current = this.#current;
    if (this.#gone) return;
    if (current === undefined) this.#close();
    else if (current.tunnel) {
      current.responseEnded = true;
      current.response.end(undefined);
    } else if (this.#parser.untilClose) this.#finish(current, false);
    else this.#lose(this.#cutOff('closed'));
  }

  #cutOff(reason: string): MeshError {
    const answered = this.#current?.answered === true || !this.#parser.idle;
    return new MeshError(answered ? 'upstream_closed_midway' : 'upstream_reset', { reason });
  }

  /** The connection is of no more use; the exchange on it, if any, fails. */
  #lose(error: MeshError): void {
    const current = this.#current;
    this.#current = undefined;
    this.#close(true);
    if (current === undefined || current.over || current.responseEnded) return;
    current.over = true;
    current.response.abort(error);
  }

  #close(hard = false): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#rest = undefined;
    if (hard) this.#transport.reset();
    else this.#transport.destroy();
    this.#owner.closed(this);
  }
}

/** One request on the connection. Its own object, so that a late call cannot touch the exchange after it. */
class ClientExchange implements RequestSink {
  readonly request: RequestHead;
  readonly response: ResponseSink;
  readonly #client: Http1Client;
  requestEnded = false;
  answered = false;
  tunnel = false;
  /** In a tunnel: the endpoint's direction is over. */
  responseEnded = false;
  over = false;

  constructor(client: Http1Client, request: RequestHead, response: ResponseSink) {
    this.#client = client;
    this.request = request;
    this.response = response;
  }

  data(chunk: Buffer): boolean {
    return this.over || this.#client.writeBody(chunk);
  }

  end(trailers: HeaderList | undefined): void {
    if (this.over) return;
    this.requestEnded = true;
    this.#client.endBody(this, trailers);
  }

  abort(_error: MeshError): void {
    if (this.over) return;
    this.over = true;
    this.#client.abandon(this);
  }

  resumeResponse(): void {
    if (!this.over) this.#client.resumeReading();
  }
}

function asMeshError(error: unknown): MeshError {
  return error instanceof MeshError ? error : new MeshError('internal', { cause: error });
}
