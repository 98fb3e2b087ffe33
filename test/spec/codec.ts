/**
 * What every HTTP codec does for those who know nothing of it: its client's side and its server's side on two ends of one
 * connection, an exchange begun on the one and served on the other, both seen only as sinks.
 */
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MeshError } from '../../src/core/errors.ts';
import { HEAD_BYTES_MAX } from '../../src/core/limits.ts';
import type { RequestSink, ResponseSink, Service } from '../../src/proxy/exchange.ts';
import { LENGTH_UNKNOWN, RequestHead, ResponseHead } from '../../src/proxy/head.ts';
import { HeaderList } from '../../src/proxy/headers.ts';
import { Http1Client } from '../../src/proxy/http1/client.ts';
import { Http2Client } from '../../src/proxy/http2/client.ts';
import { Exchange } from '../../src/proxy/record.ts';
import { SocketTransport } from '../../src/proxy/socket-transport.ts';
import type { TransportOwner } from '../../src/proxy/transport.ts';
import type { UpstreamConnection, UpstreamOwner } from '../../src/proxy/upstream.ts';
import { CONNECTION, Proxy } from '../proxy/codec-harness.ts';
import type { HttpVersion } from '../proxy/codec-harness.ts';

const NOBODY: TransportOwner = { bytes: () => undefined, ended: () => undefined, drained: () => undefined, closed: () => undefined };

type Field = readonly [name: string, value: string];

/** The receiving end of one direction: keeps everything, holds the sender back when told to. */
class Receiver {
  readonly chunks: Buffer[] = [];
  ended = false;
  trailers: Field[] = [];
  error: MeshError | undefined;
  /** Answer `false` to data. */
  holds = false;
  /** The other direction, of which this end is the sender, may go on. */
  resumed = 0;
  readonly #waiting: (() => void)[] = [];

  get body(): Buffer {
    return Buffer.concat(this.chunks);
  }

  data(chunk: Buffer): boolean {
    expect(this.ended || this.error !== undefined, 'data after the end').toBe(false);
    this.chunks.push(Buffer.from(chunk));
    this.changed();
    return !this.holds;
  }

  end(trailers: HeaderList | undefined): void {
    expect(this.ended || this.error !== undefined, 'a second end').toBe(false);
    this.ended = true;
    this.trailers = trailers === undefined ? [] : fieldsOf(trailers);
    this.changed();
  }

