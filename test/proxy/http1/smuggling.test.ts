/**
 * What an attacker sends to have one message read as two. The endpoint keeps every byte it gets: whatever the trick, it must
 * never hold a second request that was not a request of its own to us, and never the word that only the hidden one contains.
 */
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { proxyTo } from '../codec-harness.ts';
import { readVectors } from './vectors.ts';
import { RawClient, RawEndpoint } from './wire.ts';

const closing: { close(): void }[] = [];
afterEach(() => {
  for (const one of closing.splice(0).reverse()) one.close();
});

const PROBE = 'GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n';
const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';

/**
 * Everything that arrived at an endpoint after a client sent `first` and then, once the endpoint has seen something of it,
 * `then`. An honest request follows on a connection of its own, so that nothing can still be on its way when this returns.
 */
async function forwarded(first: Buffer, then?: Buffer): Promise<string> {
  const answered = new Map<Socket, number>();
  const endpoint = await RawEndpoint.listen((socket, soFar) => {
    // As careless as a server can be: whatever looks like the end of a head is answered.
    const heads = then === undefined || soFar.includes(PROBE) ? soFar.split('\r\n\r\n').length - 1 : 0;
    for (let i = answered.get(socket) ?? 0; i < heads; i += 1) socket.write(ANSWER);
    answered.set(socket, heads);
  });
  closing.push(endpoint);
  const proxy = await proxyTo(endpoint.port);
  closing.push(proxy);
  const client = new RawClient(proxy.port);
  closing.push(client);
  client.socket.write(first);
  if (then !== undefined) {
    while (endpoint.received.join('') === '') await new Promise((resolve) => setImmediate(resolve));
    client.socket.write(then);
  }
  client.socket.end();
  await client.all();
  const probe = new RawClient(proxy.port);
  closing.push(probe);
  probe.send(PROBE);
  await probe.until((text) => text === ANSWER);
  return endpoint.received.join('').replace(PROBE, '');
}

const HIDDEN = 'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n';
const POST = 'POST / HTTP/1.1\r\nHost: a\r\n';
const CHUNKED_HIDDEN = `0\r\n\r\n${HIDDEN}`;

