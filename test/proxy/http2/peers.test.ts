/** Foreign clients and foreign servers through the codec: node:http2 (nghttp2) on both sides, curl, nghttp and h2load. */
import { execFile } from 'node:child_process';
import { createServer as createHttp1Server, request as http1Request } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect, constants, createServer, sensitiveHeaders } from 'node:http2';
import type { ClientHttp2Session, ClientHttp2Stream, Http2Server, IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_STREAM_WINDOW_BYTES } from '../../../src/core/limits.ts';
import { END_STREAM, RST_STREAM } from '../../../src/proxy/http2/protocol.ts';
import type { Http2Server as OurServer } from '../../../src/proxy/http2/server.ts';
import { ECHO, proxyTo, serving } from '../codec-harness.ts';
import type { HttpVersion, Proxy } from '../codec-harness.ts';
import { rawEndpoint, uint32 } from './raw.ts';

const run = promisify(execFile);

const closing: { close(): void }[] = [];
afterEach(() => {
  for (const one of closing.splice(0).reverse()) one.close();
});

/** What an endpoint does with a stream. */
type Handler = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

interface Endpoint {
  readonly server: Http2Server;
  readonly sessions: Set<ServerHttp2Session>;
  readonly port: number;
}

async function endpoint(handler: Handler, settings: object = {}): Promise<Endpoint> {
  const server = createServer({ settings, maxHeaderListPairs: 1000 });
  const sessions = new Set<ServerHttp2Session>();
  server.on('session', (one) => {
    sessions.add(one);
    one.on('close', () => sessions.delete(one));
    one.on('error', () => undefined);
  });
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    stream.on('error', () => undefined);
    handler(stream, headers);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push({
    close: () => {
      for (const one of sessions) one.destroy();
      server.close();
    },
  });
  return { server, sessions, port: (server.address() as AddressInfo).port };
}

async function through(port: number, downstream: HttpVersion = 'http2', upstream: HttpVersion = 'http2'): Promise<Proxy> {
  const proxy = await proxyTo(port, { downstream, upstream });
  closing.push(proxy);
  return proxy;
}

function session(proxy: Proxy, options: object = {}): ClientHttp2Session {
  const client = connect(`http://127.0.0.1:${proxy.port}`, { maxHeaderListPairs: 1000, ...options });
  client.on('error', () => undefined);
  closing.push({ close: () => client.destroy() });
  return client;
}

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  informational: number[];
  body: Buffer;
  trailers: IncomingHttpHeaders;
}

async function answerTo(stream: ClientHttp2Stream): Promise<Answer> {
  const answer: Answer = { status: 0, headers: {}, informational: [], body: Buffer.alloc(0), trailers: {} };
  const body: Buffer[] = [];
  stream.on('headers', (headers: IncomingHttpHeaders) => answer.informational.push(Number(headers[':status'])));
  stream.on('response', (headers) => {
    answer.status = Number(headers[':status']);
    answer.headers = headers;
  });
  stream.on('trailers', (trailers) => (answer.trailers = trailers));
  stream.on('data', (chunk: Buffer) => body.push(chunk));
  await new Promise<void>((resolve, reject) => {
    stream.on('error', reject);
    stream.on('end', resolve);
  });
  answer.body = Buffer.concat(body);
  return answer;
}

async function ask(client: ClientHttp2Session, headers: OutgoingHttpHeaders, body?: Buffer): Promise<Answer> {
  const stream = client.request(headers, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  return await answerTo(stream);
}

/** Names of the fields that came as literals never indexed. */
function secretsOf(headers: IncomingHttpHeaders): readonly string[] {
  return (headers as unknown as Readonly<Record<symbol, readonly string[] | undefined>>)[sensitiveHeaders] ?? [];
}

async function rejection(promise: Promise<unknown>): Promise<string> {
  return await promise.then(
    () => 'none',
    (error: unknown) => (error as Error).message,
  );
}

/** Bytes that show where they belong. */
function bytes(length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 0xff));
}

