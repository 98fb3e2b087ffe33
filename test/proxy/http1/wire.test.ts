import { createServer, request as httpRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { FakeClock } from '../../../src/core/clock.ts';
import { DOWNSTREAM_IDLE_TIMEOUT_MS, HEAD_BYTES_MAX, HEAD_TIMEOUT_MS } from '../../../src/core/limits.ts';
import { proxyTo } from '../codec-harness.ts';
import type { Proxy } from '../codec-harness.ts';
import { RawClient, RawEndpoint } from './wire.ts';

const closing: { close(): void }[] = [];
afterEach(() => {
  for (const one of closing.splice(0).reverse()) one.close();
});

interface Line {
  client: RawClient;
  endpoint: RawEndpoint;
  proxy: Proxy;
}

async function line(onData: (socket: Socket, soFar: string, connection: number) => void, clock?: FakeClock): Promise<Line> {
  const endpoint = await RawEndpoint.listen(onData);
  closing.push(endpoint);
  const proxy = await proxyTo(endpoint.port, clock === undefined ? {} : { clock });
  closing.push(proxy);
  const client = new RawClient(proxy.port);
  closing.push(client);
  return { client, endpoint, proxy };
}

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

/** Answers each complete bodiless request on a connection with `answer`. */
function answering(answer: string): (socket: Socket, soFar: string) => void {
  const answered = new Map<Socket, number>();
  return (socket, soFar) => {
    const heads = soFar.split('\r\n\r\n').length - 1;
    for (let i = answered.get(socket) ?? 0; i < heads; i += 1) socket.write(answer, 'latin1');
    answered.set(socket, heads);
  };
}

describe('messages pass', () => {
  it('as they were written: case, order and odd spacing of the fields', async () => {
    const { client, endpoint } = await line(answering('HTTP/1.1 200 Fine\r\nX-oDD:  v \r\ncontent-LENGTH: 2\r\n\r\nok'));
    client.send('GET /a?b HTTP/1.1\r\nhOST: a\r\nx-B:2\r\nX-a: 1\r\n\r\n');
    expect(await client.until((text) => text.endsWith('ok'))).toBe('HTTP/1.1 200 Fine\r\nX-oDD:  v \r\ncontent-LENGTH: 2\r\n\r\nok');
    expect(endpoint.received[0]).toBe('GET /a?b HTTP/1.1\r\nhOST: a\r\nx-B:2\r\nX-a: 1\r\n\r\n');
  });

  it('without what concerns one connection only', async () => {
    const { client, endpoint } = await line(answering('HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok'));
    client.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Drop\r\nX-Drop: 1\r\nProxy-Connection: x\r\nX-Keep: 2\r\n\r\n');
    expect(await client.until((text) => text.endsWith('ok'))).toBe('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    expect(endpoint.received[0]).toBe('GET / HTTP/1.1\r\nHost: a\r\nX-Keep: 2\r\n\r\n');
  });

  it('one after the other when pipelined, on one upstream connection', async () => {
    const { client, endpoint, proxy } = await line(answering(OK));
    client.send(GET.repeat(50));
    await client.until((text) => text === OK.repeat(50));
    expect(endpoint.received).toEqual([GET.repeat(50)]);
    expect(proxy.ended.length).toBe(50);
  });

  it('chunked, with trailers both ways when the client wants them', async () => {
    const { client, endpoint } = await line((socket, soFar) => {
      if (soFar.endsWith('X-Sum: 1\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nX-End: 1\r\nContent-Length: 9\r\n\r\n');
    });
    client.send('POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n');
    expect(await client.until((text) => text.endsWith('\r\n\r\n') && text.includes('X-End'))).toBe('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-End: 1\r\n\r\n');
    expect(endpoint.received[0]).toBe('POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nConnection: TE\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n');
  });

  it('to an HTTP/1.0 client without chunks, and ends with the connection', async () => {
    const { client } = await line(answering('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n'));
    client.send('GET / HTTP/1.0\r\n\r\n');
    expect(await client.all()).toBe('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok');
  });

  it('to an HTTP/1.0 client that keeps its connection', async () => {
    const { client } = await line(answering(OK));
    client.send('GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n');
    const first = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok';
    await client.until((text) => text === first);
    client.send('GET / HTTP/1.0\r\n\r\n');
    expect(await client.all()).toBe(`${first}HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok`);
  });

  it('without a body where there is none: HEAD, 204, 304', async () => {
    const answers = ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', 'HTTP/1.1 204 No Content\r\n\r\n', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n', OK];
    const { client, proxy } = await line((socket, soFar) => void socket.write(answers[soFar.split('\r\n\r\n').length - 2] ?? ''));
    client.send(`HEAD / HTTP/1.1\r\nHost: a\r\n\r\n${GET.repeat(3)}`);
    expect(await client.until((text) => text.endsWith('ok'))).toBe(answers.join(''));
    expect(proxy.dialled).toBe(1);
  });

  it('until the endpoint closes', async () => {
    const { client, proxy } = await line((socket) => {
      socket.end('HTTP/1.1 200 OK\r\n\r\nuntil close');
    });
    client.send(GET + GET);
    await client.until((text) => text.split('0\r\n\r\n').length === 3);
    expect(client.received.split('\r\n\r\nb\r\nuntil close\r\n0\r\n\r\n').length).toBe(3);
    expect(proxy.dialled).toBe(2);
  });

  it('to a client that has half-closed', async () => {
    const { client } = await line((socket) => setImmediate(() => socket.write(OK)));
    client.socket.end(GET);
    expect(await client.all()).toBe(OK);
  });

  it('all of them, when a client sends several and half-closes', async () => {
    const { client } = await line(answering(OK));
    client.socket.end(GET + GET + GET);
    expect(await client.all()).toBe(OK + OK + OK);
  });
});

describe('interim answers and tunnels', () => {
  it('passes on 100 Continue, then the body', async () => {
    const { client } = await line((socket, soFar) => {
      if (soFar.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 100 Continue\r\n\r\n');
      if (soFar.endsWith('body')) socket.write(OK);
    });
    client.send('PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n');
    await client.until((text) => text === 'HTTP/1.1 100 Continue\r\n\r\n');
    client.send('body');
    await client.until((text) => text.endsWith(OK));
  });

  it('closes after a final answer instead of 100: the body may or may not follow', async () => {
    const { client, endpoint } = await line(answering('HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n'));
    client.send('PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 27\r\n\r\n');
    await client.until((text) => text.includes('413'));
    client.send(GET);
    expect(await client.all()).toBe('HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    expect(endpoint.received.join('')).not.toContain('GET');
  });

  it('switches to raw bytes after 101, early bytes included, and keeps half-closes', async () => {
    let switched = false;
    const { client, endpoint, proxy } = await line((socket, soFar) => {
      if (!switched) socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst,');
      switched = true;
      if (soFar.endsWith('question')) socket.end('answer');
    });
    client.send('GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\nearly');
    await client.until((text) => text.includes('\r\n\r\n'));
    client.socket.end('question');
    expect(await client.all()).toMatch(/^HTTP\/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfirst,answer$/);
    expect(endpoint.received[0]).toBe('GET /ws HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearlyquestion');
    while (proxy.open > 0) await new Promise((resolve) => setImmediate(resolve));
    expect(proxy.ended.map((facts) => [facts.status, facts.flags])).toEqual([[101, '']]);
  });

  it('delivers all of a tunnel whose ends have both closed', async () => {
    const bulk = 'b'.repeat(8 * 1024 * 1024);
    let switched = false;
    const { client, endpoint } = await line((socket) => {
      if (switched) return;
      switched = true;
      socket.end('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n');
    });
    client.send('GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n');
    await client.until((text) => text.includes('101'));
    client.socket.end(bulk);
    await new Promise((resolve) => endpoint.sockets[0]?.once('end', resolve));
    expect(endpoint.received[0]?.endsWith(`\r\n\r\n${bulk}`)).toBe(true);
  });

  it('goes on when the endpoint ignores the Upgrade', async () => {
    const { client, endpoint } = await line(answering(OK));
    client.send('GET / HTTP/1.1\r\nHost: a\r\nUpgrade: foo/2\r\nConnection: Upgrade\r\n\r\n' + GET);
    await client.until((text) => text === OK + OK);
    expect(endpoint.received).toEqual([`GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: foo/2\r\n\r\n${GET}`]);
  });

  it('refuses a 101 that nobody asked for', async () => {
    const { client } = await line(answering('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n'));
    client.send(GET);
    await client.until((text) => text.includes('x-orlop-reason: upstream_protocol_error'));
  });
});

describe('failures', () => {
  it('cuts the connection when the endpoint breaks off, so that the answer cannot pass for complete', async () => {
    const { client, proxy } = await line((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf', () => socket.destroy());
    });
    client.send(GET);
    await client.all();
    expect(client.received.length).toBeLessThan(100 + 40);
    while (proxy.ended.length === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(proxy.ended[0]?.flags).toBe('UC');
  });

  it('says so when the endpoint closes before it answers', async () => {
    const { client } = await line((socket) => socket.destroy());
    client.send(GET);
    expect(await client.until((text) => text.endsWith('\n'))).toMatch(/^HTTP\/1.1 503 .*x-orlop-reason: upstream_reset.*\(flag UC/s);
  });

  it('tells the upstream when the client goes away', async () => {
    const { client, endpoint, proxy } = await line(() => undefined);
    client.send(GET);
    while (endpoint.received[0] !== GET) await new Promise((resolve) => setImmediate(resolve));
    client.socket.resetAndDestroy();
    await new Promise((resolve) => endpoint.sockets[0]?.once('close', resolve));
    expect(proxy.ended[0]?.flags).toBe('DC');
  });

  it('names the limit, and the largest field, when a head is too large', async () => {
    const { client, proxy } = await line(answering(OK));
    client.send(`GET / HTTP/1.1\r\nHost: a\r\nX-Small: 1\r\nCookie: ${'c'.repeat(HEAD_BYTES_MAX)}\r\n\r\n`);
    const answer = await client.all();
    expect(answer).toMatch(/^HTTP\/1.1 431 /);
    expect(answer).toContain(String(HEAD_BYTES_MAX));
    expect(answer).toContain('Cookie');
    expect(proxy.ended.map((facts) => [facts.status, facts.flags])).toEqual([[431, 'DPE']]);
  });

  it('counts a request that is refused, once', async () => {
    const { client, proxy } = await line(answering(OK));
    client.send('GET / HTTP/1.1\r\n\r\n');
    expect(await client.all()).toMatch(/^HTTP\/1.1 400 .*Connection: close/s);
    expect(proxy.ended.map((facts) => [facts.status, facts.flags])).toEqual([[400, 'DPE']]);
  });

  it('answers 400 to a broken body, and the endpoint never sees the request end', async () => {
    const { client, endpoint, proxy } = await line(() => undefined);
    client.send('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX');
    expect(await client.all()).toMatch(/^HTTP\/1.1 400 /);
    expect(endpoint.received.join('')).not.toContain('\r\n0\r\n');
    expect(proxy.ended.length).toBe(1);
  });

  it.each([
    ['slow head', 'GET / HT', HEAD_TIMEOUT_MS, /^HTTP\/1.1 408 /],
    ['silent newcomer', '', HEAD_TIMEOUT_MS, /^$/],
    ['idle connection', GET, DOWNSTREAM_IDLE_TIMEOUT_MS, /ok$/],
  ])('ends a %s in time', async (_name, text, limitMs, answer) => {
    const clock = new FakeClock();
    const { client, proxy } = await line(answering(OK), clock);
    client.send(text);
    while (proxy.open === 0) await new Promise((resolve) => setImmediate(resolve));
    if (text === GET) await client.until((received) => received.endsWith('ok'));
    else await new Promise((resolve) => setTimeout(resolve, 20));
    clock.advance(limitMs - 1);
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(client.ended).toBe(false);
    clock.advance(limitMs);
    expect(await client.all()).toMatch(answer);
  });

  it('says Connection: close while the agent drains', async () => {
    const { client, proxy } = await line(answering(OK));
    proxy.draining = true;
    client.send(GET);
    expect(await client.all()).toBe('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok');
  });
});

it('holds back both ways: a slow endpoint stops a fast client, a slow client a fast endpoint', async () => {
  const size = 24 * 1024 * 1024;
  let slow: IncomingMessage | undefined;
  const server = createServer((request, response) => {
    let received = 0;
    request.pause();
    request.on('data', (chunk: Buffer) => (received += chunk.length));
    request.on('end', () => {
      response.setHeader('x-received', received);
      response.end(Buffer.alloc(size, 'r'));
    });
    slow = request;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(server);
  const proxy = await proxyTo((server.address() as AddressInfo).port);
  closing.push(proxy);
  const outgoing = httpRequest({ port: proxy.port, host: '127.0.0.1', method: 'POST' });
  const answered = new Promise<IncomingMessage>((resolve) => outgoing.once('response', resolve));
  let written = false;
  outgoing.write(Buffer.alloc(size, 'q'), () => (written = true));
  outgoing.end();
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(written).toBe(false);
  slow?.resume();
  const response = await answered;
  expect(response.headers['x-received']).toBe(String(size));
  await new Promise((resolve) => setTimeout(resolve, 100));
  let got = 0;
  for await (const chunk of response) got += (chunk as Buffer).length;
  expect(got).toBe(size);
});
