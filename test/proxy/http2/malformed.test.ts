/** Requests that RFC 9113 §8 calls malformed: each is reset with PROTOCOL_ERROR, reaches no endpoint, and costs no other request. */
import { afterEach, describe, expect, it } from 'vitest';
import { PROTOCOL_ERROR } from '../../../src/proxy/http2/protocol.ts';
import { proxyTo } from '../codec-harness.ts';
import { RawEndpoint } from '../http1/wire.ts';
import type { Field } from './hpack/block.ts';
import { GET, POST, RawHttp2 } from './raw.ts';

const closing: { close(): void }[] = [];
afterEach(() => {
  for (const one of closing.splice(0).reverse()) one.close();
});

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

interface Line {
  readonly client: RawHttp2;
  /** Everything that reached the endpoint, whatever connection it came on. */
  readonly received: () => string;
}

/** HTTP/2 on our side, HTTP/1.1 behind. Each head that arrives is answered, and each chunked body is waited for. */
async function line(): Promise<Line> {
  const endpoint = await RawEndpoint.listen((socket, soFar) => {
    if (soFar.endsWith('\r\n\r\n')) socket.write(OK);
  });
  const proxy = await proxyTo(endpoint.port, { downstream: 'http2', upstream: 'http1' });
  const client = RawHttp2.connect(proxy.port);
  closing.push(endpoint, proxy, client);
  return { client, received: () => endpoint.received.join('') };
}

/** GET without one of its pseudo-header fields. */
function without(name: string): Field[] {
  return GET.filter(([field]) => field !== name);
}

/** GET with another value for one of them. */
function instead(name: string, value: string): Field[] {
  return GET.map(([field, old]) => [field, field === name ? value : old]);
}

