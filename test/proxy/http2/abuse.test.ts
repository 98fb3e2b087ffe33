/** Peers that want to cost more than they pay: each one loses its connection for the right reason, and nobody else notices. */
import { afterEach, describe, expect, it } from 'vitest';
import { HEAD_BYTES_MAX, HTTP2_STREAMS_MAX, HTTP2_STREAM_WINDOW_BYTES } from '../../../src/core/limits.ts';
import { DISCARD } from '../../../src/proxy/exchange.ts';
import type { Service } from '../../../src/proxy/exchange.ts';
import { LENGTH_UNKNOWN, ResponseHead } from '../../../src/proxy/head.ts';
import {
  ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, GOAWAY, HEADERS, PING, PRIORITY, PROTOCOL_ERROR, REFUSED_STREAM, RST_STREAM, SETTINGS, WINDOW_UPDATE,
} from '../../../src/proxy/http2/protocol.ts';
import { ECHO, serving } from '../codec-harness.ts';
import type { Proxy } from '../codec-harness.ts';
import { encode } from './hpack/block.ts';
import { GET, POST, RawHttp2, frameOctets, settings, uint32 } from './raw.ts';

const INITIAL_WINDOW_SIZE = 4;
/** Far more than any bound. */
const MANY = 5000;
/** What the bounds allow at most: the burst, and what is under way. */
const BOUND = 1500;

const closing: { close(): void }[] = [];
afterEach(() => {
  for (const one of closing.splice(0).reverse()) one.close();
});

/** Takes requests and never answers: what an attack of resets costs is what it makes begin. */
class Silent implements Service {
  begun = 0;

  serve(): typeof DISCARD {
    this.begun += 1;
    return DISCARD;
  }
}

function answer(): ResponseHead {
  const head = new ResponseHead(200, '');
  head.contentLength = LENGTH_UNKNOWN;
  return head;
}

async function listening(service: Service = ECHO): Promise<Proxy> {
  const proxy = await serving(service, 'http2');
  closing.push(proxy);
  return proxy;
}

function attacker(proxy: Proxy): RawHttp2 {
  const client = RawHttp2.connect(proxy.port);
  closing.push(client);
  return client;
}

/** Another client is served. */
async function othersLive(proxy: Proxy): Promise<void> {
  const other = attacker(proxy);
  other.headers(1, [...GET.slice(0, 2), [':path', '/other'], [':authority', 'b.test']]);
  expect(await other.status(1)).toBe('200');
}

/** The service of the attack, and ECHO for requests to /other. */
function besides(service: Service): Service {
  return { serve: (exchange, head, response) => (head.target === '/other' ? ECHO : service).serve(exchange, head, response) };
}

/** The attack is over when the connection is, whether or not its last words still arrived. */
async function endsWith(client: RawHttp2, code: number): Promise<void> {
  expect(await client.goAway()).toBe(code);
  await client.over();
}

describe('floods of frames end with ENHANCE_YOUR_CALM', () => {
  const flood = (frame: Buffer) => Buffer.concat(Array.from({ length: MANY }, () => frame));

  it.each([
    ['PING (CVE-2019-9512)', flood(frameOctets(PING, 0, 0, Buffer.alloc(8)))],
    ['answers to PING', flood(frameOctets(PING, ACK, 0, Buffer.alloc(8)))],
    ['answers to SETTINGS', flood(frameOctets(SETTINGS, ACK, 0))],
    ['GOAWAY', flood(frameOctets(GOAWAY, 0, 0, Buffer.alloc(8)))],
    ['SETTINGS (CVE-2019-9515)', flood(frameOctets(SETTINGS, 0, 0))],
    ['SETTINGS that move all windows', flood(frameOctets(SETTINGS, 0, 0, settings([INITIAL_WINDOW_SIZE, 1], [INITIAL_WINDOW_SIZE, 2])))],
    ['PRIORITY (CVE-2019-9513)', flood(frameOctets(PRIORITY, 0, 1, Buffer.from('0000000010', 'hex')))],
    ['WINDOW_UPDATE for the connection', flood(frameOctets(WINDOW_UPDATE, 0, 0, uint32(1)))],
    ['WINDOW_UPDATE for a stream', flood(frameOctets(WINDOW_UPDATE, 0, 1, uint32(1)))],
    ['empty DATA (CVE-2019-9518)', flood(frameOctets(DATA, 0, 1))],
    ['DATA of nothing but padding', flood(frameOctets(DATA, 8, 1, Buffer.from([0])))],
    ['frames of unknown types', flood(frameOctets(0xfa, 0, 0))],
    ['RST_STREAM', flood(frameOctets(RST_STREAM, 0, 1, uint32(8)))],
  ])('%s', async (_, frames) => {
    const proxy = await listening(besides(new Silent()));
    const client = attacker(proxy);
    client.headers(1, POST, 0);
    client.stream.write(frames);
    await endsWith(client, ENHANCE_YOUR_CALM);
    await othersLive(proxy);
  });

  it.each([
    ['of one octet (CVE-2024-27316)', frameOctets(CONTINUATION, 0, 1, Buffer.from('40', 'hex'))],
    ['of nothing', frameOctets(CONTINUATION, 0, 1)],
    ['of 16 KiB', frameOctets(CONTINUATION, 0, 1, Buffer.alloc(16_384, 0x82))],
  ])('CONTINUATION %s', async (_, frame) => {
    const proxy = await listening();
    const client = attacker(proxy);
    client.send(HEADERS, 0, 1, Buffer.from('82', 'hex'));
    for (let i = 0; i < 200; i += 1) client.stream.write(frame);
    await endsWith(client, ENHANCE_YOUR_CALM);
    expect(proxy.ended).toEqual([]);
    await othersLive(proxy);
  });
});

