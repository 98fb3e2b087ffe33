/**
 * What both ends of an HTTP/2 connection have in common (RFC 9113): frames, settings, header sections, flow control, and the
 * bounds that keep one peer from costing more than its traffic. A violation ends the connection with a GOAWAY that says why.
 */
import { MeshError } from '../../core/errors.ts';
import { HTTP2_RESET_STREAMS_KEPT, LINGER_MS } from '../../core/limits.ts';
import type { Buffers } from '../buffers.ts';
import type { DataPlane } from '../dataplane.ts';
import type { HeaderList } from '../headers.ts';
import { latin1 } from '../latin1.ts';
import type { Transport, TransportOwner } from '../transport.ts';
import { FloodGuard } from './flood-guard.ts';
import { FrameReader } from './frame-reader.ts';
import type { FrameHandler } from './frame-reader.ts';
import { Heartbeat } from './heartbeat.ts';
import type { HeartbeatHost } from './heartbeat.ts';
import type { HpackSink } from './hpack/decoder.ts';
import { HpackEncoder } from './hpack/encoder.ts';
import { HpackError } from './hpack/error.ts';
import {
  ACK, COMPRESSION_ERROR, CONTINUATION, DATA, DEFAULT_WINDOW_BYTES, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY, HEADERS,
  Http2Error, INTERNAL_ERROR, NO_ERROR, PING, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_MAX, WINDOW_UPDATE,
  frameHeader, goAway, ping, rstStream, windowUpdate,
} from './protocol.ts';
import { trailerSection } from './section-writer.ts';
import { Sections } from './sections.ts';
import { PeerSettings, checkSettingsLength, settingsFrame } from './settings.ts';
import type { Http2Settings } from './settings.ts';
import type { Http2Stream } from './stream.ts';

const ACK_SETTINGS = frameHeader(0, SETTINGS, ACK, 0);
/** Opaque data of our own PINGs (§6.7). */
const PROBE = 'orlop/hb';
/** Our answers to the peer's PINGs and SETTINGS that it does not read. */
const UNREAD_ACKS_MAX = 1000;

export abstract class Http2Connection implements TransportOwner, FrameHandler, HeartbeatHost {
  readonly settings: Http2Settings;
  readonly peer = new PeerSettings();
  /** What we may still send on the connection as a whole. */
  sendWindow = DEFAULT_WINDOW_BYTES;
  /** Streams that have something to send, or whose sender waits: in the order of their turns. */
  readonly starving = new Set<Http2Stream>();
  protected readonly transport: Transport;
  protected readonly dataplane: DataPlane;
  protected readonly streams = new Map<number, Http2Stream>();
  protected readonly encoder: HpackEncoder;
  protected readonly flood: FloodGuard;
  protected gone = false;
  readonly #end: 'client' | 'server';
  readonly #reader: FrameReader;
  readonly #sections: Sections;
  readonly #heartbeat: Heartbeat;
  /** Reset here; what is still on its way for them is ignored (§5.1). */
  readonly #reset = new Set<number>();
  /** What the peer may still send on the connection as a whole. */
  #receiveWindow = DEFAULT_WINDOW_BYTES;
  /** The socket takes more. */
  #flowing = true;
  #credit = 0;
  #settingsReceived = false;
  /** The DATA frame being read. */
  #dataStream: Http2Stream | undefined;
  #dataFlags = 0;
  #dataLength = 0;
  #unreadAcks = 0;

  constructor(end: 'client' | 'server', transport: Transport, dataplane: DataPlane, settings: Http2Settings) {
    this.#end = end;
    this.transport = transport;
    transport.share();
    this.dataplane = dataplane;
    this.settings = settings;
    this.encoder = new HpackEncoder({ maxTableSize: this.peer.headerTableBytes });
    this.flood = new FloodGuard(dataplane.clock);
    const { headerListBytes } = settings;
    this.#sections = new Sections(
      { sectionBegins: (id) => this.#sinkOf(id), sectionEnded: (id, endStream, tooLarge) => this.sectionEnded(id, endStream, tooLarge) },
      this.peer.headerTableBytes,
      headerListBytes,
    );
    this.#reader = new FrameReader(this, settings.frameBytes);
    this.#heartbeat = new Heartbeat(dataplane.clock, settings, this);
  }