const MALFORMED: Readonly<Record<string, readonly Field[]>> = {
  // §8.2.1
  'a name in capitals': [...GET, ['X-Upper', 'a']],
  'one capital in a name': [...GET, ['x-uppeR', 'a']],
  'an empty name': [...GET, ['', 'a']],
  'a space in a name': [...GET, ['x a', 'a']],
  'a colon in a name': [...GET, ['x:a', 'a']],
  'a line break in a name': [...GET, ['x\r\ny', 'a']],
  'an octet above 127 in a name': [...GET, ['x\u00e9', 'a']],
  'DEL in a name': [...GET, ['x\x7f', 'a']],
  'CR in a value': [...GET, ['x-a', 'a\rb']],
  'LF in a value': [...GET, ['x-a', 'a\nb']],
  'NUL in a value': [...GET, ['x-a', 'a\0b']],
  'DEL in a value': [...GET, ['x-a', 'a\x7fb']],
  'a space before a value': [...GET, ['x-a', ' a']],
  'a tab after a value': [...GET, ['x-a', 'a\t']],
  'a value that is a space': [...GET, ['x-a', ' ']],
  // §8.2.2
  Connection: [...GET, ['connection', 'close']],
  'Connection naming a field': [...GET, ['connection', 'x-a'], ['x-a', 'b']],
  'Keep-Alive': [...GET, ['keep-alive', 'timeout=5']],
  'Proxy-Connection': [...GET, ['proxy-connection', 'keep-alive']],
  'Transfer-Encoding': [...POST, ['transfer-encoding', 'chunked']],
  'Transfer-Encoding: identity': [...POST, ['transfer-encoding', 'identity']],
  Upgrade: [...GET, ['upgrade', 'websocket']],
  'TE other than trailers': [...GET, ['te', 'gzip']],
  'TE with trailers among others': [...GET, ['te', 'trailers, deflate']],
  // §8.3
  'no :method': without(':method'),
  'no :scheme': without(':scheme'),
  'no :path': without(':path'),
  'no pseudo-header field at all': [['x-a', 'b']],
  'no field at all': [],
  'two :method': [[':method', 'GET'], ...GET],
  'two :scheme': [[':scheme', 'http'], ...GET],
  'two :path': [[':path', '/'], ...GET],
  'two :authority': [[':authority', 'a.test'], ...GET],
  'a pseudo-header field after others': [...without(':path'), ['x-a', 'b'], [':path', '/']],
  'an unknown pseudo-header field': [...GET, [':unknown', 'a']],
  'a pseudo-header field of answers': [...GET, [':status', '200']],
  ':protocol, without extended CONNECT': [...GET, [':protocol', 'websocket']],
  // §8.3.1
  'an empty :method': instead(':method', ''),
  'a space in :method': instead(':method', 'GET /hidden HTTP/1.1\r\nx: y'),
  'an empty :path': instead(':path', ''),
  'a :path that does not begin with a slash': instead(':path', 'hidden'),
  'a :path that is a URL': instead(':path', 'http://b.test/'),
  'an asterisk for GET': instead(':path', '*'),
  'a space in :path': instead(':path', '/ HTTP/1.1\r\nHost: b.test\r\n\r\nGET /hidden'),
  'a line break in :path': instead(':path', '/\r\nx-a: b'),
  'NUL in :path': instead(':path', '/\0'),
  'a fragment in :path': instead(':path', '/#a'),
  'an empty :scheme': instead(':scheme', ''),
  'user information in :authority': instead(':authority', 'user@a.test'),
  'a path in :authority': instead(':authority', 'a.test/hidden'),
  'a line break in :authority': instead(':authority', 'a.test\r\nx-a: b'),
  'a space in :authority': instead(':authority', 'a.test b.test'),
  'a list in :authority': instead(':authority', 'a.test:80:81'),
  'Host that is not :authority': [...GET, ['host', 'b.test']],
  'Host that is not :authority, with another port': [...GET, ['host', 'a.test:81']],
  'two Host fields': [...without(':authority'), ['host', 'a.test'], ['host', 'b.test']],
  'Host that is none': [...without(':authority'), ['host', 'a.test/hidden']],
  // §8.5
  'CONNECT with :path': [[':method', 'CONNECT'], [':authority', 'a.test:80'], [':path', '/']],
  'CONNECT with :scheme': [[':method', 'CONNECT'], [':authority', 'a.test:80'], [':scheme', 'http']],
  'CONNECT without :authority': [[':method', 'CONNECT']],
  'CONNECT without a port': [[':method', 'CONNECT'], [':authority', 'a.test']],
  // §8.1.1
  'a length and no body': [...POST, ['content-length', '1']],
  'two lengths': [...POST, ['content-length', '0'], ['content-length', '0']],
  'a list of lengths': [...POST, ['content-length', '0, 0']],
  'a signed length': [...POST, ['content-length', '+0']],
  'a length in hexadecimal': [...POST, ['content-length', '0x0']],
  'an empty length': [...POST, ['content-length', '']],
  'a length beyond every number': [...POST, ['content-length', '99999999999999999999']],
};