describe('requests that are begun only to be thrown away', () => {
  /** What follows the head of each request. */
  const resets: readonly (readonly [name: string, flags: number, frames: (stream: number) => Buffer])[] = [
    ['reset by the client (CVE-2023-44487)', END_STREAM, (stream) => frameOctets(RST_STREAM, 0, stream, uint32(8))],
    ['made to be reset by a window update of nothing (CVE-2025-8671)', END_STREAM, (stream) => frameOctets(WINDOW_UPDATE, 0, stream, uint32(0))],
    ['made to be reset by a window too large', END_STREAM, (stream) => frameOctets(WINDOW_UPDATE, 0, stream, uint32(0x7fff_ffff))],
    ['made to be reset by DATA after the end', END_STREAM, (stream) => frameOctets(DATA, 0, stream, Buffer.from('x'))],
    ['made to be reset by HEADERS after the end', END_STREAM, (stream) => frameOctets(HEADERS, END_HEADERS | END_STREAM, stream, Buffer.from('0001610162', 'hex'))],
    ['made to be reset by PRIORITY of a wrong length', END_STREAM, (stream) => frameOctets(PRIORITY, 0, stream, Buffer.alloc(4))],
    ['made to be reset by a stream that depends on itself', END_STREAM, (stream) => frameOctets(PRIORITY, 0, stream, Buffer.concat([uint32(stream), Buffer.alloc(1)]))],
    ['made to be reset by trailers that end nothing', 0, (stream) => frameOctets(HEADERS, END_HEADERS, stream, Buffer.from('0001610162', 'hex'))],
    ['made to be reset by pseudo-header fields in trailers', 0, (stream) => frameOctets(HEADERS, END_HEADERS | END_STREAM, stream, Buffer.from('82', 'hex'))],
  ];

  it.each(resets)('%s', async (_, flags, frames) => {
    const silent = new Silent();
    const proxy = await listening(besides(silent));
    const client = attacker(proxy);
    for (let i = 0; i < MANY; i += 1) {
      client.headers(i * 2 + 1, GET, flags);
      client.stream.write(frames(i * 2 + 1));
    }
    await endsWith(client, ENHANCE_YOUR_CALM);
    expect(silent.begun).toBeLessThan(BOUND);
    await othersLive(proxy);
  });

  it('made to be reset by more content than was announced', async () => {
    const silent = new Silent();
    const proxy = await listening(besides(silent));
    const client = attacker(proxy);
    for (let i = 0; i < MANY; i += 1) {
      client.headers(i * 2 + 1, [...POST, ['content-length', '1']], 0);
      client.data(i * 2 + 1, 'xx');
    }
    await endsWith(client, ENHANCE_YOUR_CALM);
    expect(silent.begun).toBeLessThan(BOUND);
    await othersLive(proxy);
  });

  it('malformed from the start', async () => {
    const silent = new Silent();
    const proxy = await listening(besides(silent));
    const client = attacker(proxy);
    for (let i = 0; i < MANY; i += 1) client.headers(i * 2 + 1, [[':method', 'GET']]);
    await endsWith(client, ENHANCE_YOUR_CALM);
    expect(silent.begun).toBe(0);
    await othersLive(proxy);
  });

  it('more at a time than are allowed', async () => {
    const silent = new Silent();
    const proxy = await listening(besides(silent));
    const client = attacker(proxy);
    for (let i = 0; i <= HTTP2_STREAMS_MAX; i += 1) client.headers(i * 2 + 1, GET);
    expect(await client.reset(HTTP2_STREAMS_MAX * 2 + 1)).toBe(REFUSED_STREAM);
    expect(silent.begun).toBe(HTTP2_STREAMS_MAX);
    for (let i = HTTP2_STREAMS_MAX + 1; i < MANY; i += 1) client.headers(i * 2 + 1, GET);
    await endsWith(client, ENHANCE_YOUR_CALM);
    expect(silent.begun).toBe(HTTP2_STREAMS_MAX);
    await othersLive(proxy);
  });
});

