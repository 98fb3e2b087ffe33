/**
 * Cuts the bytes of a connection into frames (RFC 9113 §4.1). DATA is passed on in pieces, as it comes; every other frame is
 * short and is handed over whole.
 */
import { DATA, FRAME_HEADER_BYTES, FRAME_SIZE_ERROR, Http2Error, PADDED, PROTOCOL_ERROR } from './protocol.ts';

export interface FrameHandler {
  /** May this frame come now, and be of this length? @throws Http2Error */
  frameHead(type: number, flags: number, streamId: number, length: number): void;
  /** A frame other than DATA; its payload is borrowed. @throws Http2Error */
  frame(type: number, flags: number, streamId: number, payload: Buffer, start: number, end: number): void;
  /** A piece of a DATA frame's content, borrowed. @throws Http2Error */
  data(chunk: Buffer): void;
  /** So many bytes of the DATA frame were padding, or its length. */
  padding(bytes: number): void;
  /** The DATA frame is over. @throws Http2Error */
  dataEnd(): void;
}

export class FrameReader {
  readonly #handler: FrameHandler;
  readonly #frameBytesMax: number;
  /** A frame header in parts. */
  readonly #head = Buffer.alloc(FRAME_HEADER_BYTES);
  #headBytes = 0;
  #inPayload = false;
  #type = 0;
  #flags = 0;
  #streamId = 0;
  /** Of the payload, still to come. */
  #left = 0;
  /** A payload in parts. */
  #gathered: Buffer | undefined;
  #gatheredBytes = 0;
  /** Of a DATA frame: its Pad Length is still to come. */
  #padLengthDue = false;
  #padding = 0;

  constructor(handler: FrameHandler, frameBytesMax: number) {
    this.#handler = handler;
    this.#frameBytesMax = frameBytesMax;
  }

  /** Between two frames. */
  get idle(): boolean {
    return !this.#inPayload && this.#headBytes === 0;
  }

  /** @throws Http2Error when the connection cannot go on. */
  feed(buffer: Buffer, from: number, to: number): void {
    let at = from;
    while (at < to || (this.#inPayload && this.#left === 0)) {
      if (!this.#inPayload) at = this.#readHead(buffer, at, to);
      else if (this.#type === DATA) at = this.#readData(buffer, at, to);
      else at = this.#readPayload(buffer, at, to);
    }
  }

  #readHead(buffer: Buffer, at: number, to: number): number {
    if (this.#headBytes === 0 && to - at >= FRAME_HEADER_BYTES) {
      this.#begin(buffer, at);
      return at + FRAME_HEADER_BYTES;
    }
    const taken = Math.min(FRAME_HEADER_BYTES - this.#headBytes, to - at);
    buffer.copy(this.#head, this.#headBytes, at, at + taken);
    this.#headBytes += taken;
    if (this.#headBytes === FRAME_HEADER_BYTES) {
      this.#headBytes = 0;
      this.#begin(this.#head, 0);
    }
    return at + taken;
  }

  #begin(head: Buffer, at: number): void {
    const length = head.readUIntBE(at, 3);
    const type = head[at + 3] as number;
    const flags = head[at + 4] as number;
    // The reserved bit is ignored (§4.1).
    const streamId = head.readUInt32BE(at + 5) & 0x7fff_ffff;
    if (length > this.#frameBytesMax) throw new Http2Error(FRAME_SIZE_ERROR, `a frame of ${length} bytes`);
    this.#handler.frameHead(type, flags, streamId, length);
    this.#inPayload = true;
    this.#type = type;
    this.#flags = flags;
    this.#streamId = streamId;
    this.#left = length;
    this.#padding = 0;
    this.#padLengthDue = type === DATA && (flags & PADDED) !== 0;
    if (this.#padLengthDue && length === 0) throw new Http2Error(FRAME_SIZE_ERROR, 'padded DATA without a pad length');
  }

  #readData(buffer: Buffer, from: number, to: number): number {
    let at = from;
    if (this.#padLengthDue) {
      this.#padLengthDue = false;
      this.#padding = buffer[at] as number;
      at += 1;
      this.#left -= 1;
      if (this.#padding > this.#left) throw new Http2Error(PROTOCOL_ERROR, 'DATA with more padding than payload');
      this.#handler.padding(1 + this.#padding);
    }
    const content = Math.min(this.#left - this.#padding, to - at);
    if (content > 0) {
      this.#left -= content;
      this.#handler.data(buffer.subarray(at, at + content));
      at += content;
    }
    if (this.#left === this.#padding) {
      const skipped = Math.min(this.#padding, to - at);
      this.#padding -= skipped;
      this.#left -= skipped;
      at += skipped;
    }
    if (this.#left === 0) {
      this.#inPayload = false;
      this.#handler.dataEnd();
    }
    return at;
  }

  #readPayload(buffer: Buffer, at: number, to: number): number {
    const taken = Math.min(this.#left, to - at);
    if (this.#gathered === undefined && taken === this.#left) {
      this.#inPayload = false;
      this.#handler.frame(this.#type, this.#flags, this.#streamId, buffer, at, at + taken);
      return at + taken;
    }
    this.#gathered ??= Buffer.allocUnsafe(this.#left);
    buffer.copy(this.#gathered, this.#gatheredBytes, at, at + taken);
    this.#gatheredBytes += taken;
    this.#left -= taken;
    if (this.#left === 0) this.#handGathered(this.#gathered);
    return at + taken;
  }

  #handGathered(gathered: Buffer): void {
    const length = this.#gatheredBytes;
    this.#inPayload = false;
    this.#gathered = undefined;
    this.#gatheredBytes = 0;
    this.#handler.frame(this.#type, this.#flags, this.#streamId, gathered, 0, length);
  }
}
