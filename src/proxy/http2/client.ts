/** The HTTP/2 connection to an endpoint: as many exchanges at a time as the endpoint allows. */
import { MeshError } from '../../core/errors.ts';
import type { DataPlane } from '../dataplane.ts';
import type { RequestSink, ResponseSink } from '../exchange.ts';
import type { RequestHead } from '../head.ts';
import type { Exchange } from '../record.ts';
import type { Transport } from '../transport.ts';
import type { UpstreamCodec, UpstreamConnection, UpstreamOwner } from '../upstream.ts';
import { ClientStream } from './client-stream.ts';
import { Http2Connection } from './connection.ts';
import { ResponseHeadReader, TrailerReader } from './heads.ts';
import type { HpackSink } from './hpack/decoder.ts';
import { CANCEL, Http2Error, NO_ERROR, PREFACE, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED, STREAM_ID_MAX, errorName, goAway } from './protocol.ts';
import { tunnelError } from './reset-code.ts';
import { requestSection } from './section-writer.ts';
import { APPLICATION } from './settings.ts';
import type { Http2Settings } from './settings.ts';
import type { Http2Stream } from './stream.ts';

/** RFC 9113 §6.5.2 advises endpoints not to allow fewer. */
const STREAMS_EXPECTED = 100;

export class Http2Client extends Http2Connection implements UpstreamConnection {
  readonly #owner: UpstreamOwner;
  readonly #heads = new ResponseHeadReader();
  readonly #trailers = new TrailerReader();
  #nextStream = 1;
  #draining = false;
  #localAddress: string | undefined;
  served = 0;

  constructor(transport: Transport, owner: UpstreamOwner, dataplane: DataPlane, settings: Http2Settings) {
    super('client', transport, dataplane, settings);
    this.#owner = owner;
    transport.owner = this;
    this.open(PREFACE);
  }

  /** What a pool is given to make its connections speak HTTP/2, with prior knowledge (RFC 9113 §3.3). */
  static over(dataplane: DataPlane, settings: Http2Settings = APPLICATION): UpstreamCodec {
    return { expectedCapacity: STREAMS_EXPECTED, open: (transport, owner) => new Http2Client(transport, owner, dataplane, settings) };
  }

  get busy(): boolean {
    return this.streams.size > 0;
  }

