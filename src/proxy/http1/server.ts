/**
 * A client's connection: reads requests one after the other, hands each to the service, and writes the answers in order. While
 * one is being answered no further request is parsed; what has been read of it waits, and the socket is not read.
 */
import type { Timer } from '../../core/clock.ts';
import { MeshError } from '../../core/errors.ts';
import { DISCARD_BYTES_MAX, DOWNSTREAM_IDLE_TIMEOUT_MS, HEAD_TIMEOUT_MS, LINGER_MS } from '../../core/limits.ts';
import type { Connection } from '../connection.ts';
import type { DataPlane } from '../dataplane.ts';
import type { Service } from '../exchange.ts';
import type { RequestHead } from '../head.ts';
import type { Exchange } from '../record.ts';
import { localReply } from '../respond.ts';
import type { Transport, TransportOwner } from '../transport.ts';
import { RequestParser } from './parser.ts';
import type { RequestReader } from './parser.ts';
import { ServerExchange } from './server-exchange.ts';
import type { AnswerHost } from './server-exchange.ts';
import { BodyWriter } from './serializer.ts';

export interface Http1ServerOptions {
  readonly transport: Transport;
  readonly connection: Connection;
  readonly service: Service;
  readonly dataplane: DataPlane;
  /** The record of an exchange that begins now. */
  readonly begin: () => Exchange;
  readonly onClosed: () => void;
}

export class Http1Server implements TransportOwner, RequestReader, AnswerHost {
  readonly transport: Transport;
  readonly writer: BodyWriter;
  readonly #options: Http1ServerOptions;
  readonly #parser: RequestParser;
  #current: ServerExchange | undefined;
  /** Read, but not parsed yet; the transport is paused while there is some. */
  #rest: Buffer | undefined;
  /** The present request's receiver wants no more now. */
  #held = false;
  #paused = false;
  #consuming = false;
  /** The client has sent FIN. */
  #ended = false;
  /** The last answer is sent; what still comes is dropped. */
  #lingering = false;
  #gone = false;
  /** Since when nothing is going on, or a head is incomplete, and how long that may last. */
  #sinceMs: number;
  #limitMs = HEAD_TIMEOUT_MS;
  #timer: Timer;

  constructor(options: Http1ServerOptions) {
    this.#options = options;
    this.transport = options.transport;
    this.writer = new BodyWriter(options.transport);
    this.#parser = new RequestParser(this);
    const { clock } = options.dataplane;
    this.#sinceMs = clock.nowMs();
    this.#timer = clock.coarse(HEAD_TIMEOUT_MS, () => this.#checkTime());
  }

  get draining(): boolean {
    return this.#options.dataplane.draining();
  }

