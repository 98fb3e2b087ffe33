/** nghttp2, inside node:http2, as the other end: it reads what our encoder writes, and our decoder reads what it writes. */
import { connect, createServer } from 'node:http2';
import type { ClientHttp2Session, IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { duplexPair } from 'node:stream';
import { afterEach, expect, it } from 'vitest';
import { SETTINGS } from '../../../../src/proxy/http2/protocol.ts';
import { RawHttp2, settings } from '../raw.ts';
import { decoder, encoder } from './block.ts';
import type { Field } from './block.ts';

const open: { destroy(): void }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.destroy();
});

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
const HEADER_TABLE_SIZE = 1;

it.each([4096, 0, 200, 65_536])('a client of nghttp2, our table having %i octets', async (size) => {
  const [near, far] = duplexPair();
  const reader = decoder();
  reader.setMaxTableSize(size);
  const peer = new RawHttp2(far, 'server', { settings: settings([HEADER_TABLE_SIZE, size]), reader });
  const session = connect('http://example.test', { createConnection: () => near });
  open.push(session, far);
  // The first request waits for the settings, so that they are acknowledged before any block.
  await new Promise((resolve) => session.once('remoteSettings', resolve));
  for (let turn = 0; turn < TURNS; turn += 1) {
    const stream = turn * 2 + 1;
    const answer = request(session, { ':path': `/${turn % 5}`, ...fields(turn) });
    await peer.until(() => peer.message(stream).ended);
    expect(peer.message(stream).sections[0]).toEqual(expect.arrayContaining([[':method', 'GET'], [':path', `/${turn % 5}`], ...pairs(fields(turn))]));
    peer.headers(stream, [[':status', '200'], ...pairs(fields(turn))]);
    expect(await answer).toMatchObject({ ':status': 200, ...fields(turn) });
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
  const peer = new RawHttp2(near, 'client', { writer });
  open.push(near, far);
  // Its table is what it says once that is acknowledged.
  await peer.frame(SETTINGS);
  writer.setMaxTableSize(size);
  for (let turn = 0; turn < TURNS; turn += 1) {
    const stream = turn * 2 + 1;
    peer.headers(stream, [[':method', 'GET'], [':scheme', 'http'], [':authority', 'example.test'], [':path', `/${turn % 5}`], ...pairs(fields(turn))]);
    const { sections } = await peer.whole(stream);
    expect(seen[turn]).toMatchObject({ ':path': `/${turn % 5}`, ...fields(turn) });
    expect(sections[0]).toEqual(expect.arrayContaining([[':status', '200'], ...pairs(fields(turn))]));
  }
});