describe('windows', () => {
  it.each([
    ['of the connection grown too large', FLOW_CONTROL_ERROR, frameOctets(WINDOW_UPDATE, 0, 0, uint32(0x7fff_ffff))],
    ['of the connection grown by nothing', PROTOCOL_ERROR, frameOctets(WINDOW_UPDATE, 0, 0, uint32(0))],
    ['of streams to be too large', FLOW_CONTROL_ERROR, frameOctets(SETTINGS, 0, 0, settings([INITIAL_WINDOW_SIZE, 0x8000_0000]))],
    [
      'of one stream grown too large by all of them',
      FLOW_CONTROL_ERROR,
      Buffer.concat([frameOctets(WINDOW_UPDATE, 0, 1, uint32(0x7fff_ffff - 65_535)), frameOctets(SETTINGS, 0, 0, settings([INITIAL_WINDOW_SIZE, 65_536]))]),
    ],
  ])('%s end the connection', async (_, code, frames) => {
    const proxy = await listening(besides(new Silent()));
    const client = attacker(proxy);
    client.headers(1, GET);
    client.stream.write(frames);
    await endsWith(client, code);
    await othersLive(proxy);
  });

  it.each([
    ['grown too large', FLOW_CONTROL_ERROR, 0x7fff_ffff],
    ['grown by nothing', PROTOCOL_ERROR, 0],
  ])('of one stream %s end that stream', async (_, code, bytes) => {
    const proxy = await listening(besides(new Silent()));
    const client = attacker(proxy);
    client.headers(1, GET);
    client.send(WINDOW_UPDATE, 0, 1, uint32(bytes));
    expect(await client.reset(1)).toBe(code);
    client.headers(3, [...GET.slice(0, 2), [':path', '/other'], [':authority', 'b.test']]);
    expect(await client.status(3)).toBe('200');
  });

  it('that are not kept to end the connection', async () => {
    const proxy = await listening(besides({ serve: () => ({ ...DISCARD, data: () => false }) }));
    const client = attacker(proxy);
    client.headers(1, POST, 0);
    for (let sent = 0; sent <= HTTP2_STREAM_WINDOW_BYTES; sent += 16_384) client.data(1, Buffer.alloc(16_384));
    await endsWith(client, FLOW_CONTROL_ERROR);
    await othersLive(proxy);
  });

  it('of one octet (CVE-2019-9511, CVE-2019-9517) hold the sender of an answer back, and make it neither faster nor larger', async () => {
    let offered = 0;
    const chunk = Buffer.alloc(16_384);
    const service: Service = {
      serve: (_exchange, _head, response) => {
        response.head(answer());
        const offer = (): void => {
          do offered += chunk.length;
          while (response.data(chunk));
        };
        offer();
        return { ...DISCARD, resumeResponse: offer };
      },
    };
    const proxy = await listening(besides(service));
    const client = RawHttp2.connect(proxy.port, { settings: settings([INITIAL_WINDOW_SIZE, 0]) });
    closing.push(client);
    for (let i = 0; i < 100; i += 1) client.headers(i * 2 + 1, GET);
    await client.status(199);
    for (let i = 0; i < 100; i += 1) client.send(WINDOW_UPDATE, 0, 1, uint32(1));
    await client.until(() => client.message(1).body.length === 100);
    expect(offered).toBe(100 * chunk.length);
    await othersLive(proxy);
  });
});

describe('content that nobody takes', () => {
  /** Holds everything it gets. */
  const holding: Service = { serve: () => ({ ...DISCARD, data: () => false }) };
  const chunk = Buffer.alloc(16_384);

  it.each([
    ['of streams that are reset while their receiver holds', 0, (client: RawHttp2, stream: number) => {
      for (let i = 0; i < 4; i += 1) client.data(stream, chunk);
      client.send(RST_STREAM, 0, stream, uint32(8));
    }],
    ['more than was announced', 0, (client: RawHttp2, stream: number) => {
      client.data(stream, chunk);
      client.data(stream, chunk);
    }],
    ['padding', 0, (client: RawHttp2, stream: number) => {
      client.send(DATA, 8, stream, Buffer.concat([Buffer.from([255]), Buffer.alloc(256)]));
      client.send(DATA, 8, stream, Buffer.concat([Buffer.from([255]), Buffer.alloc(256)]));
      client.send(RST_STREAM, 0, stream, uint32(8));
    }],
    ['after the end of its stream', END_STREAM, (client: RawHttp2, stream: number) => {
      client.data(stream, chunk);
      client.data(stream, chunk);
    }],
  ])('does not use up the window of the connection: %s', async (_, flags, send) => {
    const proxy = await listening(besides(holding));
    const client = attacker(proxy);
    // Several times the window; a client that did not look at it would be thrown out, had it shrunk.
    for (let i = 0; i < 200; i += 1) {
      client.headers(i * 2 + 1, flags === 0 ? [...POST, ['content-length', '16385']] : POST, flags);
      send(client, i * 2 + 1);
    }
    client.headers(401, [...GET.slice(0, 2), [':path', '/other'], [':authority', 'b.test']]);
    expect(await client.status(401)).toBe('200');
  });
});