/** Each of these must be refused as a whole. */
const TRICKS: Readonly<Record<string, string>> = {
  'CL.TE': `${POST}Content-Length: ${CHUNKED_HIDDEN.length}\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNKED_HIDDEN}`,
  'TE.CL': `${POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n${HIDDEN.length.toString(16)}\r\n${HIDDEN}\r\n0\r\n\r\n`,
  'CL.CL, different': `${POST}Content-Length: 0\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
  'CL.CL, equal': `${POST}Content-Length: ${HIDDEN.length}\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
  'CL list': `${POST}Content-Length: 0, ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
  'CL with sign': `${POST}Content-Length: +${HIDDEN.length}\r\n\r\n${HIDDEN}`,
  'CL negative': `${POST}Content-Length: -1\r\n\r\n${HIDDEN}`,
  'CL hexadecimal': `${POST}Content-Length: 0x20\r\n\r\n${HIDDEN}`,
  'CL beyond numbers': `${POST}Content-Length: 18446744073709551616\r\n\r\n${HIDDEN}`,
  'CL with space inside': `${POST}Content-Length: 3 3\r\n\r\n${HIDDEN}`,
  'space before colon': `${POST}Content-Length : ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
  'tab before colon': `${POST}Transfer-Encoding\t: chunked\r\n\r\n${CHUNKED_HIDDEN}`,
  'TE identity': `${POST}Transfer-Encoding: identity\r\n\r\n${HIDDEN}`,
  'TE xchunked': `${POST}Transfer-Encoding: xchunked\r\n\r\n${CHUNKED_HIDDEN}`,
  'TE chunked twice': `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNKED_HIDDEN}`,
  'TE chunked, identity': `${POST}Transfer-Encoding: chunked, identity\r\n\r\n${CHUNKED_HIDDEN}`,
  'TE gzip, chunked': `${POST}Transfer-Encoding: gzip, chunked\r\n\r\n${CHUNKED_HIDDEN}`,
  'TE quoted': `${POST}Transfer-Encoding: "chunked"\r\n\r\n${CHUNKED_HIDDEN}`,
  'TE empty': `${POST}Transfer-Encoding:\r\n\r\n${CHUNKED_HIDDEN}`,
  'TE vertical tab': `${POST}Transfer-Encoding: \x0bchunked\r\n\r\n${CHUNKED_HIDDEN}`,
  'TE in HTTP/1.0': `POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNKED_HIDDEN}`,
  'folded TE': `${POST}X: y\r\n Transfer-Encoding: chunked\r\n\r\n${CHUNKED_HIDDEN}`,
  'folded value': `${POST}Transfer-Encoding:\r\n chunked\r\n\r\n${CHUNKED_HIDDEN}`,
  'bare LF head': `POST / HTTP/1.1\nHost: a\nContent-Length: ${HIDDEN.length}\n\n${HIDDEN}`,
  'bare LF in a head': `${POST}X: y\nTransfer-Encoding: chunked\r\n\r\n${CHUNKED_HIDDEN}`,
  'bare CR in a value': `${POST}X: y\rTransfer-Encoding: chunked\r\n\r\n${CHUNKED_HIDDEN}`,
  'NUL in a value': `${POST}X: y\0\r\n\r\n${HIDDEN}`,
  'NUL in a name': `${POST}X\0: y\r\n\r\n${HIDDEN}`,
  'name without colon': `${POST}Transfer-Encoding\r\n\r\n${HIDDEN}`,
  'empty name': `${POST}: chunked\r\n\r\n${HIDDEN}`,
  'space before the first field': `POST / HTTP/1.1\r\n Host: a\r\n\r\n${HIDDEN}`,
  'two Hosts': `POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n${HIDDEN}`,
  'Host with a path': `POST / HTTP/1.1\r\nHost: a/b\r\n\r\n${HIDDEN}`,
  'Host with user information': `POST / HTTP/1.1\r\nHost: x@a\r\n\r\n${HIDDEN}`,
  'target with a space': `POST / x HTTP/1.1\r\nHost: a\r\n\r\n${HIDDEN}`,
  'target with tab': `POST /\tx HTTP/1.1\r\nHost: a\r\n\r\n${HIDDEN}`,
  'target with a fragment': `POST /#x HTTP/1.1\r\nHost: a\r\n\r\n${HIDDEN}`,
  'two spaces': `POST  / HTTP/1.1\r\nHost: a\r\n\r\n${HIDDEN}`,
  'version 1.1 with more': `POST / HTTP/1.1x\r\nHost: a\r\n\r\n${HIDDEN}`,
  'version 2.0': `POST / HTTP/2.0\r\nHost: a\r\n\r\n${HIDDEN}`,
  'no version': `POST /\r\nHost: a\r\n\r\n${HIDDEN}`,
  'CONNECT with a body': `CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
};

/** The head of these is fine, the body is not: it must never look complete to the endpoint, nor show what hides in it. */
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`;
const BROKEN_CHUNKS: Readonly<Record<string, string>> = {
  'size with sign': `+0\r\n\r\n${HIDDEN}`,
  'size with 0x': `0x0\r\n\r\n${HIDDEN}`,
  'size with spaces before': ` 0\r\n\r\n${HIDDEN}`,
  'size with spaces after': `0 \r\n\r\n${HIDDEN}`,
  'size missing': `\r\n${HIDDEN}`,
  'size beyond numbers': `10000000000000000\r\n${HIDDEN}`,
  'size line with bare LF': `0\n\r\n${HIDDEN}`,
  'size line with bare CR': `0\r\r\n${HIDDEN}`,
  'extension with bare LF': `0;a\n\r\n${HIDDEN}`,
  'extension with a control': `0;a=\x01\r\n\r\n${HIDDEN}`,
  'extension without a name': `0;\r\n\r\n${HIDDEN}`,
  'extension with an open quote': `0;a="\r\n\r\n${HIDDEN}`,
  'data longer than its size': `1\r\nab\r\n0\r\n\r\n${HIDDEN}`,
  'data ended by bare LF': `1\r\na\n0\r\n\r\n${HIDDEN}`,
  'trailer with bare LF': `0\r\nX: y\n\r\n${HIDDEN}`,
  'trailer folded': `0\r\nX: y\r\n z\r\n\r\n${HIDDEN}`,
  'trailer with a bad name': `0\r\nX y: z\r\n\r\n${HIDDEN}`,
};

describe('tricks', () => {
  it.each(Object.entries(TRICKS))('%s: nothing is forwarded', async (_name, input) => {
    expect(await forwarded(Buffer.from(input, 'latin1'))).toBe('');
  });

  it.each(Object.entries(BROKEN_CHUNKS))('chunks, %s: the request never ends', async (_name, body) => {
    const received = await forwarded(Buffer.from(CHUNKED), Buffer.from(body, 'latin1'));
    expect(received.startsWith(CHUNKED)).toBe(true);
    expect(received).not.toContain('hidden');
    expect(received).not.toContain('0\r\n\r\n');
  });

  it('a body is a body, whatever stands in it', async () => {
    const input = `${POST}Content-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`;
    expect(await forwarded(Buffer.from(input))).toBe(input);
  });

  it('Connection cannot take away the length or the host', async () => {
    const input = `${POST}Connection: Content-Length, Host\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`;
    expect(await forwarded(Buffer.from(input))).toBe(`${POST}Content-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`);
  });

  it('h2c is not passed on', async () => {
    const input = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n';
    expect(await forwarded(Buffer.from(input))).toBe('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  });

  it('the host of a URL and Host say the same to the endpoint', async () => {
    const received = await forwarded(Buffer.from('GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n'));
    expect(received).toBe('GET /x HTTP/1.1\r\nHost: b\r\n\r\n');
  });
});

describe('an endpoint that sends too much', () => {
  it.each([
    ['after a HEAD', 'HEAD / HTTP/1.1\r\nHost: a\r\n\r\n', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil'],
    ['after the announced length', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil'],
    ['after a 204', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n', 'HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil'],
  ])('%s does not answer the next request', async (_name, request, answer) => {
    const endpoint = await RawEndpoint.listen((socket, _soFar, connection) => {
      socket.write(connection === 0 ? answer : 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood');
    });
    closing.push(endpoint);
    const proxy = await proxyTo(endpoint.port);
    closing.push(proxy);
    const client = new RawClient(proxy.port);
    closing.push(client);
    client.send(`${request}GET /second HTTP/1.1\r\nHost: a\r\n\r\n`);
    expect(await client.until((text) => text.includes('good'))).not.toContain('evil');
    expect(proxy.dialled).toBe(2);
  });
});

describe('llhttp vectors that expect an error in a head', () => {
  const vectors = readVectors('request').filter((vector) => vector.mode === 'request' && vector.error !== undefined && vector.messages.every((message) => !message.headComplete));
  /** The one difference that would be a request here: any token is a method. */
  const passed = ['request/invalid.md: HTTP protocol and ANNOUNCE method'];

  it.each(vectors.filter((vector) => !passed.includes(vector.name)).map((vector) => [vector.name, vector.input] as const))('%s: nothing is forwarded', async (_name, input) => {
    expect(await forwarded(input)).toBe('');
  });
});