  bytes(buffer: Buffer, length: number): void {
    if (this.#gone || this.#lingering) return;
    // Paused, but what had been read already still comes.
    if (this.#rest !== undefined) this.#rest = Buffer.concat([this.#rest, buffer.subarray(0, length)]);
    else this.#consume(buffer, length, false);
  }

  ended(): void {
    this.#ended = true;
    if (this.#rest === undefined) this.#inputEnded();
  }

  drained(): void {
    const current = this.#current;
    if (current !== undefined && !current.responseEnded) current.request.resumeResponse();
  }

  closed(): void {
    this.#gone = true;
    this.#rest = undefined;
    this.#timer.cancel();
    const current = this.#current;
    this.#current = undefined;
    if (current !== undefined && !current.responseEnded) current.giveUp(new MeshError('downstream_gone'));
    else if (current?.tunnel === true && !current.requestEnded) current.giveUp(new MeshError('downstream_gone'));
    this.#options.onClosed();
  }

  /** The agent ends: a connection that has been idle for `idleMs` is closed now; another one says `Connection: close` with its next answer. */
  drain(idleMs = 0): void {
    if (this.#options.dataplane.clock.nowMs() - this.#sinceMs < idleMs) return;
    if (this.#current === undefined && this.#parser.idle && !this.#gone && !this.#lingering) this.#linger();
  }

  requestHead(head: RequestHead): void {
    const { service, begin } = this.#options;
    const exchange = begin();
    const current = new ServerExchange(this, exchange, head, this.#parser.persistent);
    this.#current = current;
    current.request = service.serve(exchange, head, current);
  }

  body(chunk: Buffer): boolean {
    const current = this.#current;
    if (current === undefined || current.responseEnded || current.request.data(chunk)) return true;
    this.#hold();
    return false;
  }

  /** The receiver of the request's body can take more. */
  resumeRequest(): void {
    if (!this.#held) return;
    this.#held = false;
    this.proceed();
  }

  /** Go on with what has been read, and then with reading. */
  proceed(): void {
    if (this.#consuming || this.#gone) return;
    const rest = this.#rest;
    this.#rest = undefined;
    if (rest !== undefined) this.#consume(rest, rest.length, true);
    if (this.#rest !== undefined || this.#held || this.#gone || !this.#paused) return;
    this.#paused = false;
    this.transport.resume();
    if (rest !== undefined && this.#ended) this.#inputEnded();
  }

  /** The answer is complete, in a tunnel: its direction. */
  answerEnded(current: ServerExchange): void {
    if (current.tunnel) {
      this.transport.end();
      if (current.requestEnded) this.#current = undefined;
      return;
    }
    if (current.requestEnded) {
      this.#finish(current);
      return;
    }
    // Answered before the request was complete. The rest of a short one is read and dropped; a long one would cost more than
    // a connection does.
    const { remaining } = this.#parser;
    if (current.keep && !current.mayNeverComplete && remaining >= 0 && remaining <= DISCARD_BYTES_MAX) this.resumeRequest();
    else this.#linger();
  }

  /** The client must not take what it got for the whole answer. */
  cut(): void {
    this.#current = undefined;
    this.#rest = undefined;
    this.#gone = true;
    this.transport.reset();
  }

  #consume(buffer: Buffer, length: number, owned: boolean): void {
    const parser = this.#parser;
    this.#consuming = true;
    let at = 0;
    while (at < length && !this.#gone && !this.#lingering) {
      const current = this.#current;
      if (this.#held || (parser.complete && current?.tunnel !== true)) {
        const rest = buffer.subarray(at, length);
        this.#rest = owned ? rest : Buffer.from(rest);
        this.#pause();
        break;
      }
      if (current?.tunnel === true) {
        if (!current.request.data(buffer.subarray(at, length))) this.#hold();
        break;
      }
      try {
        at = parser.feed(buffer, at, length);
      } catch (error) {
        this.#fail(this.#asMeshError(error));
        break;
      }
      if (parser.complete) this.#requestComplete();
    }
    this.#consuming = false;
    if (this.#current === undefined && !this.#parser.idle && !this.#gone && !this.#lingering) this.#watchHead();
  }

  #hold(): void {
    this.#held = true;
    this.#pause();
  }

  #requestComplete(): void {
    const current = this.#current;
    if (current === undefined) return;
    current.requestComplete(this.#parser.trailers);
    if (current.responseEnded && !this.#gone) this.#finish(current);
  }

  /** Both messages are complete. */
  #finish(current: ServerExchange): void {
    if (this.#current !== current) return;
    this.#current = undefined;
    // A client may send several requests and FIN: what has been read of them is still served.
    if (!current.keep || (this.#ended && this.#rest === undefined)) {
      this.#linger();
      return;
    }
    this.#parser.next();
    this.#sinceMs = this.#options.dataplane.clock.nowMs();
    this.#limitMs = DOWNSTREAM_IDLE_TIMEOUT_MS;
    this.#held = false;
    if (this.#paused) this.proceed();
  }

  /** FIN, then wait for the client's: closing at once could destroy what it has not read yet (RFC 9112 §9.6). */
  #linger(): void {
    this.#current = undefined;
    this.#rest = undefined;
    this.#lingering = true;
    this.transport.end();
    if (this.#paused) this.transport.resume();
    this.#timer.cancel();
    this.#timer = this.#options.dataplane.clock.coarse(LINGER_MS, () => this.transport.destroy());
  }

  #inputEnded(): void {
    if (this.#gone || this.#lingering) return;
    const current = this.#current;
    if (current === undefined) {
      this.#linger();
    } else if (current.tunnel) {
      current.endTunnel();
      if (current.responseEnded) this.#current = undefined;
    } else if (!current.requestEnded) {
      this.#current = undefined;
      this.#gone = true;
      current.giveUp(new MeshError('downstream_gone', { reason: 'the request ended before its body was complete' }));
      this.transport.destroy();
    }
  }

  /** What the client sent is not valid, or took too long. */
  #fail(error: MeshError): void {
    const current = this.#current;
    if (error.code === 'internal') {
      current?.giveUp(error);
      this.cut();
      return;
    }
    if (current === undefined) {
      this.#refuse(error);
      return;
    }
    const { exchange } = current;
    const { answered } = current;
    if (!answered) exchange.status = error.kind.status;
    current.giveUp(error);
    if (answered) this.cut();
    else this.#answerLast(error, exchange);
  }

  /** A request that never became one is answered, counted and logged all the same. */
  #refuse(error: MeshError): void {
    const { begin, dataplane } = this.#options;
    const exchange = begin();
    exchange.status = error.kind.status;
    exchange.error = error;
    exchange.flag(error.kind.flag);
    exchange.details = error.kind.details;
    this.#answerLast(error, exchange);
    dataplane.telemetry.exchangeEnded(exchange, 0);
  }

  #answerLast(error: MeshError, exchange: Exchange): void {
    const last = ServerExchange.last(this, exchange);
    this.#current = last;
    localReply(error, exchange, last);
  }

  #asMeshError(error: unknown): MeshError {
    if (error instanceof MeshError) return error;
    this.#options.dataplane.log.error({ err: error }, 'a client connection failed');
    return new MeshError('internal', { cause: error });
  }

  #pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.transport.pause();
  }

  /** A head has begun and must be complete in time, however slowly it trickles in. */
  #watchHead(): void {
    if (this.#limitMs === HEAD_TIMEOUT_MS) return;
    const { clock } = this.#options.dataplane;
    this.#sinceMs = clock.nowMs();
    this.#limitMs = HEAD_TIMEOUT_MS;
    this.#timer.cancel();
    this.#timer = clock.coarse(HEAD_TIMEOUT_MS, () => this.#checkTime());
  }

  /** One standing wait for a connection, so that a request need not arm and cancel any. */
  #checkTime(): void {
    const { clock } = this.#options.dataplane;
    const leftMs = this.#current === undefined ? this.#sinceMs + this.#limitMs - clock.nowMs() : this.#limitMs;
    if (leftMs > 0) this.#timer = clock.coarse(leftMs, () => this.#checkTime());
    else if (this.#parser.idle) this.#linger();
    else this.#fail(new MeshError('head_timeout', { reason: `${HEAD_TIMEOUT_MS} ms` }));
  }
}
