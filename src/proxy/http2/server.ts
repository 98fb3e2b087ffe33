/** A client's HTTP/2 connection: its streams become exchanges, which the service answers in any order. */
import type { Timer } from '../../core/clock.ts';
import { MeshError } from '../../core/errors.ts';
import { DOWNSTREAM_IDLE_TIMEOUT_MS, HTTP2_GOAWAY_GRACE_MS, LINGER_MS } from '../../core/limits.ts';
import type { Connection } from '../connection.ts';
import type { DataPlane } from '../dataplane.ts';
import type { Service } from '../exchange.ts';
import { latin1 } from '../latin1.ts';
import type { Exchange } from '../record.ts';
import type { Transport } from '../transport.ts';
import { Http2Connection } from './connection.ts';
import { RequestHeadReader, TrailerReader } from './heads.ts';
import type { HpackSink } from './hpack/decoder.ts';
import { Http2Error, NO_ERROR, PREFACE, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED, STREAM_ID_MAX, errorName, goAway } from './protocol.ts';
import { tunnelError } from './reset-code.ts';
import { ServerStream } from './server-stream.ts';
import { APPLICATION } from './settings.ts';
import type { Http2Settings } from './settings.ts';
import type { Http2Stream } from './stream.ts';

export interface Http2ServerOptions {
  readonly transport: Transport;
  readonly connection: Connection;
  readonly service: Service;
  readonly dataplane: DataPlane;
  /** The record of an exchange that begins now. */
  readonly begin: () => Exchange;
  readonly onClosed: () => void;
  readonly settings?: Http2Settings;
}

export class Http2Server extends Http2Connection {
  readonly #options: Http2ServerOptions;
  readonly #heads = new RequestHeadReader();
  readonly #trailers = new TrailerReader();
  #prefaceBytes = 0;
  #lastStream = 0;
  /** Goodbye has been said once, and twice. */
  #leaving = false;
  #left = false;
  #grace: Timer | undefined;
  /** Heads written since the socket was full. */
  #unreadHeads = 0;

  constructor(options: Http2ServerOptions) {
    super('server', options.transport, options.dataplane, options.settings ?? APPLICATION);
    this.#options = options;
    this.open('');
  }