const SIZES = [0, 1, 16_383, 16_384, 16_385, 65_535, 1 << 20];

const echo: Handler = (stream, headers) => {
  stream.respond({ ':status': 200, 'x-method': headers[':method'], 'x-path': headers[':path'], 'x-length': headers['content-length'] ?? 'none' });
  stream.pipe(stream);
};

describe('bodies, both ways', () => {
  it('from a client of nghttp2 to a server of nghttp2', async () => {
    const proxy = await through((await endpoint(echo)).port);
    const client = session(proxy);
    for (const size of SIZES) {
      const body = bytes(size);
      const answer = await ask(client, { ':method': 'POST', ':path': `/${size}?q` }, body);
      expect(answer.status).toBe(200);
      expect(answer.headers).toMatchObject({ 'x-method': 'POST', 'x-path': `/${size}?q` });
      expect(answer.body.equals(body), `${size} bytes`).toBe(true);
    }
    expect(proxy.dialled).toBe(1);
    expect(proxy.ended.map((facts) => facts.status)).toEqual(SIZES.map(() => 200));
  });

  it('many at a time, and each gets its own', async () => {
    const proxy = await through((await endpoint(echo)).port);
    // What node keeps unsent may be 10 MB by itself.
    const client = session(proxy, { maxSessionMemory: 100 });
    const answers = await Promise.all(
      Array.from({ length: 60 }, async (_, i) => {
        const body = Buffer.alloc(100_000 + i * 5000, `${i}~`);
        return (await ask(client, { ':method': 'POST' }, body)).body.equals(body);
      }),
    );
    expect(answers).toEqual(answers.map(() => true));
  });

  it('with an announced length, which is passed on', async () => {
    const proxy = await through((await endpoint(echo)).port);
    const answer = await ask(session(proxy), { ':method': 'POST', 'content-length': 5 }, Buffer.from('hello'));
    expect(answer.headers['x-length']).toBe('5');
    expect(answer.body.toString()).toBe('hello');
  });

  it('from a client of nghttp2 to a server of HTTP/1.1', async () => {
    const server = createHttp1Server((incoming: IncomingMessage, outgoing: ServerResponse) => {
      outgoing.writeHead(200, { 'x-host': incoming.headers.host, 'x-version': incoming.httpVersion });
      incoming.pipe(outgoing);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closing.push({
      close: () => {
        server.closeAllConnections();
        server.close();
      },
    });
    const proxy = await through((server.address() as AddressInfo).port, 'http2', 'http1');
    const client = session(proxy);
    for (const size of SIZES) {
      const body = bytes(size);
      const answer = await ask(client, { ':method': 'POST', ':authority': 'shop.test' }, body);
      expect(answer.headers).toMatchObject({ ':status': 200, 'x-host': 'shop.test', 'x-version': '1.1' });
      expect(answer.headers).not.toHaveProperty('transfer-encoding');
      expect(answer.headers).not.toHaveProperty('connection');
      expect(answer.body.equals(body), `${size} bytes`).toBe(true);
    }
  });

  it('from a client of HTTP/1.1 to a server of nghttp2', async () => {
    const proxy = await through((await endpoint(echo)).port, 'http1', 'http2');
    for (const size of SIZES) {
      const body = bytes(size);
      const answer = await new Promise<Buffer>((resolve, reject) => {
        const outgoing = http1Request({ port: proxy.port, host: '127.0.0.1', method: 'POST', path: '/' }, (incoming) => {
          const parts: Buffer[] = [];
          incoming.on('data', (chunk: Buffer) => parts.push(chunk));
          incoming.on('end', () => {
            resolve(Buffer.concat(parts));
          });
        });
        outgoing.on('error', reject);
        outgoing.end(body);
      });
      expect(answer.equals(body), `${size} bytes`).toBe(true);
    }
  });
});

describe('messages', () => {
  it('have trailers, both ways', async () => {
    const upstream = await endpoint((stream) => {
      stream.on('trailers', (trailers: IncomingHttpHeaders) => {
        stream.respond({ ':status': 200, 'x-got': String(trailers['x-sum']) }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'x-end': 'two', 'grpc-status': '0' }));
        stream.end('ok');
      });
      stream.resume();
    });
    const stream = session(await through(upstream.port)).request({ ':method': 'POST', te: 'trailers' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => {
      stream.sendTrailers({ 'x-sum': 'one' });
    });
    stream.end('body');
    const answer = await answerTo(stream);
    expect(answer.headers['x-got']).toBe('one');
    expect(answer.body.toString()).toBe('ok');
    expect(answer.trailers).toMatchObject({ 'x-end': 'two', 'grpc-status': '0' });
  });

  it('may be trailers only, as gRPC has them', async () => {
    const upstream = await endpoint((stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '12' }, { endStream: true });
    });
    const proxy = await through(upstream.port);
    const answer = await ask(session(proxy), { ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' }, Buffer.from('x'));
    expect(answer.headers).toMatchObject({ ':status': 200, 'grpc-status': '12' });
    expect(proxy.ended[0]?.grpcStatus).toBe('12');
  });

  it('wait for 100 Continue', async () => {
    const upstream = await endpoint((stream, headers) => {
      if (headers['expect'] === '100-continue') stream.additionalHeaders({ ':status': 100 });
      stream.respond({ ':status': 200 });
      stream.pipe(stream);
    });
    const stream = session(await through(upstream.port)).request({ ':method': 'POST', expect: '100-continue' });
    await new Promise((resolve) => stream.once('continue', resolve));
    stream.end('patience');
    expect((await answerTo(stream)).body.toString()).toBe('patience');
  });

  it('have early hints', async () => {
    const upstream = await endpoint((stream) => {
      stream.additionalHeaders({ ':status': 103, link: '</a.css>' });
      stream.additionalHeaders({ ':status': 103, link: '</b.css>' });
      stream.respond({ ':status': 200 });
      stream.end('page');
    });
    const answer = await ask(session(await through(upstream.port)), {});
    expect(answer.informational).toEqual([103, 103]);
    expect(answer.body.toString()).toBe('page');
  });

  it('have no body where there is none: HEAD, 204, 304', async () => {
    const upstream = await endpoint((stream, headers) => {
      const status = Number(headers['x-status'] ?? 200);
      stream.respond({ ':status': status, ...(status === 204 ? {} : { 'content-length': '5' }) }, { endStream: true });
    });
    const client = session(await through(upstream.port));
    expect(await ask(client, { ':method': 'HEAD' })).toMatchObject({ status: 200, headers: { 'content-length': '5' }, body: Buffer.alloc(0) });
    expect(await ask(client, { 'x-status': '204' })).toMatchObject({ status: 204, body: Buffer.alloc(0) });
    expect(await ask(client, { 'x-status': '304' })).toMatchObject({ status: 304, headers: { 'content-length': '5' }, body: Buffer.alloc(0) });
  });

  it('have heads that need CONTINUATION frames, both ways', async () => {
    const large = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`x-large-${i}`, `${i}~`.repeat(300)]));
    const upstream = await endpoint((stream, headers) => {
      expect(headers).toMatchObject(large);
      stream.respond({ ':status': 200, ...large }, { endStream: true });
    });
    const answer = await ask(session(await through(upstream.port)), large);
    expect(answer.headers).toMatchObject({ ':status': 200, ...large });
  });

  it('have fields that are kept out of compression, as their senders want it, and those that should be', async () => {
    let seen: readonly string[] = [];
    const upstream = await endpoint((stream, headers) => {
      seen = secretsOf(headers);
      stream.respond({ ':status': 200, 'x-secret': 'b', 'x-open': 'c', [sensitiveHeaders]: ['x-secret'] }, { endStream: true });
    });
    const client = session(await through(upstream.port));
    const answer = await ask(client, { 'x-secret': 'a', 'x-open': 'b', authorization: 'c', cookie: 'd=e', [sensitiveHeaders]: ['x-secret'] });
    expect([...seen].sort()).toEqual(['authorization', 'cookie', 'x-secret']);
    expect(secretsOf(answer.headers)).toEqual(['x-secret']);
  });

  it('pass many at a time, each as it comes', async () => {
    const waiting: (() => void)[] = [];
    const upstream = await endpoint((stream, headers) => {
      waiting.push(() => {
        stream.respond({ ':status': 200 });
        stream.end(String(headers['x-number']));
      });
      // All of them are there before the first is answered, and the last is answered first.
      if (waiting.length === 200) for (const answer of waiting.reverse()) answer();
    });
    const proxy = await through(upstream.port);
    const client = session(proxy);
    // The first one makes the connection that the others share.
    const answers = await Promise.all(Array.from({ length: 200 }, async (_, i) => await ask(client, { 'x-number': String(i) })));
    expect(answers.map((answer) => answer.body.toString())).toEqual(Array.from({ length: 200 }, (_, i) => String(i)));
  });
});