  abort(error: MeshError): void {
    expect(this.error, 'a second end').toBeUndefined();
    this.error = error;
    this.changed();
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Over, one way or the other. */
  async over(): Promise<void> {
    await this.until(() => this.ended || this.error !== undefined);
  }

  protected changed(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** What the client's side gets. */
class Answer extends Receiver implements ResponseSink {
  readonly informationals: number[] = [];
  received: ResponseHead | undefined;
  request!: RequestSink;

  override abort(error: MeshError): void {
    expect(this.ended, 'abort after the end').toBe(false);
    super.abort(error);
  }

  informational(head: ResponseHead): void {
    expect(this.received, 'an informational head after the head').toBeUndefined();
    this.informationals.push(head.status);
    this.changed();
  }

  head(head: ResponseHead): void {
    expect(this.received, 'a second head').toBeUndefined();
    this.received = head;
    this.changed();
  }

  resumeRequest(): void {
    this.resumed += 1;
    this.changed();
  }

  async headed(): Promise<ResponseHead> {
    await this.until(() => this.received !== undefined);
    return this.received as ResponseHead;
  }
}

/** What the server's side gets. */
class Served extends Receiver implements RequestSink {
  // Its client may be lost after the end of the request, too.
  readonly head: RequestHead;
  readonly response: ResponseSink;

  constructor(head: RequestHead, response: ResponseSink) {
    super();
    this.head = head;
    this.response = response;
  }

  resumeResponse(): void {
    this.resumed += 1;
    this.changed();
  }
}

/** Both sides, and the connection between them. */
class Pair implements Service, UpstreamOwner {
  readonly proxy: Proxy;
  connection!: UpstreamConnection;
  transport!: SocketTransport;
  closedConnections = 0;
  /** Answers within `serve`, when it is set. */
  atOnce: ((response: ResponseSink) => void) | undefined;
  readonly #served: Served[] = [];
  readonly #waiting: ((served: Served) => void)[] = [];

  private constructor(version: HttpVersion) {
    this.proxy = new Proxy(0, { downstream: version, service: this, bare: true });
  }

  static async open(version: HttpVersion): Promise<Pair> {
    const pair = new Pair(version);
    await pair.proxy.listen();
    await pair.#connect(version);
    return pair;
  }

  serve(_exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const served = new Served(head, response);
    this.atOnce?.(response);
    const next = this.#waiting.shift();
    if (next === undefined) this.#served.push(served);
    else next(served);
    return served;
  }

  ready(): void {
    // Capacity is asked for.
  }

  closed(): void {
    this.closedConnections += 1;
  }

  /** Begin an exchange on the client's side. */
  send(head: RequestHead): Answer {
    expect(this.connection.capacity).toBeGreaterThan(0);
    const answer = new Answer();
    answer.request = this.connection.send(new Exchange('source', CONNECTION, undefined, 0), head, answer);
    return answer;
  }

  /** The next exchange on the server's side. */
  async served(): Promise<Served> {
    return this.#served.shift() ?? (await new Promise<Served>((resolve) => this.#waiting.push(resolve)));
  }

  /** Begin one, and wait until it is served. */
  async exchange(head: RequestHead): Promise<{ answer: Answer; served: Served }> {
    const answer = this.send(head);
    if (head.contentLength === 0 && head.method !== 'CONNECT') answer.request.end(undefined);
    return { answer, served: await this.served() };
  }

  close(): void {
    this.connection.destroy();
    this.proxy.close();
  }

  async #connect(version: HttpVersion): Promise<void> {
    const socket = connect({ port: this.proxy.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    await new Promise((resolve) => socket.once('connect', resolve));
    this.transport = SocketTransport.over(socket, NOBODY);
    const codec = version === 'http1' ? Http1Client.codec : Http2Client.over(this.proxy.dataplane);
    this.connection = codec.open(this.transport, this);
  }
}

function fieldsOf(headers: HeaderList): Field[] {
  return Array.from({ length: headers.size }, (_, i) => [headers.lowerAt(i), headers.valueAt(i)] as const);
}

/** The fields a test gave a name beginning with x-. */
function own(headers: HeaderList): Field[] {
  return fieldsOf(headers).filter(([name]) => name.startsWith('x-'));
}

function list(fields: readonly Field[]): HeaderList {
  const headers = new HeaderList();
  for (const [name, value] of fields) headers.add(name, value);
  return headers;
}

function requestHead(method: string, contentLength: number, fields: readonly Field[] = []): RequestHead {
  const head = new RequestHead(method, method === 'CONNECT' ? 'b.test:443' : '/path?query', method === 'CONNECT' ? 'b.test:443' : 'a.test', 11, list(fields));
  head.contentLength = contentLength;
  return head;
}

function get(...fields: Field[]): RequestHead {
  return requestHead('GET', 0, fields);
}

function responseHead(status: number, contentLength: number, fields: readonly Field[] = []): ResponseHead {
  const head = new ResponseHead(status, '', list(fields));
  head.contentLength = contentLength;
  return head;
}

function bytes(length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 0xff));
}

/** Answer 200 with `text`. */
function answerWith(response: ResponseSink, text: string): void {
  response.head(responseHead(200, text.length));
  if (text !== '') response.data(Buffer.from(text));
  response.end(undefined);
}

const SIZES = [0, 1, 16_383, 16_384, 16_385, 65_535, 65_536, 1 << 20];
const GONE = new MeshError('downstream_gone');

/** The suite; `version` names the codec. */
export function codecSuite(version: HttpVersion): void {
  let pair: Pair;
  beforeEach(async () => {
    pair = await Pair.open(version);
  });
  afterEach(() => {
    pair.close();
  });

  /** Send all of `body`, as the receiver lets it. */
  async function pour(sink: { data(chunk: Buffer): boolean }, resumes: Receiver, body: Buffer, chunkBytes = 50_000): Promise<void> {
    for (let at = 0; at < body.length; at += chunkBytes) {
      const { resumed } = resumes;
      if (!sink.data(body.subarray(at, at + chunkBytes))) await resumes.until(() => resumes.resumed > resumed);
    }
  }

  describe('heads', () => {
    it('arrive with everything that was said', async () => {
      const { answer, served } = await pair.exchange(get(['x-a', '1'], ['x-b', 'two words'], ['x-a', '3'], ['x-empty', ''], ['x-octets', 'é~"']));
      expect(served.head).toMatchObject({ method: 'GET', target: '/path?query', path: '/path', query: 'query', authority: 'a.test', contentLength: 0 });
      expect(own(served.head.headers)).toEqual([['x-a', '1'], ['x-b', 'two words'], ['x-a', '3'], ['x-empty', ''], ['x-octets', 'é~"']]);
      served.response.head(responseHead(418, 0, [['x-c', '1'], ['set-cookie', 'a'], ['set-cookie', 'b']]));
      served.response.end(undefined);
      await answer.over();
      expect(answer.received).toMatchObject({ status: 418, contentLength: 0 });
      expect(own(answer.received?.headers as HeaderList)).toEqual([['x-c', '1']]);
      expect(fieldsOf(answer.received?.headers as HeaderList).filter(([name]) => name === 'set-cookie')).toEqual([['set-cookie', 'a'], ['set-cookie', 'b']]);
    });

    it('too large are answered with 431, naming the limit, and the server sees no exchange', async () => {
      const answer = pair.send(get(['x-large', 'v'.repeat(HEAD_BYTES_MAX)]));
      answer.request.end(undefined);
      await answer.over();
      expect(answer.received?.status).toBe(431);
      expect(answer.body.toString()).toContain(`${HEAD_BYTES_MAX}`);
    });

    it('say that the client waits for 100 Continue, which passes, as do other informational heads', async () => {
      const head = requestHead('POST', 4, [['expect', '100-continue']]);
      head.expectContinue = true;
      const { answer, served } = await pair.exchange(head);
      expect(served.head.expectContinue).toBe(true);
      served.response.informational(responseHead(103, 0, [['link', '</a>']]));
      served.response.informational(responseHead(100, 0));
      await answer.until(() => answer.informationals.length === 2);
      expect(answer.informationals).toEqual([103, 100]);
      answer.request.data(Buffer.from('body'));
      answer.request.end(undefined);
      await served.over();
      answerWith(served.response, 'ok');
      await answer.over();
      expect([served.body.toString(), answer.body.toString()]).toEqual(['body', 'ok']);
    });
  });

  describe('bodies', () => {
    it.each(SIZES)('of %i octets pass, their length known beforehand', async (size) => {
      const { answer, served } = await pair.exchange(requestHead('POST', size));
      expect(served.head.contentLength).toBe(size);
      await pour(answer.request, answer, bytes(size));
      if (size > 0) answer.request.end(undefined);
      await served.over();
      expect(served.body.equals(bytes(size))).toBe(true);
      served.response.head(responseHead(200, size));
      expect((await answer.headed()).contentLength).toBe(size);
      await pour(served.response, served, bytes(size));
      served.response.end(undefined);
      await answer.over();
      expect(answer.error).toBeUndefined();
      expect(answer.body.equals(bytes(size))).toBe(true);
    });

    it.each(SIZES)('of %i octets pass, their length not known', async (size) => {
      const { answer, served } = await pair.exchange(requestHead('POST', LENGTH_UNKNOWN));
      expect(served.head.contentLength).toBe(LENGTH_UNKNOWN);
      await pour(answer.request, answer, bytes(size), 7777);
      answer.request.end(undefined);
      await served.over();
      expect(served.body.equals(bytes(size))).toBe(true);
      served.response.head(responseHead(200, LENGTH_UNKNOWN));
      expect((await answer.headed()).contentLength).toBe(LENGTH_UNKNOWN);
      await pour(served.response, served, bytes(size), 7777);
      served.response.end(undefined);
      await answer.over();
      expect(answer.error).toBeUndefined();
      expect(answer.body.equals(bytes(size))).toBe(true);
    });

    it('pass both ways at the same time', async () => {
      const { answer, served } = await pair.exchange(requestHead('POST', LENGTH_UNKNOWN));
      served.response.head(responseHead(200, LENGTH_UNKNOWN));
      await Promise.all([pour(answer.request, answer, bytes(1 << 20)), pour(served.response, served, bytes(1 << 20))]);
      answer.request.end(undefined);
      await served.over();
      served.response.end(undefined);
      await answer.over();
      expect(served.body.equals(bytes(1 << 20)) && answer.body.equals(bytes(1 << 20))).toBe(true);
    });

    it('have trailers, both ways', async () => {
      const { answer, served } = await pair.exchange(requestHead('POST', LENGTH_UNKNOWN, [['te', 'trailers']]));
      answer.request.data(Buffer.from('body'));
      answer.request.end(list([['x-sum', '1'], ['content-length', '2']]));
      await served.over();
      expect(served.trailers).toEqual([['x-sum', '1']]);
      served.response.head(responseHead(200, LENGTH_UNKNOWN));
      served.response.data(Buffer.from('answer'));
      served.response.end(list([['x-end', '2'], ['set-cookie', 'a']]));
      await answer.over();
      expect(answer.trailers).toEqual([['x-end', '2']]);
    });

    it.each([['HEAD', 200], ['GET', 204], ['GET', 304]] as const)('are none where there can be none: %s, %i', async (method, status) => {
      const { answer, served } = await pair.exchange(requestHead(method, 0));
      served.response.head(responseHead(status, 0, status === 204 ? [] : [['content-length', '5']]));
      served.response.end(undefined);
      await answer.over();
      expect(answer.received).toMatchObject({ status, contentLength: 0 });
      expect(answer.received?.headers.get('content-length')).toBe(status === 204 ? undefined : '5');
      expect(answer.body.length).toBe(0);
      const next = await pair.exchange(get());
      answerWith(next.served.response, 'next');
      await next.answer.over();
      expect(next.answer.body.toString()).toBe('next');
    });
  });

  describe('a receiver that holds', () => {
    it('stops the sender of a request, who goes on when it is let', async () => {
      const { answer, served } = await pair.exchange(requestHead('POST', LENGTH_UNKNOWN));
      served.holds = true;
      const sent: Buffer[] = [];
      const chunk = bytes(64 * 1024);
      while (sent.length < 1000) {
        sent.push(chunk);
        if (!answer.request.data(chunk)) break;
      }
      // What lies in sockets and windows is taken, then nothing more; a receiver that held before may still get what was on its way.
      while (sent.length < 1000 && (await resumedSoon(answer))) {
        sent.push(chunk);
        answer.request.data(chunk);
      }
      expect(sent.length).toBeLessThan(1000);
      served.holds = false;
      served.response.resumeRequest();
      await answer.until(() => answer.resumed > 0);
      answer.request.end(undefined);
      await served.over();
      expect(served.body.equals(Buffer.concat(sent))).toBe(true);
    });

    it('stops the sender of an answer, who goes on when it is let', async () => {
      const { answer, served } = await pair.exchange(get());
      answer.holds = true;
      served.response.head(responseHead(200, LENGTH_UNKNOWN));
      const sent: Buffer[] = [];
      const chunk = bytes(64 * 1024);
      while (sent.length < 1000) {
        sent.push(chunk);
        if (!served.response.data(chunk)) break;
      }
      while (sent.length < 1000 && (await resumedSoon(served))) {
        sent.push(chunk);
        served.response.data(chunk);
      }
      expect(sent.length).toBeLessThan(1000);
      answer.holds = false;
      answer.request.resumeResponse();
      await served.until(() => served.resumed > 0);
      served.response.end(undefined);
      await answer.over();
      expect(answer.body.equals(Buffer.concat(sent))).toBe(true);
    });

    /** Whether the sender was let go on within what is a long time for a loopback connection. */
    async function resumedSoon(receiver: Receiver): Promise<boolean> {
      const { resumed } = receiver;
      for (let i = 0; i < 20 && receiver.resumed === resumed; i += 1) await new Promise((resolve) => setTimeout(resolve, 5));
      return receiver.resumed > resumed;
    }
  });

  describe('an exchange ends early', () => {
    it('when the client gives up: the server is told, and what it says afterwards goes nowhere', async () => {
      const { answer, served } = await pair.exchange(requestHead('POST', LENGTH_UNKNOWN));
      answer.request.data(Buffer.from('half'));
      await served.until(() => served.chunks.length > 0);
      answer.request.abort(GONE);
      await served.over();
      expect(served.error?.code).toBe('downstream_gone');
      served.response.head(responseHead(200, 2));
      served.response.data(Buffer.from('no'));
      served.response.end(undefined);
      expect(answer.received).toBeUndefined();
    });

    it('when the server fails before its answer: the client gets one that says so', async () => {
      const { answer, served } = await pair.exchange(get());
      served.response.abort(new MeshError('no_healthy_upstream'));
      await answer.over();
      expect(answer.received?.status).toBe(503);
      expect(answer.received?.headers.get('x-orlop-reason')).toBe('no_healthy_upstream');
    });

    it.each([LENGTH_UNKNOWN, 100])('when the server fails within its answer of length %i: the client cannot take it for a whole one', async (length) => {
      const { answer, served } = await pair.exchange(get());
      served.response.head(responseHead(200, length));
      served.response.data(Buffer.from('half'));
      await answer.until(() => answer.chunks.length > 0);
      served.response.abort(new MeshError('upstream_closed_midway'));
      await answer.over();
      expect(answer.ended).toBe(false);
      expect(answer.error?.code).toBe('upstream_closed_midway');
      expect(answer.body.toString()).toBe('half');
    });

    it('when the connection is lost: both are told', async () => {
      const { answer, served } = await pair.exchange(get());
      pair.transport.destroy();
      await Promise.all([answer.over(), served.over()]);
      expect(answer.error?.code).toBe('upstream_reset');
      expect(served.ended || served.error?.code === 'downstream_gone').toBe(true);
      expect(pair.closedConnections).toBe(1);
      expect(pair.connection.capacity).toBe(0);
    });

    it('when the answer comes before the request is complete: the client gets all of it', async () => {
      const { answer, served } = await pair.exchange(requestHead('POST', LENGTH_UNKNOWN));
      answer.request.data(Buffer.from('half'));
      await served.until(() => served.chunks.length > 0);
      served.response.head(responseHead(413, 8));
      served.response.data(Buffer.from('too much'));
      served.response.end(undefined);
      await answer.over();
      expect([answer.received?.status, answer.body.toString()]).toEqual([413, 'too much']);
      // Nobody wants the rest, and whoever sends it need not know.
      answer.request.data(Buffer.from('rest'));
      answer.request.end(undefined);
    });
  });

  describe('one connection', () => {
    it('carries one exchange after the other', async () => {
      for (let i = 0; i < 100; i += 1) {
        const { answer, served } = await pair.exchange(i % 2 === 0 ? get() : requestHead('POST', 4));
        if (i % 2 === 1) {
          answer.request.data(Buffer.from('body'));
          answer.request.end(undefined);
        }
        await served.over();
        answerWith(served.response, String(i));
        await answer.over();
        expect(answer.body.toString()).toBe(String(i));
      }
      expect(pair.connection.served).toBe(100);
      expect(pair.proxy.open).toBe(1);
    });

    it('carries answers that are given at once', async () => {
      pair.atOnce = (response) => {
        answerWith(response, 'at once');
      };
      for (let i = 0; i < 10; i += 1) {
        const { answer } = await pair.exchange(get());
        await answer.over();
        expect(answer.body.toString()).toBe('at once');
      }
      expect(pair.proxy.open).toBe(1);
    });

    it('finishes what it has when it is drained, and closes', async () => {
      const { answer, served } = await pair.exchange(get());
      pair.connection.drain();
      expect(pair.connection.capacity).toBe(0);
      answerWith(served.response, 'last');
      await answer.over();
      expect(answer.body.toString()).toBe('last');
      while (pair.closedConnections === 0 || pair.proxy.open > 0) await new Promise((resolve) => setImmediate(resolve));
    });

    it('closes at once when it is drained and idle', async () => {
      pair.connection.drain();
      while (pair.closedConnections === 0 || pair.proxy.open > 0) await new Promise((resolve) => setImmediate(resolve));
    });
  });

  describe('a tunnel', () => {
    async function tunnel(): Promise<{ answer: Answer; served: Served }> {
      const both = await pair.exchange(requestHead('CONNECT', 0));
      expect(both.served.head).toMatchObject({ method: 'CONNECT', target: 'b.test:443', authority: 'b.test:443' });
      both.served.response.head(responseHead(200, LENGTH_UNKNOWN));
      await both.answer.headed();
      return both;
    }

    it('carries bytes both ways until both ends have ended', async () => {
      const { answer, served } = await tunnel();
      answer.request.data(Buffer.from('to the server'));
      await served.until(() => served.body.toString() === 'to the server');
      served.response.data(Buffer.from('to the client'));
      await answer.until(() => answer.body.toString() === 'to the client');
      answer.request.end(undefined);
      await served.over();
      // Half of it goes on.
      served.response.data(Buffer.from(', more'));
      served.response.end(undefined);
      await answer.over();
      expect(answer.body.toString()).toBe('to the client, more');
      expect([answer.error, served.error]).toEqual([undefined, undefined]);
    });

    it('may be ended by the server first', async () => {
      const { answer, served } = await tunnel();
      served.response.end(undefined);
      await answer.over();
      answer.request.data(Buffer.from('still here'));
      answer.request.end(undefined);
      await served.over();
      expect(served.body.toString()).toBe('still here');
      expect([answer.error, served.error]).toEqual([undefined, undefined]);
    });

    it('is not one when it is refused', async () => {
      const { answer, served } = await pair.exchange(requestHead('CONNECT', 0));
      served.response.head(responseHead(403, 2));
      served.response.data(Buffer.from('no'));
      served.response.end(undefined);
      await answer.over();
      expect([answer.received?.status, answer.body.toString()]).toEqual([403, 'no']);
    });
  });
}