  /** Is this a stream that could be open, as far as its number says? */
  protected abstract wasOpened(streamId: number): boolean;
  /** Where the fields of a section go: a head, or trailers. */
  protected abstract sectionBegins(streamId: number): HpackSink;
  /** The section is complete. `tooLarge`: its fields are not all there. @throws Http2Error */
  protected abstract sectionEnded(streamId: number, endStream: boolean, tooLarge: boolean): void;
  /** The peer takes no more streams than up to this one. */
  protected abstract goAwayReceived(lastStreamId: number, code: number): void;
  /** The settings of the peer have changed. */
  protected abstract peerChanged(): void;
  /** A stream is off the connection. */
  protected abstract streamGone(): void;
  /** Nothing arrived for so long, or no answer to our probe came. */
  protected abstract connectionLost(error: Error | undefined): void;

  bytes(buffer: Buffer, length: number): void {
    if (this.gone) return;
    this.#heartbeat.read();
    this.read(buffer, 0, length);
  }

  drained(): void {
    this.#unreadAcks = 0;
    this.#flowing = true;
    this.#feedStarving();
  }

  /** The peer ended its direction: HTTP/2 knows no half of a connection. */
  ended(): void {
    if (this.gone) return;
    this.transport.end();
    this.#lose(undefined);
  }

  closed(error: Error | undefined): void {
    this.#heartbeat.stop();
    if (!this.gone) this.#lose(error);
  }