  override bytes(buffer: Buffer, length: number): void {
    const missing = PREFACE.length - this.#prefaceBytes;
    if (missing === 0) {
      super.bytes(buffer, length);
      return;
    }
    const taken = Math.min(missing, length);
    if (latin1(buffer, 0, taken) !== PREFACE.slice(this.#prefaceBytes, this.#prefaceBytes + taken)) {
      this.shut(PROTOCOL_ERROR, 'no HTTP/2 preface', 0);
      return;
    }
    this.#prefaceBytes += taken;
    if (taken < length) super.bytes(buffer.subarray(taken), length - taken);
  }

  override drained(): void {
    const held = this.#unreadHeads >= this.settings.streams;
    this.#unreadHeads = 0;
    if (held) this.transport.resume();
    super.drained();
  }

  override closed(error: Error | undefined): void {
    super.closed(error);
    this.#grace?.cancel();
    this.#options.onClosed();
  }

  /**
   * Take no more streams and close when the present ones are over. Those that are on their way are still taken for a moment:
   * the first GOAWAY only asks (RFC 9113 §6.8).
   */
  drain(): void {
    if (this.gone || this.#leaving) return;
    this.#leaving = true;
    this.transport.write(goAway(STREAM_ID_MAX, NO_ERROR));
    this.ping();
    this.#grace = this.dataplane.clock.after(HTTP2_GOAWAY_GRACE_MS, () => this.#leave());
  }

  /** An exchange of this connection is answered before its request is complete: no more of it is wanted (RFC 9113 §8.1). */
  answeredEarly(stream: ServerStream): void {
    this.resetStream(stream, NO_ERROR, undefined);
  }

  /** The answer broke off. */
  cut(stream: ServerStream, code: number): void {
    this.resetStream(stream, code, undefined);
  }

  /**
   * Heads are not subject to flow control. A client that has as many unread as it may have streams goes on asking without
   * reading the answers: it is not read either until they have left (CVE-2019-9517).
   */
  writeAnswer(streamId: number, make: (server: Http2Server['encoder']) => Buffer, ended: boolean): void {
    if (this.writeSection(streamId, make(this.encoder), ended)) return;
    this.#unreadHeads += 1;
    if (this.#unreadHeads === this.settings.streams) this.transport.pause();
  }

  protected override get lastPeerStream(): number {
    return this.#lastStream;
  }

  protected override get brokenBy(): 'downstream_protocol_error' {
    return 'downstream_protocol_error';
  }

  protected override wasOpened(streamId: number): boolean {
    return streamId % 2 === 1 && streamId <= this.#lastStream;
  }

  protected override sectionBegins(streamId: number): HpackSink {
    if (this.streams.has(streamId)) {
      this.#trailers.begin();
      return this.#trailers;
    }
    if (streamId % 2 === 0) throw new Http2Error(PROTOCOL_ERROR, 'a client\'s stream with an even number');
    this.#heads.begin();
    return this.#heads;
  }

  protected override sectionEnded(streamId: number, endStream: boolean, tooLarge: boolean): void {
    const stream = this.streams.get(streamId);
    if (stream === undefined) this.#request(streamId, endStream, tooLarge || this.#heads.tooMany);
    else this.#requestTrailers(stream, endStream, tooLarge);
  }

  protected override goAwayReceived(): void {
    // The client opens no more streams; what it has is finished, and then it closes.
  }

  protected override peerChanged(): void {
    // What the client allows concerns pushes, of which there are none.
  }

  protected override streamGone(): void {
    if (this.#left && this.streams.size === 0) this.#close();
  }

  protected override pingAnswered(): void {
    super.pingAnswered();
    if (this.#leaving) this.#leave();
  }

  override idleFor(silentMs: number): void {
    if (this.streams.size === 0 && silentMs >= DOWNSTREAM_IDLE_TIMEOUT_MS) this.drain();
  }

  protected override resetError(stream: Http2Stream, code: number): MeshError {
    if (stream.tunnel) return tunnelError(code, `RST_STREAM ${errorName(code)}`);
    return new MeshError('downstream_gone', { reason: `RST_STREAM ${errorName(code)}` });
  }

  protected override connectionLost(error: Error | undefined): void {
    const streams = [...this.streams.values()];
    this.streams.clear();
    for (const stream of streams) stream.die(new MeshError('downstream_gone', error === undefined ? {} : { reason: error.message }));
  }

  #request(streamId: number, endStream: boolean, tooLarge: boolean): void {
    this.#lastStream = streamId;
    if (this.#left || this.streams.size >= this.settings.streams) {
      this.idleFrame('streams beyond the limit');
      this.resetById(streamId, REFUSED_STREAM);
      return;
    }
    const head = this.#heads.finish(endStream);
    const exchange = this.#options.begin();
    if (head === undefined) {
      this.idleFrame('malformed requests');
      this.resetById(streamId, PROTOCOL_ERROR);
      this.#count(exchange, new MeshError('downstream_protocol_error', { reason: this.#heads.malformed ?? 'malformed' }));
      return;
    }
    const stream = new ServerStream(this, streamId, exchange, head.method);
    this.streams.set(streamId, stream);
    // Before it is served: an answer that comes at once is not an early one.
    stream.receiveEnded = endStream;
    if (tooLarge) {
      const error = new MeshError('head_too_large', { reason: `more than ${this.settings.headerListBytes} bytes` });
      stream.abort(error);
      this.#count(exchange, error);
      return;
    }
    if (head.method !== 'CONNECT') stream.expect(head.headers.has('content-length') ? head.contentLength : -1);
    stream.request = this.#options.service.serve(exchange, head, stream);
    if (endStream && !stream.dead) stream.receiveEnd(undefined);
  }

  #requestTrailers(stream: Http2Stream, endStream: boolean, tooLarge: boolean): void {
    const trailers = this.#trailers.finish();
    const { malformed } = this.#trailers;
    if (stream.receiveEnded) this.resetStream(stream, STREAM_CLOSED, new MeshError('downstream_protocol_error', { reason: 'HEADERS after the end' }));
    else if (!endStream || tooLarge || malformed !== undefined || !stream.receiveEnd(trailers)) {
      this.resetStream(stream, PROTOCOL_ERROR, new MeshError('downstream_protocol_error', { reason: malformed ?? 'trailers' }));
    }
  }

  /** What never became an exchange is counted and logged all the same. */
  #count(exchange: Exchange, error: MeshError): void {
    exchange.versionText = 'HTTP/2';
    exchange.error = error;
    exchange.flag(error.kind.flag);
    // A reset is no status.
    if (error.code === 'head_too_large') exchange.status = error.kind.status;
    exchange.details = error.code === 'downstream_protocol_error' ? 'http2.violation' : error.kind.details;
    this.dataplane.telemetry.exchangeEnded(exchange, 0);
  }

  #leave(): void {
    if (this.gone || this.#left) return;
    this.#left = true;
    this.#grace?.cancel();
    this.transport.write(goAway(this.#lastStream, NO_ERROR));
    if (this.streams.size === 0) this.#close();
  }

  /** Everything is answered. The client closes when it has read that. */
  #close(): void {
    this.transport.end();
    const { transport } = this;
    this.dataplane.clock.coarse(LINGER_MS, () => transport.destroy());
  }
}
