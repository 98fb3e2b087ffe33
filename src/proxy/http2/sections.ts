/** Header sections put together from HEADERS and CONTINUATION (RFC 9113 §4.3, §6.2, §6.10), and decoded. */
import { HTTP2_CONTINUATIONS_MAX } from '../../core/limits.ts';
import { HpackDecoder } from './hpack/decoder.ts';
import type { HpackSink } from './hpack/decoder.ts';
import { CONTINUATION, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FRAME_SIZE_ERROR, HEADERS, Http2Error, PADDED, PRIORITY_GIVEN, PROTOCOL_ERROR, WINDOW_MAX } from './protocol.ts';

export interface SectionHost {
  /** Where the fields of a section go; undefined: nobody wants them. @throws Http2Error when none may come */
  sectionBegins(streamId: number): HpackSink | undefined;
  /** The section is complete. `tooLarge`: its fields are not all there. @throws Http2Error */
  sectionEnded(streamId: number, endStream: boolean, tooLarge: boolean): void;
}

const NOBODY: HpackSink = { field: () => undefined };

export class Sections {
  readonly #host: SectionHost;
  readonly #decoder: HpackDecoder;
  readonly #bytesMax: number;
  /** Of the section being gathered; -1 = none. */
  #streamId = -1;
  #endStream = false;
  #gathered: Buffer | undefined;
  #continuations = 0;

  constructor(host: SectionHost, maxTableSize: number, headerListBytes: number) {
    this.#host = host;
    this.#decoder = new HpackDecoder({ maxTableSize, maxListSize: headerListBytes });
    // Coded, a section is rarely larger than its fields; one that is has nothing to say.
    this.#bytesMax = 2 * headerListBytes;
  }

  /** Between the frames of a section there is no other, and it ends some time. @throws Http2Error */
  check(type: number, streamId: number, length: number): void {
    if (this.#streamId >= 0 && (type !== CONTINUATION || streamId !== this.#streamId)) throw new Http2Error(PROTOCOL_ERROR, 'a header section was interrupted');
    if ((type === HEADERS || type === CONTINUATION) && (this.#gathered?.length ?? 0) + length > this.#bytesMax) throw new Http2Error(ENHANCE_YOUR_CALM, 'a header section without end');
  }

  /** A HEADERS frame. @throws Http2Error, HpackError */
  headers(flags: number, streamId: number, payload: Buffer, from: number, to: number): void {
    if (streamId === 0) throw new Http2Error(PROTOCOL_ERROR, 'HEADERS without a stream');
    let start = from;
    let end = to;
    if ((flags & PADDED) !== 0) {
      if (start === end) throw new Http2Error(FRAME_SIZE_ERROR, 'padded HEADERS without a pad length');
      end -= payload[start] as number;
      start += 1;
    }
    if ((flags & PRIORITY_GIVEN) !== 0) {
      if (end - start >= 5 && (payload.readUInt32BE(start) & WINDOW_MAX) === streamId) throw new Http2Error(PROTOCOL_ERROR, 'a stream that depends on itself');
      start += 5;
    }
    if (start > end) throw new Http2Error(PROTOCOL_ERROR, 'HEADERS with more padding than payload');
    this.#streamId = streamId;
    this.#endStream = (flags & END_STREAM) !== 0;
    if ((flags & END_HEADERS) !== 0) this.#decode(payload, start, end);
    else this.#gathered = Buffer.from(payload.subarray(start, end));
  }

  /** @throws Http2Error, HpackError */
  continuation(flags: number, payload: Buffer, start: number, end: number): void {
    if (this.#gathered === undefined) throw new Http2Error(PROTOCOL_ERROR, 'CONTINUATION without HEADERS');
    this.#continuations += 1;
    if (this.#continuations > HTTP2_CONTINUATIONS_MAX) throw new Http2Error(ENHANCE_YOUR_CALM, 'too many CONTINUATION frames');
    this.#gathered = Buffer.concat([this.#gathered, payload.subarray(start, end)]);
    if ((flags & END_HEADERS) !== 0) this.#decode(this.#gathered, 0, this.#gathered.length);
  }

  /** Also what nobody wants is decoded, because the table follows every section (§4.3). */
  #decode(block: Buffer, start: number, end: number): void {
    const streamId = this.#streamId;
    this.#streamId = -1;
    this.#gathered = undefined;
    this.#continuations = 0;
    const sink = this.#host.sectionBegins(streamId);
    this.#decoder.decode(block, start, end, sink ?? NOBODY);
    if (sink !== undefined) this.#host.sectionEnded(streamId, this.#endStream, this.#decoder.exceeded);
  }
}