describe('programs', () => {
  it('curl speaks to it', async () => {
    const proxy = await serving(ECHO, 'http2');
    closing.push(proxy);
    const { stdout } = await run('curl', ['-sS', '--http2-prior-knowledge', '--data-binary', 'from curl', '-w', ' %{http_version} %{http_code}', `http://127.0.0.1:${proxy.port}/`]);
    expect(stdout).toBe('from curl 2 200');
  });

  it('nghttp speaks to it', async () => {
    const proxy = await serving(ECHO, 'http2');
    closing.push(proxy);
    const { stdout } = await run('nghttp', ['-nv', `http://127.0.0.1:${proxy.port}/a`, `http://127.0.0.1:${proxy.port}/b`]);
    expect(stdout.match(/recv \(stream_id=\d+\) :status: 200/g)?.length).toBe(2);
    expect(stdout).not.toContain('RST_STREAM');
    expect(stdout).not.toMatch(/recv GOAWAY/);
  });

  it('h2load puts load on it, to an endpoint and back, without one failure', async () => {
    const proxy = await through((await endpoint(echo)).port);
    const { stdout } = await run('h2load', ['-n', '5000', '-c', '10', '-m', '50', `http://127.0.0.1:${proxy.port}/`]);
    expect(stdout).toContain('5000 total, 5000 started, 5000 done, 5000 succeeded, 0 failed, 0 errored, 0 timeout');
    expect(proxy.ended.length).toBe(5000);
  });
});

