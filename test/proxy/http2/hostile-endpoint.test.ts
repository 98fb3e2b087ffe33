/** Endpoints that break the protocol or want to cost more than they serve: the exchange fails with the right error, the next one gets a new connection. */
import { afterEach, describe, expect, it } from 'vitest';
import { CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, COMPRESSION_ERROR, FLOW_CONTROL_ERROR, GOAWAY, HEADERS, PING, PROTOCOL_ERROR, PUSH_PROMISE, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE } from '../../../src/proxy/http2/protocol.ts';
import { proxyTo } from '../codec-harness.ts';
import type { Proxy } from '../codec-harness.ts';
import { GET, RawHttp2, frameOctets, rawEndpoint, uint32 } from './raw.ts';
import type { RawEndpoint } from './raw.ts';
import type { Field } from './hpack/block.ts';

const MANY = 5000;
const OK: Field = [':status', '200'];

const closing: { close(): void }[] = [];
afterEach(() => {
  for (const one of closing.splice(0).reverse()) one.close();
});

interface Line {
  readonly client: RawHttp2;
  readonly endpoint: RawEndpoint;
  readonly proxy: Proxy;
}

/** The first connection of the endpoint is hostile, once it has got a request; all others answer 204. */
async function line(hostile: (peer: RawHttp2) => void): Promise<Line> {
  const endpoint: RawEndpoint = await rawEndpoint(async (peer) => {
    const first = endpoint.peers[0] === peer;
    for (let stream = 1; ; stream += 2) {
      await peer.until(() => peer.message(stream).ended);
      if (first && stream === 1) hostile(peer);
      else peer.headers(stream, [[':status', '204']]);
    }
  });
  closing.push(endpoint);
  const proxy = await proxyTo(endpoint.port, { downstream: 'http2', upstream: 'http2' });
  closing.push(proxy);
  const client = RawHttp2.connect(proxy.port);
  closing.push(client);
  return { client, endpoint, proxy };
}

function reason(client: RawHttp2, stream: number): string {
  return new Map(client.message(stream).sections.at(-1)).get('x-orlop-reason') ?? '';
}

const flood = (frame: Buffer): Buffer => Buffer.concat(Array.from({ length: MANY }, () => frame));

describe('the connection to an endpoint ends', () => {
  it.each([
    ['PING without end', ENHANCE_YOUR_CALM, flood(frameOctets(PING, 0, 0, Buffer.alloc(8)))],
    ['SETTINGS without end', ENHANCE_YOUR_CALM, flood(frameOctets(SETTINGS, 0, 0))],
    ['window updates without end', ENHANCE_YOUR_CALM, flood(frameOctets(WINDOW_UPDATE, 0, 1, uint32(1)))],
    ['informational heads without end', ENHANCE_YOUR_CALM, flood(frameOctets(HEADERS, END_HEADERS, 1, Buffer.from('0803313033', 'hex')))],
    ['a header section without end', ENHANCE_YOUR_CALM, Buffer.concat([frameOctets(HEADERS, 0, 1, Buffer.from('88', 'hex')), flood(frameOctets(CONTINUATION, 0, 1, Buffer.from('88', 'hex')))])],
    ['a push', PROTOCOL_ERROR, frameOctets(PUSH_PROMISE, END_HEADERS, 1, Buffer.concat([uint32(2), Buffer.from('8284', 'hex')]))],
    ['an answer to what was not asked', PROTOCOL_ERROR, frameOctets(HEADERS, END_HEADERS | END_STREAM, 3, Buffer.from('88', 'hex'))],
    ['a stream of its own', PROTOCOL_ERROR, frameOctets(HEADERS, END_HEADERS | END_STREAM, 2, Buffer.from('88', 'hex'))],
    ['a header section that is none', COMPRESSION_ERROR, frameOctets(HEADERS, END_HEADERS, 1, Buffer.from('80', 'hex'))],
    ['DATA without a stream', PROTOCOL_ERROR, frameOctets(DATA, 0, 0, Buffer.from('x'))],
    ['a window too large', FLOW_CONTROL_ERROR, frameOctets(WINDOW_UPDATE, 0, 0, uint32(0x7fff_ffff))],
  ])('at %s', async (_, code, frames) => {
    const { client, endpoint, proxy } = await line((peer) => peer.stream.write(frames));
    client.headers(1, GET);
    expect((await client.whole(1)).ended).toBe(true);
    expect(reason(client, 1)).toBe('upstream_reset');
    expect(await endpoint.peers[0]?.goAway()).toBe(code);
    client.headers(3, GET);
    expect(await client.status(3)).toBe('204');
    expect(proxy.dialled).toBe(2);
  });
});

