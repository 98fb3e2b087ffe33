/** nghttp2, inside node:http2, as the other end: it reads what our encoder writes, and our decoder reads what it writes. */
import { connect, createServer } from 'node:http2';
import type { ClientHttp2Session, IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { duplexPair } from 'node:stream';
import type { Duplex } from 'node:stream';
import { afterEach, expect, it } from 'vitest';
import type { HpackDecoder } from '../../../../src/proxy/http2/hpack/decoder.ts';
import type { HpackEncoder } from '../../../../src/proxy/http2/hpack/encoder.ts';
import { decode, decoder, encode, encoder } from './block.ts';
import type { Field } from './block.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const HEADERS = 1;
const SETTINGS = 4;
const CONTINUATION = 9;
const ACK = 1;
const END_STREAM = 1;
const END_HEADERS = 4;

const open: { destroy(): void }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.destroy();
});

/** One end of HTTP/2 at its barest: SETTINGS are acknowledged, header blocks handed on, all else is left alone. */
class Peer {
  /** The other end's settings are here, and acknowledged. */
  readonly settled: Promise<void>;
  #settle: () => void = () => undefined;
  readonly #stream: Duplex;
  readonly #onBlock: (stream: number, block: Buffer) => void;
  #rest: Buffer = Buffer.alloc(0);
  #block: Buffer[] = [];

  constructor(stream: Duplex, { preface, onBlock }: { preface: boolean; onBlock: (stream: number, block: Buffer) => void }) {
    this.#stream = stream;
    this.#onBlock = onBlock;
    this.settled = new Promise((resolve) => (this.#settle = resolve));
    let skip = preface ? PREFACE.length : 0;
    stream.on('data', (chunk: Buffer) => {
      const fresh = chunk.subarray(Math.min(skip, chunk.length));
      skip -= chunk.length - fresh.length;
      this.#rest = Buffer.concat([this.#rest, fresh]);
      this.#frames();
    });
  }

  send(type: number, flags: number, stream: number, payload: Buffer): void {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head[3] = type;
    head[4] = flags;
    head.writeUInt32BE(stream, 5);
    this.#stream.write(Buffer.concat([head, payload]));
  }

  #frames(): void {
    for (;;) {
      const rest = this.#rest;
      if (rest.length < 9 || rest.length < 9 + rest.readUIntBE(0, 3)) return;
      const length = rest.readUIntBE(0, 3);
      this.#rest = rest.subarray(9 + length);
      this.#frame(rest[3] as number, rest[4] as number, rest.readUInt32BE(5), rest.subarray(9, 9 + length));
    }
  }

  #frame(type: number, flags: number, stream: number, payload: Buffer): void {
    if (type === SETTINGS && (flags & ACK) === 0) {
      this.send(SETTINGS, ACK, 0, Buffer.alloc(0));
      this.#settle();
    }
    if (type !== HEADERS && type !== CONTINUATION) return;
    this.#block.push(payload);
    if ((flags & END_HEADERS) === 0) return;
    const block = Buffer.concat(this.#block);
    this.#block = [];
    this.#onBlock(stream, block);
  }
}

/** SETTINGS_HEADER_TABLE_SIZE. */
function tableSize(size: number): Buffer {
  const payload = Buffer.alloc(6);
  payload.writeUInt16BE(1, 0);
  payload.writeUInt32BE(size, 2);
  return payload;
}

/** A client of node:http2 at our peer, which answers each request by what `answer` says, and what it got by our decoder. */
function client(answer: (request: number) => Field[], reader: HpackDecoder, writer: HpackEncoder, size: number): { session: ClientHttp2Session; got: Field[][] } {
  const [near, far] = duplexPair();
  const got: Field[][] = [];
  const peer = new Peer(far, {
    preface: true,
    onBlock: (stream, block) => {
      got.push(decode(reader, block));
      peer.send(HEADERS, END_HEADERS | END_STREAM, stream, encode(writer, answer(got.length - 1)));
    },
  });
  peer.send(SETTINGS, 0, 0, tableSize(size));
  const session = connect('http://example.test', { createConnection: () => near });
  open.push(session, far);
  return { session, got };
}

async function request(session: ClientHttp2Session, headers: OutgoingHttpHeaders): Promise<IncomingHttpHeaders> {
  const stream = session.request(headers, { endStream: true });
  const response = await new Promise<IncomingHttpHeaders>((resolve, reject) => {
    stream.once('response', resolve);
    stream.once('error', reject);
  });
  stream.resume();
  return response;
}

/** Fields of every kind: repeated and fresh values, long ones, empty ones, every octet a value may have, secrets. */
function fields(turn: number): Record<string, string> {
  return {
    'user-agent': 'a client/1.0',
    'x-turn': String(turn),
    'x-half': String(turn >> 1),
    [`x-name-${turn % 7}`]: 'the same',
    'x-long': 'long-'.repeat(turn % 40),
    'x-octets': Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + ((i * 7 + turn) % 94))).join(''),
    'x-empty': '',
    authorization: `Bearer ${turn % 3}`,
    cookie: turn % 2 === 0 ? 'a=b' : `session=${'0123456789abcdef'.repeat(4)}`,
  };
}