describe('back-pressure', () => {
  /** Writes for as long as it is let, and counts. */
  function fountain(): { handler: Handler; offered: () => number } {
    let offered = 0;
    const chunk = Buffer.alloc(16_384);
    return {
      offered: () => offered,
      handler: (stream) => {
        stream.respond({ ':status': 200 });
        const pour = (): void => {
          do offered += chunk.length;
          while (stream.write(chunk));
        };
        stream.on('drain', pour);
        pour();
      },
    };
  }

  /** Once it does not change any more. */
  async function settled(value: () => number): Promise<number> {
    let before = -1;
    for (let same = 0; same < 5; same += before === value() ? 1 : 0) {
      before = value();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return before;
  }

  it('a client that reads nothing makes an endless answer stop, and other answers do not', async () => {
    const { handler, offered } = fountain();
    const upstream = await endpoint((stream, headers) => {
      if (headers[':path'] === '/other') stream.respond({ ':status': 204 }, { endStream: true });
      else handler(stream, headers);
    });
    const client = session(await through(upstream.port));
    const stalled = client.request({ ':path': '/endless' });
    await new Promise((resolve) => stalled.once('response', resolve));
    stalled.pause();
    // What the windows and the buffers along the way hold; far less than what would come.
    const stopped = await settled(offered);
    expect(stopped).toBeLessThan(4 * HTTP2_CONNECTION_WINDOW_BYTES);
    expect((await ask(client, { ':path': '/other' })).status).toBe(204);
    stalled.resume();
    await new Promise<void>((resolve) => {
      stalled.on('data', () => {
        if (offered() > stopped + 2 * HTTP2_CONNECTION_WINDOW_BYTES) resolve();
      });
    });
    stalled.close();
  });

  it('an endpoint that reads nothing makes an endless request stop, and other requests do not', async () => {
    const upstream = await endpoint((stream, headers) => {
      if (headers[':path'] === '/other') stream.respond({ ':status': 204 }, { endStream: true });
      else stream.pause();
    });
    const client = session(await through(upstream.port));
    const stalled = client.request({ ':method': 'POST', ':path': '/endless' });
    stalled.on('error', () => undefined);
    let offered = 0;
    const chunk = Buffer.alloc(16_384);
    const pour = (): void => {
      do offered += chunk.length;
      while (stalled.write(chunk));
    };
    stalled.on('drain', pour);
    pour();
    expect(await settled(() => offered)).toBeLessThan(4 * HTTP2_STREAM_WINDOW_BYTES);
    expect((await ask(client, { ':path': '/other' })).status).toBe(204);
  });

  it('a large answer passes through a window of one octet', async () => {
    const upstream = await endpoint((stream) => {
      stream.respond({ ':status': 200 });
      stream.end(bytes(2000));
    });
    const answer = await ask(session(await through(upstream.port), { settings: { initialWindowSize: 1 } }), {});
    expect(answer.body.equals(bytes(2000))).toBe(true);
  });
});

describe('ends that come early', () => {
  it('a client that gives up ends its own exchange only', async () => {
    const gone: number[] = [];
    const upstream = await endpoint((stream, headers) => {
      if (headers[':path'] === '/other') stream.respond({ ':status': 204 }, { endStream: true });
      else stream.on('close', () => gone.push(stream.rstCode));
    });
    const proxy = await through(upstream.port);
    const client = session(proxy);
    expect((await ask(client, { ':path': '/other' })).status).toBe(204);
    const given = client.request({ ':path': '/given-up' });
    given.on('error', () => undefined);
    await new Promise<void>((resolve) => upstream.server.once('stream', () => resolve()));
    given.close(constants.NGHTTP2_CANCEL);
    while (gone.length === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(gone).toEqual([constants.NGHTTP2_CANCEL]);
    expect((await ask(client, { ':path': '/other' })).status).toBe(204);
    expect(proxy.dialled).toBe(1);
    expect(proxy.ended.map((facts) => facts.flags)).toEqual(['', 'DC', '']);
  });

  it('an answer that breaks off is reset, and the connection goes on', async () => {
    // By hand: node would end a stream properly before it resets it.
    const upstream = await rawEndpoint(async (peer) => {
      await peer.until(() => peer.message(1).ended);
      peer.headers(1, [[':status', '200']], 0);
      peer.data(1, 'half');
      peer.send(RST_STREAM, 0, 1, uint32(constants.NGHTTP2_INTERNAL_ERROR));
      await peer.until(() => peer.message(3).ended);
      peer.headers(3, [[':status', '200']], 0);
      peer.data(3, 'whole', END_STREAM);
    });
    closing.push(upstream);
    const proxy = await through(upstream.port);
    const client = session(proxy);
    expect(await rejection(ask(client, { ':path': '/broken' }))).toBe('Stream closed with error code NGHTTP2_INTERNAL_ERROR');
    expect((await ask(client, { ':path': '/other' })).body.toString()).toBe('whole');
    expect(proxy.ended[0]?.flags).toBe('UC');
  });

  it('an endpoint that resets before it answers makes a 503 of the right kind', async () => {
    const upstream = await endpoint((stream, headers) => {
      stream.close(Number(headers['x-code']));
    });
    const proxy = await through(upstream.port);
    const client = session(proxy);
    expect((await ask(client, { 'x-code': String(constants.NGHTTP2_REFUSED_STREAM) })).headers['x-orlop-reason']).toBe('upstream_refused');
    expect((await ask(client, { 'x-code': String(constants.NGHTTP2_INTERNAL_ERROR) })).headers['x-orlop-reason']).toBe('upstream_remote_reset');
    expect(proxy.dialled).toBe(1);
  });

  it('an answer before the end of its request stops the request, without an error', async () => {
    const upstream = await endpoint((stream) => {
      stream.respond({ ':status': 413 });
      stream.end('too much');
    });
    const client = session(await through(upstream.port));
    const stream = client.request({ ':method': 'POST' });
    stream.on('error', () => undefined);
    stream.write('the beginning');
    const answer = await answerTo(stream);
    expect(answer.status).toBe(413);
    expect(answer.body.toString()).toBe('too much');
    await new Promise<void>((resolve) => {
      if (stream.closed) resolve();
      else stream.on('close', resolve);
    });
    expect(stream.rstCode).toBe(constants.NGHTTP2_NO_ERROR);
    expect(client.destroyed).toBe(false);
  });

  it('an endpoint that is lost ends all its exchanges', async () => {
    const upstream = await endpoint((stream, headers) => {
      if (headers[':path'] === '/begun') stream.respond({ ':status': 200 });
    });
    const proxy = await through(upstream.port);
    const client = session(proxy);
    const begun = client.request({ ':path': '/begun' });
    begun.on('error', () => undefined);
    await new Promise((resolve) => begun.once('response', resolve));
    const closed = new Promise((resolve) => begun.once('close', resolve));
    const waiting = ask(client, { ':path': '/waiting' });
    await new Promise<void>((resolve) => upstream.server.once('stream', () => resolve()));
    for (const one of upstream.sessions) one.destroy();
    expect((await waiting).headers).toMatchObject({ ':status': 503, 'x-orlop-reason': 'upstream_reset' });
    await closed;
    expect(begun.rstCode).toBe(constants.NGHTTP2_INTERNAL_ERROR);
  });
});

describe('goodbyes', () => {
  it('a server that drains finishes what it has, takes what is on its way, and closes', async () => {
    const answers: (() => void)[] = [];
    const upstream = await endpoint((stream) => {
      answers.push(() => {
        stream.respond({ ':status': 200 });
        stream.end('done');
      });
    });
    const proxy = await through(upstream.port);
    const client = session(proxy);
    const first = ask(client, {});
    await new Promise<void>((resolve) => upstream.server.once('stream', () => resolve()));
    for (const server of proxy.servers) (server as OurServer).drain();
    const goaway = new Promise<number>((resolve) => client.once('goaway', resolve));
    expect(await goaway).toBe(constants.NGHTTP2_NO_ERROR);
    for (const answer of answers) answer();
    expect((await first).body.toString()).toBe('done');
    await new Promise<void>((resolve) => {
      if (client.destroyed) resolve();
      else client.once('close', resolve);
    });
    while (proxy.open > 0) await new Promise((resolve) => setImmediate(resolve));
  });

  it('an endpoint that says goodbye gets its present requests answered, and no more of them', async () => {
    const answers: (() => void)[] = [];
    const upstream = await endpoint((stream) => {
      answers.push(() => {
        stream.respond({ ':status': 200 });
        stream.end('done');
      });
    });
    const proxy = await through(upstream.port);
    const client = session(proxy);
    const first = ask(client, {});
    while (answers.length < 1) await new Promise((resolve) => setImmediate(resolve));
    for (const one of upstream.sessions) one.goaway(constants.NGHTTP2_NO_ERROR, 1);
    // Until it has been read, requests may still go there, and are refused.
    const others: Promise<Answer>[] = [];
    while (proxy.dialled < 2) {
      others.push(ask(client, {}));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    while (answers.length < 2) await new Promise((resolve) => setImmediate(resolve));
    for (const answer of answers) answer();
    expect((await first).body.toString()).toBe('done');
    for (const other of others) {
      const { status, headers } = await other;
      expect(status === 200 || headers['x-orlop-reason'] === 'upstream_refused').toBe(true);
    }
  });
});