describe('a request is reset', () => {
  it.each(Object.entries(MALFORMED))('for %s', async (_, fields) => {
    const { client, received } = await line();
    client.headers(1, fields);
    expect(await client.reset(1)).toBe(PROTOCOL_ERROR);
    client.headers(3, GET);
    expect(await client.status(3)).toBe('200');
    expect(received()).toBe('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
  });

  it.each([
    ['a body longer than announced', (client: RawHttp2) => {
      client.headers(1, [...POST, ['content-length', '4']], 0);
      client.data(1, 'hello', 1);
    }],
    ['a body shorter than announced', (client: RawHttp2) => {
      client.headers(1, [...POST, ['content-length', '6']], 0);
      client.data(1, 'hello', 1);
    }],
    ['a body shorter than announced, with trailers', (client: RawHttp2) => {
      client.headers(1, [...POST, ['content-length', '6']], 0);
      client.data(1, 'hello');
      client.headers(1, [['x-a', 'b']]);
    }],
    ['a pseudo-header field in trailers', (client: RawHttp2) => {
      client.headers(1, POST, 0);
      client.headers(1, [[':path', '/hidden']]);
    }],
    ['a line break in trailers', (client: RawHttp2) => {
      client.headers(1, POST, 0);
      client.headers(1, [['x-a', 'b\r\n\r\nGET /hidden HTTP/1.1']]);
    }],
    ['a name in capitals in trailers', (client: RawHttp2) => {
      client.headers(1, POST, 0);
      client.headers(1, [['X-A', 'b']]);
    }],
    ['Transfer-Encoding in trailers', (client: RawHttp2) => {
      client.headers(1, POST, 0);
      client.headers(1, [['transfer-encoding', 'chunked']]);
    }],
    ['trailers that end nothing', (client: RawHttp2) => {
      client.headers(1, POST, 0);
      client.headers(1, [['x-a', 'b']], 0);
    }],
  ])('for %s, and the endpoint never takes it for a whole one', async (_, send) => {
    const { client, received } = await line();
    send(client);
    expect(await client.reset(1)).toBe(PROTOCOL_ERROR);
    client.headers(3, GET);
    expect(await client.status(3)).toBe('200');
    expect(received()).not.toContain('hidden');
    expect(received()).not.toContain('0\r\n\r\n');
  });
});

describe('an HTTP/1.1 endpoint gets', () => {
  /** What reaches it of one request. */
  async function forwarded(fields: readonly Field[], body?: readonly string[], trailers?: readonly Field[]): Promise<string> {
    const { client, received } = await line();
    client.headers(1, fields, body === undefined && trailers === undefined ? 1 : 0);
    for (const [i, part] of (body ?? []).entries()) client.data(1, part, trailers === undefined && i === (body ?? []).length - 1 ? 1 : 0);
    if (trailers !== undefined) client.headers(1, trailers);
    await client.whole(1);
    return received();
  }

  it('one Host, from :authority', async () => {
    expect(await forwarded([...GET, ['host', 'A.test']])).toBe('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
  });

  it('one Host, from Host when there is no :authority', async () => {
    expect(await forwarded([...without(':authority'), ['host', 'b.test']])).toBe('GET / HTTP/1.1\r\nHost: b.test\r\n\r\n');
  });

  it('an empty Host when there is neither', async () => {
    expect(await forwarded(without(':authority'))).toBe('GET / HTTP/1.1\r\nHost: \r\n\r\n');
  });

  it('nothing of a :scheme', async () => {
    expect(await forwarded(instead(':scheme', 'http://b.test/hidden?'))).not.toContain('hidden');
  });

  it('one Cookie, whatever crumbs it came in', async () => {
    expect(await forwarded([...GET, ['cookie', 'a=b'], ['x-a', 'b'], ['cookie', 'c=d']])).toBe('GET / HTTP/1.1\r\nHost: a.test\r\nx-a: b\r\ncookie: a=b; c=d\r\n\r\n');
  });

  it('chunks that we make, whatever the body looks like', async () => {
    const hidden = '0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n';
    expect(await forwarded(POST, [hidden])).toBe(`POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`);
  });

  it('a body of the length that was announced', async () => {
    expect(await forwarded([...POST, ['content-length', '4']], ['\r\n', '\r\n'])).toBe('POST / HTTP/1.1\r\nHost: a.test\r\ncontent-length: 4\r\n\r\n\r\n\r\n');
  });

  it('trailers without those that would change the message', async () => {
    const text = await forwarded([...POST, ['te', 'trailers']], ['x'], [['x-sum', '1'], ['content-length', '100'], ['host', 'b.test'], ['authorization', 'a']]);
    expect(text).toBe('POST / HTTP/1.1\r\nHost: a.test\r\nte: trailers\r\nTransfer-Encoding: chunked\r\nConnection: TE\r\n\r\n1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n');
  });
});
