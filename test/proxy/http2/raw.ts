/** An end of HTTP/2 that says exactly what a test tells it to, and keeps what it is told. */
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS } from '../../../src/proxy/http2/protocol.ts';
import type { HpackDecoder } from '../../../src/proxy/http2/hpack/decoder.ts';
import type { HpackEncoder } from '../../../src/proxy/http2/hpack/encoder.ts';
import { decode, decoder, encode, encoder } from './hpack/block.ts';
import type { Field } from './hpack/block.ts';

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** What came on one stream, as far as it came. */
export interface Message {
  /** One list of fields for each section: informational heads, the head, trailers. */
  readonly sections: readonly Field[][];
  readonly body: Buffer;
  readonly ended: boolean;
  /** Error code of a RST_STREAM; undefined when there was none. */
  readonly reset: number | undefined;
}

export interface RawOptions {
  /** Acknowledge settings, and answer nothing else, by itself (the usual). */
  readonly acknowledges?: boolean;
  /** Payload of the first SETTINGS. */
  readonly settings?: Buffer;
  /** For its header sections. */
  readonly reader?: HpackDecoder;
  readonly writer?: HpackEncoder;
}

export const GET: readonly Field[] = [[':method', 'GET'], [':scheme', 'http'], [':path', '/'], [':authority', 'a.test']];
export const POST: readonly Field[] = [[':method', 'POST'], [':scheme', 'http'], [':path', '/'], [':authority', 'a.test']];

/** SETTINGS from pairs of identifier and value. */
export function settings(...pairs: readonly (readonly [name: number, value: number])[]): Buffer {
  return Buffer.concat(
    pairs.map(([name, value]) => {
      const entry = Buffer.alloc(6);
      entry.writeUInt16BE(name, 0);
      entry.writeUInt32BE(value, 2);
      return entry;
    }),
  );
}

export function uint32(value: number): Buffer {
  const octets = Buffer.alloc(4);
  octets.writeUInt32BE(value);
  return octets;
}