describe('one exchange ends, the connection goes on', () => {
  it.each([
    ['no :status', [['x-a', 'b']]],
    ['two of them', [OK, OK]],
    ['a :status that is none', [[':status', '99']]],
    ['101', [[':status', '101']]],
    ['a pseudo-header field of requests', [OK, [':path', '/']]],
    ['a :status after other fields', [['x-a', 'b'], OK]],
    ['a name in capitals', [OK, ['X-Upper', 'a']]],
    ['a name that is none', [OK, ['x y', 'a']]],
    ['an empty name', [OK, ['', 'a']]],
    ['a line break in a value', [OK, ['x-a', 'b\r\nset-cookie: c']]],
    ['a NUL in a value', [OK, ['x-a', 'b\0']]],
    ['a space before a value', [OK, ['x-a', ' b']]],
    ['Connection', [OK, ['connection', 'close']]],
    ['Transfer-Encoding', [OK, ['transfer-encoding', 'chunked']]],
    ['two lengths', [OK, ['content-length', '1'], ['content-length', '1']]],
    ['a length that is none', [OK, ['content-length', '+1']]],
  ] satisfies [string, Field[]][])('at a head with %s', async (_, fields) => {
    const { client, endpoint, proxy } = await line((peer) => {
      peer.headers(1, fields);
    });
    client.headers(1, GET);
    expect(await client.status(1)).toBe('502');
    expect(reason(client, 1)).toBe('upstream_protocol_error');
    expect(await endpoint.peers[0]?.reset(1)).toBe(PROTOCOL_ERROR);
    client.headers(3, GET);
    expect(await client.status(3)).toBe('204');
    expect(proxy.dialled).toBe(1);
  });

  it('at a head larger than allowed', async () => {
    const { client } = await line((peer) => {
      const entry = Buffer.concat([Buffer.from('884001617fd11e', 'hex'), Buffer.alloc(4048, 0x78), Buffer.alloc(8000, 0xbe)]);
      peer.send(HEADERS, END_HEADERS, 1, entry);
    });
    client.headers(1, GET);
    expect(await client.status(1)).toBe('502');
    expect(reason(client, 1)).toBe('upstream_head_too_large');
    client.headers(3, GET);
    expect(await client.status(3)).toBe('204');
  });

  it.each([
    ['more content than announced', (peer: RawHttp2) => {
      peer.headers(1, [OK, ['content-length', '1']], 0);
      peer.data(1, 'xx', END_STREAM);
    }],
    ['less content than announced', (peer: RawHttp2) => {
      peer.headers(1, [OK, ['content-length', '3']], 0);
      peer.data(1, 'xx', END_STREAM);
    }],
    ['trailers that end nothing', (peer: RawHttp2) => {
      peer.headers(1, [OK], 0);
      peer.headers(1, [['x-a', 'b']], 0);
    }],
    ['trailers with a line break', (peer: RawHttp2) => {
      peer.headers(1, [OK], 0);
      peer.headers(1, [['x-a', 'b\nc']]);
    }],
  ])('at %s, and its answer is cut off', async (_, hostile) => {
    const { client, endpoint, proxy } = await line(hostile);
    client.headers(1, GET);
    expect(await client.reset(1)).toBe(2);
    expect(client.message(1).ended).toBe(false);
    expect(await endpoint.peers[0]?.reset(1)).toBe(PROTOCOL_ERROR);
    client.headers(3, GET);
    expect(await client.status(3)).toBe('204');
    expect(proxy.dialled).toBe(1);
  });

  it('at content before its head', async () => {
    const { client, endpoint } = await line((peer) => {
      peer.data(1, 'body');
    });
    client.headers(1, GET);
    expect(await client.status(1)).toBe('502');
    expect(await endpoint.peers[0]?.reset(1)).toBe(PROTOCOL_ERROR);
  });

  it('before it is begun, when the endpoint says it will not be looked at', async () => {
    const { client, proxy } = await line((peer) => {
      peer.send(GOAWAY, 0, 0, Buffer.concat([uint32(0), uint32(0)]));
    });
    client.headers(1, GET);
    expect(await client.status(1)).toBe('503');
    expect(reason(client, 1)).toBe('upstream_refused');
    client.headers(3, GET);
    expect(await client.status(3)).toBe('204');
    expect(proxy.dialled).toBe(2);
  });
});

it('an answer after its end ends the connection, and harms no other exchange', async () => {
  const { client, endpoint } = await line((peer) => {
    peer.headers(1, [[':status', '204']]);
    peer.headers(1, [[':status', '200']]);
  });
  client.headers(1, GET);
  expect(await client.status(1)).toBe('204');
  expect(await endpoint.peers[0]?.goAway()).toBe(STREAM_CLOSED);
  client.headers(3, GET);
  expect(await client.status(3)).toBe('204');
});