  frameHead(type: number, flags: number, streamId: number, length: number): void {
    this.#sections.check(type, streamId, length);
    if (!this.#settingsReceived && type !== SETTINGS) throw new Http2Error(PROTOCOL_ERROR, 'the first frame is not SETTINGS');
    if (type === DATA) this.#dataBegins(streamId, flags, length);
  }

  frame(type: number, flags: number, streamId: number, payload: Buffer, start: number, end: number): void {
    switch (type) {
      case HEADERS:
        this.#sections.headers(flags, streamId, payload, start, end);
        return;
      case CONTINUATION:
        this.#sections.continuation(flags, payload, start, end);
        return;
      case SETTINGS:
        this.#settings(flags, streamId, payload, start, end);
        return;
      case WINDOW_UPDATE:
        this.#windowUpdate(streamId, payload, start, end);
        return;
      case RST_STREAM:
        this.#rstStream(streamId, payload, start, end);
        return;
      case PING:
        this.#ping(flags, streamId, payload, start, end);
        return;
      case GOAWAY:
        if (streamId !== 0) throw new Http2Error(PROTOCOL_ERROR, 'GOAWAY on a stream');
        if (end - start < 8) throw new Http2Error(FRAME_SIZE_ERROR, 'GOAWAY of a wrong length');
        this.idleFrame('GOAWAY frames');
        this.goAwayReceived(payload.readUInt32BE(start) & WINDOW_MAX, payload.readUInt32BE(start + 4));
        return;
      case PUSH_PROMISE:
        throw new Http2Error(PROTOCOL_ERROR, 'a push that was not asked for');
      case PRIORITY:
        this.#priority(streamId, payload, start, end);
        return;
      default:
        // Unknown frames are ignored (§4.1), but not without end.
        this.idleFrame('frames of unknown types');
    }
  }

  data(chunk: Buffer): void {
    const stream = this.#dataStream;
    if (stream === undefined || stream.dead) {
      this.consumed(chunk.length);
      return;
    }
    const fault = stream.receive(chunk);
    if (fault === undefined) return;
    this.consumed(chunk.length);
    if (fault === 'overloaded') this.resetStream(stream, ENHANCE_YOUR_CALM, new MeshError('workload_overloaded', { reason: 'bytes held for slow receivers' }));
    else this.resetStream(stream, PROTOCOL_ERROR, new MeshError(this.brokenBy, { reason: fault === 'too long' ? 'more content than content-length says' : 'content before its head' }));
  }

  padding(bytes: number): void {
    const stream = this.#dataStream;
    if (bytes === this.#dataLength && (this.#dataFlags & END_STREAM) === 0) this.idleFrame('empty DATA frames');
    if (stream === undefined || stream.dead) this.consumed(bytes);
    else stream.skipped(bytes);
  }

  dataEnd(): void {
    const stream = this.#dataStream;
    this.#dataStream = undefined;
    if (stream === undefined || stream.dead || (this.#dataFlags & END_STREAM) === 0) return;
    if (!stream.receiveEnd(undefined)) this.resetStream(stream, PROTOCOL_ERROR, new MeshError(this.brokenBy, { reason: 'less content than content-length says' }));
  }

  /** One frame of content. False: the connection's socket wants no more now. */
  writeData(streamId: number, chunk: Buffer): boolean {
    this.sendWindow -= chunk.length;
    this.flood.worked();
    this.flood.worked();
    this.#flowing = this.transport.writeFramed(frameHeader(chunk.length, DATA, 0, streamId), chunk);
    return this.#flowing;
  }

  writeDataText(streamId: number, text: string): boolean {
    this.sendWindow -= text.length;
    this.flood.worked();
    this.flood.worked();
    this.#flowing = this.transport.write(frameHeader(text.length, DATA, 0, streamId) + text);
    return this.#flowing;
  }

  /** The end of a stream's content, with or without trailers. */
  writeEnd(stream: Http2Stream, trailers: HeaderList | undefined): void {
    if (trailers === undefined || trailers.size === 0) this.transport.write(frameHeader(0, DATA, END_STREAM, stream.id));
    else this.writeSection(stream.id, trailerSection(this.encoder, trailers), true);
  }

  /** A header section, in as many frames as it needs (§4.3). `block` is the encoder's, which takes another buffer when it does not leave at once. */
  protected writeSection(streamId: number, block: Buffer, endStream: boolean): boolean {
    const { frameBytes } = this.peer;
    const endFlag = endStream ? END_STREAM : 0;
    let flowing = true;
    for (let at = 0; at === 0 || at < block.length; at += frameBytes) {
      const part = block.length <= frameBytes ? block : block.subarray(at, at + frameBytes);
      const flags = (at + frameBytes >= block.length ? END_HEADERS : 0) | (at === 0 ? endFlag : 0);
      this.transport.write(frameHeader(part.length, at === 0 ? HEADERS : CONTINUATION, flags, streamId));
      flowing = this.transport.writeBytes(part) && flowing;
    }
    if (!flowing) this.encoder.surrender();
    return flowing;
  }

  /** Let the peer send so many bytes more on a stream. */
  grant(streamId: number, bytes: number): void {
    if (!this.gone) this.transport.write(windowUpdate(streamId, bytes));
  }

  /** Bytes of content that are nobody's any more: the peer may send as many again. */
  consumed(bytes: number): void {
    this.#credit += bytes;
    if (this.#credit * 2 < this.settings.connectionWindowBytes || this.gone) return;
    this.#receiveWindow += this.#credit;
    this.grant(0, this.#credit);
    this.#credit = 0;
  }

  /** What the workload's streams hold for receivers that are slower than their senders. */
  get buffers(): Buffers {
    return this.dataplane.buffers;
  }

  /** A receiver goes on reading what it was just given. */
  keepBytes(): void {
    this.transport.surrender();
  }

  /** Both directions of the stream have ended as they should. */
  over(stream: Http2Stream): void {
    if (!this.streams.delete(stream.id)) return;
    this.flood.worked();
    this.starving.delete(stream);
    this.streamGone();
  }

  /**
   * End a stream with RST_STREAM. The peer made us do it: its receiver is told `error`, and work that is thrown away so is
   * counted (CVE-2025-8671). Or the end is our own: nobody needs to be told. @throws Http2Error in the first case
   */
  resetStream(stream: Http2Stream, code: number, error: MeshError | undefined): void {
    if (stream.dead || !this.streams.delete(stream.id)) return;
    this.resetById(stream.id, code);
    if (error === undefined) stream.abandon();
    else stream.die(error);
    this.streamGone();
    if (error !== undefined) this.idleFrame('streams that had to be reset');
  }

  /** Refuse a stream that was never made. */
  protected resetById(streamId: number, code: number): void {
    if (this.gone) return;
    this.#reset.add(streamId);
    if (this.#reset.size > HTTP2_RESET_STREAMS_KEPT) this.#reset.delete(this.#reset.values().next().value as number);
    this.transport.write(rstStream(streamId, code));
  }

  /** A frame that brings nothing forward. @throws Http2Error when there are too many. */
  protected idleFrame(what: string): void {
    if (!this.flood.allow()) throw new Http2Error(ENHANCE_YOUR_CALM, `too many ${what}`);
  }

  /** First words: our settings, and a wider window than the default. */
  protected open(preface: string): void {
    const { connectionWindowBytes } = this.settings;
    const extra = connectionWindowBytes - DEFAULT_WINDOW_BYTES;
    this.#receiveWindow += Math.max(0, extra);
    this.transport.write(preface + settingsFrame(this.settings, this.#end) + (extra > 0 ? windowUpdate(0, extra) : ''));
    this.#heartbeat.start();
  }

  protected read(buffer: Buffer, from: number, to: number): void {
    try {
      this.#reader.feed(buffer, from, to);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Say why, and end. Streams are lost. */
  protected shut(code: number, reason: string, lastStreamId: number): void {
    if (this.gone) return;
    this.transport.write(goAway(lastStreamId, code));
    this.transport.end();
    // A peer that does not read this would keep the socket.
    const { transport } = this;
    this.dataplane.clock.coarse(LINGER_MS, () => transport.destroy());
    this.#lose(new Error(reason));
  }

  /** The highest stream of the peer that was worked on. */
  protected abstract get lastPeerStream(): number;
  /** The error of an exchange whose peer breaks the protocol. */
  protected abstract get brokenBy(): 'downstream_protocol_error' | 'upstream_protocol_error';
  /** The error of an exchange that a reset ended. */
  protected abstract resetError(stream: Http2Stream, code: number): MeshError;

  #fail(error: unknown): void {
    const { log } = this.dataplane;
    if (error instanceof Http2Error) {
      log.debug({ end: this.#end, remote: this.transport.remoteAddress, reason: error.message }, 'an HTTP/2 connection was ended');
      this.shut(error.code, error.message, this.lastPeerStream);
    } else if (error instanceof HpackError) this.shut(COMPRESSION_ERROR, error.message, this.lastPeerStream);
    else {
      log.error({ err: error }, 'an HTTP/2 connection failed');
      this.shut(INTERNAL_ERROR, 'internal error', this.lastPeerStream);
    }
  }

  #lose(error: Error | undefined): void {
    this.gone = true;
    this.#heartbeat.stop();
    this.connectionLost(error);
  }

  #dataBegins(streamId: number, flags: number, length: number): void {
    if (streamId === 0) throw new Http2Error(PROTOCOL_ERROR, 'DATA without a stream');
    this.#receiveWindow -= length;
    if (this.#receiveWindow < 0) throw new Http2Error(FLOW_CONTROL_ERROR, 'more DATA than the connection\'s window allows');
    if (length === 0 && (flags & END_STREAM) === 0) this.idleFrame('empty DATA frames');
    const stream = this.streams.get(streamId);
    this.#dataFlags = flags;
    this.#dataLength = length;
    this.#dataStream = stream;
    if (stream === undefined) this.#checkAbsent(streamId);
    else if (stream.receiveEnded) this.resetStream(stream, STREAM_CLOSED, new MeshError(this.brokenBy, { reason: 'DATA after the end' }));
    else {
      stream.receiveWindow -= length;
      if (stream.receiveWindow < 0) throw new Http2Error(FLOW_CONTROL_ERROR, 'more DATA than the stream\'s window allows');
    }
  }

  /** A frame for a stream that is not there. */
  #checkAbsent(streamId: number): void {
    if (!this.wasOpened(streamId)) throw new Http2Error(PROTOCOL_ERROR, 'a frame on a stream that was not opened');
    if (!this.#reset.has(streamId)) throw new Http2Error(STREAM_CLOSED, 'a frame on a closed stream');
  }

  /** Where the fields of a section go; nowhere when its stream was reset here. */
  #sinkOf(streamId: number): HpackSink | undefined {
    if (this.#reset.has(streamId)) return undefined;
    if (!this.streams.has(streamId) && this.wasOpened(streamId)) throw new Http2Error(STREAM_CLOSED, 'HEADERS on a closed stream');
    return this.sectionBegins(streamId);
  }

  #settings(flags: number, streamId: number, payload: Buffer, start: number, end: number): void {
    if (streamId !== 0) throw new Http2Error(PROTOCOL_ERROR, 'SETTINGS on a stream');
    const isAck = (flags & ACK) !== 0;
    checkSettingsLength(end - start, isAck);
    if (isAck && !this.#settingsReceived) throw new Http2Error(PROTOCOL_ERROR, 'the first frame is not SETTINGS');
    if (this.#settingsReceived) this.idleFrame('SETTINGS frames');
    if (isAck) return;
    this.#settingsReceived = true;
    this.#heartbeat.begin();
    const before = this.peer.windowBytes;
    this.peer.read(payload, start, end);
    this.encoder.setMaxTableSize(this.peer.headerTableBytes);
    this.#acknowledge(ACK_SETTINGS);
    const change = this.peer.windowBytes - before;
    if (change !== 0) this.#shiftWindows(change);
    this.peerChanged();
  }

  #shiftWindows(change: number): void {
    for (const stream of this.streams.values()) {
      stream.sendWindow += change;
      if (stream.sendWindow > WINDOW_MAX) throw new Http2Error(FLOW_CONTROL_ERROR, 'INITIAL_WINDOW_SIZE makes a window too large');
    }
    if (change > 0) this.#feedStarving();
  }

  #windowUpdate(streamId: number, payload: Buffer, start: number, end: number): void {
    if (end - start !== 4) throw new Http2Error(FRAME_SIZE_ERROR, 'WINDOW_UPDATE of a wrong length');
    this.idleFrame('WINDOW_UPDATE frames');
    const bytes = payload.readUInt32BE(start) & WINDOW_MAX;
    if (streamId === 0) {
      if (bytes === 0) throw new Http2Error(PROTOCOL_ERROR, 'WINDOW_UPDATE of nothing');
      this.sendWindow += bytes;
      if (this.sendWindow > WINDOW_MAX) throw new Http2Error(FLOW_CONTROL_ERROR, 'the connection\'s window is too large');
      this.#feedStarving();
      return;
    }
    const stream = this.streams.get(streamId);
    if (stream === undefined) {
      if (!this.wasOpened(streamId)) throw new Http2Error(PROTOCOL_ERROR, 'WINDOW_UPDATE on a stream that was not opened');
      return;
    }
    stream.sendWindow += bytes;
    if (bytes === 0) this.resetStream(stream, PROTOCOL_ERROR, new MeshError(this.brokenBy, { reason: 'WINDOW_UPDATE of nothing' }));
    else if (stream.sendWindow > WINDOW_MAX) this.resetStream(stream, FLOW_CONTROL_ERROR, new MeshError(this.brokenBy, { reason: 'the window of a stream is too large' }));
    else if (this.starving.has(stream)) this.#feedStarving();
  }

  #rstStream(streamId: number, payload: Buffer, start: number, end: number): void {
    if (end - start !== 4) throw new Http2Error(FRAME_SIZE_ERROR, 'RST_STREAM of a wrong length');
    if (streamId === 0 || !this.wasOpened(streamId)) throw new Http2Error(PROTOCOL_ERROR, 'RST_STREAM on a stream that was not opened');
    this.idleFrame('RST_STREAM frames');
    const stream = this.streams.get(streamId);
    if (stream === undefined) return;
    const code = payload.readUInt32BE(start);
    this.streams.delete(streamId);
    stream.die(this.resetError(stream, code));
    this.streamGone();
  }

  #ping(flags: number, streamId: number, payload: Buffer, start: number, end: number): void {
    if (streamId !== 0) throw new Http2Error(PROTOCOL_ERROR, 'PING on a stream');
    if (end - start !== 8) throw new Http2Error(FRAME_SIZE_ERROR, 'PING of a wrong length');
    this.idleFrame('PING frames');
    if ((flags & ACK) !== 0) {
      this.pingAnswered();
      return;
    }
    this.#acknowledge(ping(latin1(payload, start, end), ACK));
  }

  /** A server that drains waits for one. */
  protected pingAnswered(): void {
    this.#heartbeat.pingAnswered();
  }

  ping(): void {
    this.transport.write(ping(PROBE, 0));
  }

  #priority(streamId: number, payload: Buffer, start: number, end: number): void {
    if (streamId === 0) throw new Http2Error(PROTOCOL_ERROR, 'PRIORITY without a stream');
    this.idleFrame('PRIORITY frames');
    // Otherwise ignored (§5.3.2).
    if (end - start !== 5) this.#priorityError(streamId, FRAME_SIZE_ERROR);
    else if ((payload.readUInt32BE(start) & WINDOW_MAX) === streamId) this.#priorityError(streamId, PROTOCOL_ERROR);
  }

  #priorityError(streamId: number, code: number): void {
    const stream = this.streams.get(streamId);
    if (stream === undefined) this.resetById(streamId, code);
    else this.resetStream(stream, code, new MeshError(this.brokenBy, { reason: 'PRIORITY' }));
  }

  /** A peer that asks and does not read the answers fills our memory. */
  #acknowledge(frame: string): void {
    if (this.transport.write(frame)) return;
    this.#unreadAcks += 1;
    if (this.#unreadAcks > UNREAD_ACKS_MAX) throw new Http2Error(ENHANCE_YOUR_CALM, 'answers are not read');
  }

  /** Everybody who waits gets a turn, and those who have more another, until the connection's window or the socket is full. */
  #feedStarving(): void {
    for (const stream of this.starving) {
      if (!this.#flowing || this.sendWindow <= 0 || this.gone) return;
      // It takes itself out, goes to the end of the queue, or stays where it is because its own window is shut.
      stream.pump();
    }
  }

  /** Part of a frame is here, and the rest is not. */
  get incomplete(): boolean {
    return !this.#reader.idle;
  }

  tooSlow(): void {
    this.shut(NO_ERROR, 'a frame did not arrive in time', this.lastPeerStream);
  }

  dead(): void {
    this.transport.destroy();
  }

  abstract idleFor(silentMs: number): void;
}