export function frameOctets(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

export class RawHttp2 {
  readonly frames: Frame[] = [];
  readonly stream: Duplex;
  ended = false;
  readonly encoder: HpackEncoder;
  readonly #decoder: HpackDecoder;
  readonly #acknowledges: boolean;
  readonly #messages = new Map<number, { sections: Field[][]; body: Buffer[]; ended: boolean; reset: number | undefined }>();
  #prefaceLeft: number;
  #rest: Buffer = Buffer.alloc(0);
  #block: Buffer[] = [];
  #endsWithBlock = false;
  readonly #waiting: (() => void)[] = [];

  /** `end`: which one this is. */
  constructor(stream: Duplex, end: 'client' | 'server', { acknowledges = true, settings: first = Buffer.alloc(0), reader = decoder(), writer = encoder() }: RawOptions = {}) {
    this.stream = stream;
    this.encoder = writer;
    this.#decoder = reader;
    this.#acknowledges = acknowledges;
    this.#prefaceLeft = end === 'server' ? PREFACE.length : 0;
    stream.on('data', (chunk: Buffer) => {
      this.#received(chunk);
    });
    const over = (): void => {
      this.ended = true;
      this.#changed();
    };
    stream.on('end', over);
    stream.on('close', over);
    stream.on('error', () => undefined);
    if (end === 'client') stream.write(PREFACE, 'latin1');
    this.send(SETTINGS, 0, 0, first);
  }

  static connect(port: number, options: RawOptions = {}): RawHttp2 {
    return new RawHttp2(connect(port, '127.0.0.1'), 'client', options);
  }

  send(type: number, flags: number, stream: number, payload?: Buffer): void {
    if (!this.stream.destroyed) this.stream.write(frameOctets(type, flags, stream, payload));
  }

  /** One header section in one frame, by default the last frame of the stream. */
  headers(stream: number, fields: readonly Field[], flags: number = END_STREAM): void {
    this.send(HEADERS, flags | END_HEADERS, stream, encode(this.encoder, fields));
  }

  data(stream: number, content: string | Buffer, flags = 0): void {
    this.send(DATA, flags, stream, Buffer.from(content as string));
  }

  message(stream: number): Message {
    const message = this.#messages.get(stream);
    return { sections: message?.sections ?? [], body: Buffer.concat(message?.body ?? []), ended: message?.ended ?? false, reset: message?.reset };
  }

  /** The message of a stream once it is over, one way or the other. */
  async whole(stream: number): Promise<Message> {
    await this.until(() => this.message(stream).ended || this.message(stream).reset !== undefined);
    return this.message(stream);
  }

  /** `:status` of the answer, once there is one. */
  async status(stream: number): Promise<string> {
    await this.until(() => this.message(stream).sections.length > 0);
    return new Map(this.message(stream).sections[0]).get(':status') ?? '';
  }

  /** Error code of the RST_STREAM that ends a stream. */
  async reset(stream: number): Promise<number> {
    await this.until(() => this.message(stream).reset !== undefined);
    return this.message(stream).reset as number;
  }

  /** Error code of the GOAWAY that ends the connection. */
  async goAway(): Promise<number> {
    await this.until(() => this.frames.some((frame) => frame.type === GOAWAY));
    return this.frames.findLast((frame) => frame.type === GOAWAY)?.payload.readUInt32BE(4) as number;
  }

  async frame(type: number): Promise<Frame> {
    await this.until(() => this.frames.some((frame) => frame.type === type));
    return this.frames.find((frame) => frame.type === type) as Frame;
  }

  /** Wait until `condition` holds for what has come. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.ended) throw new Error(`the connection ended after ${this.frames.map((frame) => `${frame.type}/${frame.flags}@${frame.stream}`).join(' ')}`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Wait for the end of the connection. */
  async over(): Promise<void> {
    while (!this.ended) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  close(): void {
    this.stream.destroy();
  }

  #received(chunk: Buffer): void {
    const skipped = Math.min(this.#prefaceLeft, chunk.length);
    this.#prefaceLeft -= skipped;
    this.#rest = Buffer.concat([this.#rest, chunk.subarray(skipped)]);
    for (;;) {
      const rest = this.#rest;
      if (rest.length < 9 || rest.length < 9 + rest.readUIntBE(0, 3)) break;
      const length = rest.readUIntBE(0, 3);
      this.#rest = rest.subarray(9 + length);
      this.#frame({ type: rest[3] as number, flags: rest[4] as number, stream: rest.readUInt32BE(5), payload: rest.subarray(9, 9 + length) });
    }
    this.#changed();
  }

  #frame(frame: Frame): void {
    const { type, flags, stream, payload } = frame;
    this.frames.push(frame);
    if (type === SETTINGS && (flags & ACK) === 0 && this.#acknowledges) this.send(SETTINGS, ACK, 0);
    if (stream === 0) return;
    const message = this.#messages.get(stream) ?? { sections: [], body: [], ended: false, reset: undefined };
    this.#messages.set(stream, message);
    if (type === HEADERS) this.#endsWithBlock = (flags & END_STREAM) !== 0;
    if (type === HEADERS || type === CONTINUATION) {
      this.#block.push(payload);
      if ((flags & END_HEADERS) === 0) return;
      message.sections.push(decode(this.#decoder, Buffer.concat(this.#block)));
      this.#block = [];
      message.ended ||= this.#endsWithBlock;
    } else if (type === DATA) {
      message.body.push(payload);
      message.ended ||= (flags & END_STREAM) !== 0;
    } else if (type === RST_STREAM) message.reset = payload.readUInt32BE(0);
  }

  #changed(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

export interface RawEndpoint {
  readonly port: number;
  readonly peers: RawHttp2[];
  close(): void;
}

/** An endpoint whose connections a test answers by hand; what `answer` does is over when the connection is. */
export async function rawEndpoint(answer: (peer: RawHttp2) => Promise<void>, options: RawOptions = {}): Promise<RawEndpoint> {
  const peers: RawHttp2[] = [];
  const server = createServer((socket) => {
    const peer = new RawHttp2(socket, 'server', options);
    peers.push(peer);
    answer(peer).catch((error: unknown) => {
      if (!peer.ended) throw error;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    peers,
    close: () => {
      for (const peer of peers) peer.close();
      server.close();
    },
  };
}