describe('header sections', () => {
  it('that blow up when decoded are answered with 431, and the connection goes on', async () => {
    const proxy = await listening();
    const client = attacker(proxy);
    const entry = Buffer.concat([encode(client.encoder, GET), Buffer.from('4001617fd11e', 'hex'), Buffer.alloc(4048, 0x78)]);
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, entry);
    expect(await client.status(1)).toBe('200');
    client.send(HEADERS, END_HEADERS | END_STREAM, 3, Buffer.concat([encode(client.encoder, GET), Buffer.alloc(16_000, 0xbe)]));
    expect(await client.status(3)).toBe('431');
    client.headers(5, GET);
    expect(await client.status(5)).toBe('200');
    expect(proxy.ended.map((facts) => facts.status)).toEqual([200, 431, 200]);
  });

  it('larger than allowed are answered with 431, however they are cut', async () => {
    const proxy = await listening();
    const client = attacker(proxy);
    const block = encode(client.encoder, [...GET, ['x-large', '~'.repeat(HEAD_BYTES_MAX)]]);
    client.send(HEADERS, END_STREAM, 1, block.subarray(0, 16_384));
    for (let at = 16_384; at < block.length; at += 16_384) client.send(CONTINUATION, at + 16_384 >= block.length ? END_HEADERS : 0, 1, block.subarray(at, at + 16_384));
    expect(await client.status(1)).toBe('431');
    client.headers(3, GET);
    expect(await client.status(3)).toBe('200');
  });

  it('with more fields than are taken are answered with 431', async () => {
    const proxy = await listening();
    const client = attacker(proxy);
    client.headers(1, [...GET, ...Array.from({ length: 300 }, (_, i) => [`x-${i}`, ''] as const)]);
    expect(await client.status(1)).toBe('431');
  });

  it('larger than that by far end the connection', async () => {
    const proxy = await listening();
    const client = attacker(proxy);
    client.send(HEADERS, END_STREAM, 1, Buffer.alloc(16_384, 0x82));
    for (let i = 0; i < 12; i += 1) client.send(CONTINUATION, 0, 1, Buffer.alloc(16_384, 0x82));
    await endsWith(client, ENHANCE_YOUR_CALM);
    await othersLive(proxy);
  });
});

describe('answers that are not read', () => {
  it('hold back the client that does not read them', async () => {
    let served = 0;
    const service: Service = {
      serve: (_exchange, _head, response) => {
        served += 1;
        const head = new ResponseHead(204, '');
        head.headers.add('x-large', `${served}~`.repeat(2500));
        response.head(head);
        response.end(undefined);
        return DISCARD;
      },
    };
    const proxy = await listening(besides(service));
    const client = attacker(proxy);
    client.headers(1, GET);
    await client.status(1);
    client.stream.pause();
    let asked = 1;
    // Until our own requests are not read any more: a client that stops reading the answers is not served on.
    for (let idleRounds = 0; idleRounds < 50; ) {
      const before = served;
      if (client.stream.writableLength < 1_000_000) {
        for (let i = 0; i < 50; i += 1, asked += 1) client.headers(asked * 2 + 1, [...GET, ['x-large', '~'.repeat(8000)]]);
      }
      await new Promise((resolve) => setImmediate(resolve));
      idleRounds = served === before && client.stream.writableLength >= 1_000_000 ? idleRounds + 1 : 0;
    }
    // What the kernel holds, and one read's worth of requests more.
    const before = served;
    expect(before).toBeLessThan(asked);
    await othersLive(proxy);
    expect(served).toBe(before);
    // And when it reads again it gets everything.
    client.stream.resume();
    await client.whole(asked * 2 - 1);
    expect(served).toBe(asked);
    for (let i = 0; i < asked; i += 1) expect(new Map(client.message(i * 2 + 1).sections[0]).get('x-large')).toBe(`${i + 1}~`.repeat(2500));
  }, 30_000);
});