  get capacity(): number {
    if (this.gone || this.#draining) return 0;
    return Math.max(0, Math.min(this.settings.streams, this.peer.streams) - this.streams.size);
  }

  get localAddress(): string {
    this.#localAddress ??= `${this.transport.localAddress}:${this.transport.localPort}`;
    return this.#localAddress;
  }

  send(_exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    this.served += 1;
    const id = this.#nextStream;
    this.#nextStream += 2;
    if (this.#nextStream > STREAM_ID_MAX) this.#draining = true;
    const stream = new ClientStream(this, id, head.method, response);
    this.streams.set(id, stream);
    const ended = head.contentLength === 0 && head.method !== 'CONNECT';
    this.writeSection(id, requestSection(this.encoder, head), ended);
    if (ended) stream.sentEnd();
    return stream;
  }

  drain(): void {
    this.#draining = true;
    if (this.streams.size === 0) this.#close();
  }

  destroy(): void {
    this.#end(new MeshError('upstream_reset', { reason: 'closed by the agent' }));
  }

  /** The exchange is given up from our side. */
  cancel(stream: ClientStream, code: number): void {
    this.resetStream(stream, code, undefined);
  }

  protected override get lastPeerStream(): number {
    return 0;
  }

  protected override get brokenBy(): 'upstream_protocol_error' {
    return 'upstream_protocol_error';
  }

  protected override wasOpened(streamId: number): boolean {
    return streamId % 2 === 1 && streamId < this.#nextStream;
  }

  protected override sectionBegins(streamId: number): HpackSink {
    const stream = this.streams.get(streamId) as ClientStream | undefined;
    if (stream === undefined) throw new Http2Error(PROTOCOL_ERROR, 'HEADERS on a stream that was not opened');
    const reader = stream.answered ? this.#trailers : this.#heads;
    reader.begin();
    return reader;
  }

  protected override sectionEnded(streamId: number, endStream: boolean, tooLarge: boolean): void {
    const stream = this.streams.get(streamId) as ClientStream;
    if (stream.receiveEnded) this.resetStream(stream, STREAM_CLOSED, new MeshError('upstream_protocol_error', { reason: 'HEADERS after the end' }));
    else if (stream.answered) this.#answerTrailers(stream, endStream, tooLarge);
    else if (tooLarge || this.#heads.tooMany) this.resetStream(stream, CANCEL, new MeshError('upstream_head_too_large', { reason: `more than ${this.settings.headerListBytes} bytes` }));
    else this.#answer(stream, endStream);
  }

  protected override goAwayReceived(lastStreamId: number, code: number): void {
    this.#draining = true;
    for (const stream of this.streams.values()) {
      if (stream.id <= lastStreamId) continue;
      this.streams.delete(stream.id);
      stream.die(new MeshError('upstream_refused', { reason: `GOAWAY ${errorName(code)}` }));
    }
    if (this.streams.size === 0) this.#close();
  }

  protected override peerChanged(): void {
    this.#owner.ready(this);
  }

  protected override streamGone(): void {
    if (this.gone) return;
    if (!this.#draining) this.#owner.ready(this);
    else if (this.streams.size === 0) this.#close();
  }

  override idleFor(): void {
    // The pool closes what is idle for too long.
  }

  protected override resetError(stream: Http2Stream, code: number): MeshError {
    const reason = `RST_STREAM ${errorName(code)}`;
    if (stream.tunnel) return tunnelError(code, reason);
    if ((stream as ClientStream).answered) return new MeshError('upstream_closed_midway', { reason });
    return new MeshError(code === REFUSED_STREAM ? 'upstream_refused' : 'upstream_remote_reset', { reason });
  }

  protected override connectionLost(error: Error | undefined): void {
    this.#fail(error === undefined ? 'closed' : ((error as NodeJS.ErrnoException).code ?? error.message));
  }

  #answer(stream: ClientStream, endStream: boolean): void {
    const head = this.#heads.finish(endStream, stream.method);
    if (head === undefined || (head.status < 200 && endStream)) {
      this.resetStream(stream, PROTOCOL_ERROR, new MeshError('upstream_protocol_error', { reason: this.#heads.malformed ?? 'an informational head that ends the answer' }));
      return;
    }
    if (head.status < 200) {
      this.idleFrame('informational heads');
      stream.response.informational(head);
      return;
    }
    stream.answer(head);
    if (endStream && !stream.dead) stream.receiveEnd(undefined);
  }

  #answerTrailers(stream: ClientStream, endStream: boolean, tooLarge: boolean): void {
    const trailers = this.#trailers.finish();
    const { malformed } = this.#trailers;
    if (endStream && !tooLarge && malformed === undefined && stream.receiveEnd(trailers)) return;
    this.resetStream(stream, PROTOCOL_ERROR, new MeshError('upstream_closed_midway', { reason: malformed ?? 'trailers that are none' }));
  }

  #end(error: MeshError): void {
    if (this.gone) return;
    this.gone = true;
    this.transport.destroy();
    this.#dieAll(() => error);
  }

  /** Nothing is under way: say goodbye. */
  #close(): void {
    if (this.gone) return;
    this.gone = true;
    this.transport.write(goAway(0, NO_ERROR));
    this.transport.end();
    // The endpoint has nothing to say any more.
    const { transport } = this;
    this.dataplane.clock.after(0, () => transport.destroy());
    this.#owner.closed(this);
  }

  #fail(reason: string): void {
    this.#dieAll((stream) => new MeshError(stream.answered ? 'upstream_closed_midway' : 'upstream_reset', { reason }));
  }

  #dieAll(errorOf: (stream: ClientStream) => MeshError): void {
    const streams = [...this.streams.values()] as ClientStream[];
    this.streams.clear();
    this.#owner.closed(this);
    for (const stream of streams) stream.die(errorOf(stream));
  }
}