function pairs(record: Readonly<Record<string, string>>): Field[] {
  return Object.entries(record);
}

const TURNS = 200;

it.each([4096, 0, 200, 65_536])('a client of nghttp2, our table having %i octets', async (size) => {
  const reader = decoder();
  reader.setMaxTableSize(size);
  const { session, got } = client((turn) => [[':status', '200'], ...pairs(fields(turn))], reader, encoder(), size);
  // The first request waits for the settings, so that they are acknowledged before any block.
  await new Promise((resolve) => session.once('remoteSettings', resolve));
  for (let turn = 0; turn < TURNS; turn += 1) {
    const response = await request(session, { ':path': `/${turn % 5}`, ...fields(turn) });
    expect(response).toMatchObject({ ':status': 200, ...fields(turn) });
    expect(got[turn]).toEqual(expect.arrayContaining([[':method', 'GET'], [':path', `/${turn % 5}`], ...pairs(fields(turn))]));
  }
});

it.each([4096, 0, 200, 65_536])('a server of nghttp2, whose table has %i octets', async (size) => {
  const [near, far] = duplexPair();
  const server = createServer({ settings: { headerTableSize: size } });
  const seen: IncomingHttpHeaders[] = [];
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    seen.push(headers);
    stream.respond({ ':status': 200, ...fields(seen.length - 1) }, { endStream: true });
  });
  server.emit('connection', far);
  const writer = encoder(65_536);
  const reader = decoder();
  const answers: Field[][] = [];
  let wake: () => void = () => undefined;
  const peer = new Peer(near, {
    preface: false,
    onBlock: (_, block) => {
      answers.push(decode(reader, block));
      wake();
    },
  });
  open.push(near, far);
  near.write(PREFACE);
  peer.send(SETTINGS, 0, 0, Buffer.alloc(0));
  await peer.settled;
  writer.setMaxTableSize(size);
  for (let turn = 0; turn < TURNS; turn += 1) {
    const block: Field[] = [[':method', 'GET'], [':scheme', 'http'], [':authority', 'example.test'], [':path', `/${turn % 5}`], ...pairs(fields(turn))];
    const answered = new Promise<void>((resolve) => (wake = resolve));
    peer.send(HEADERS, END_HEADERS | END_STREAM, turn * 2 + 1, encode(writer, block));
    await answered;
    expect(seen[turn]).toMatchObject({ ':path': `/${turn % 5}`, ...fields(turn) });
    expect(answers[turn]).toEqual(expect.arrayContaining([[':status', '200'], ...pairs(fields(turn))]));
  }
});
