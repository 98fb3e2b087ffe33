/** Frames that make little sense, in any order: either side of the codec goes on or says goodbye, and never fails. */
import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { DISCARD } from '../../../src/proxy/exchange.ts';
import type { RequestSink, ResponseSink, Service } from '../../../src/proxy/exchange.ts';
import { LENGTH_UNKNOWN, RequestHead, ResponseHead } from '../../../src/proxy/head.ts';
import { Http2Client } from '../../../src/proxy/http2/client.ts';
import { PREFACE, SETTINGS } from '../../../src/proxy/http2/protocol.ts';
import { Http2Server } from '../../../src/proxy/http2/server.ts';
import { Exchange } from '../../../src/proxy/record.ts';
import { CONNECTION, Proxy } from '../codec-harness.ts';
import { encode, encoder } from './hpack/block.ts';
import { MemoryTransport } from './memory.ts';
import { GET, POST, frameOctets } from './raw.ts';

const { dataplane } = new Proxy(0, {});
/** The codec reports a fault of its own here, and only that. */
Object.assign(dataplane.log, {
  error: (facts: { err: unknown }) => {
    throw facts.err;
  },
});

/** Blocks of both kinds, and one that is neither; none of them depends on the dynamic table. */
const BLOCKS = [GET, POST, [...POST, ['content-length', '3']], [[':status', '200']], [[':status', '103']], [['x-a', 'b']], []].map((fields) => {
  const one = encoder(0);
  return encode(one, fields as never);
});

const streamId = fc.constantFrom(0, 1, 1, 1, 2, 3, 3, 5, 7, 0x7fff_ffff);
const frame = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(streamId, fc.constantFrom(...BLOCKS), fc.constantFrom(0, 1, 4, 5, 5, 4, 0x2d)).map(([id, block, flags]) => frameOctets(1, flags, id, block)) },
  { weight: 4, arbitrary: fc.tuple(streamId, fc.uint8Array({ maxLength: 20 }), fc.constantFrom(0, 0, 1, 8, 9)).map(([id, payload, flags]) => frameOctets(0, flags, id, Buffer.from(payload))) },
  { weight: 2, arbitrary: fc.tuple(streamId, fc.constantFrom(0, 1, 65_535, 0x7fff_ffff)).map(([id, bytes]) => frameOctets(8, 0, id, Buffer.from(bytes.toString(16).padStart(8, '0'), 'hex'))) },
  { weight: 1, arbitrary: streamId.map((id) => frameOctets(3, 0, id, Buffer.from('00000008', 'hex'))) },
  { weight: 1, arbitrary: fc.tuple(fc.constantFrom(1, 2, 3, 4, 5, 6, 9), fc.constantFrom(0, 1, 16_384, 65_535, 0x7fff_ffff)).map(([name, value]) => frameOctets(SETTINGS, 0, 0, Buffer.from(name.toString(16).padStart(4, '0') + value.toString(16).padStart(8, '0'), 'hex'))) },
  { weight: 1, arbitrary: fc.constantFrom(frameOctets(SETTINGS, 1, 0), frameOctets(6, 0, 0, Buffer.alloc(8)), frameOctets(6, 1, 0, Buffer.alloc(8)), frameOctets(7, 0, 0, Buffer.from('0000000100000000', 'hex')), frameOctets(7, 0, 0, Buffer.alloc(8))) },
  { weight: 1, arbitrary: fc.tuple(fc.nat(12), fc.nat(255), streamId, fc.uint8Array({ maxLength: 40 })).map(([type, flags, id, payload]) => frameOctets(type, flags, id, Buffer.from(payload))) },
);
/** What happens on the connection, and what those do who use it. */
const step = fc.oneof(
  { weight: 6, arbitrary: frame.map((octets) => ({ octets, use: -1 })) },
  { weight: 2, arbitrary: fc.nat(10).map((use) => ({ octets: Buffer.alloc(0), use })) },
);

/** Does as it is told with one exchange, whichever side it is on. */
class User {
  holds = false;
  readonly chunk = Buffer.alloc(20_000);

  data(): boolean {
    return !this.holds;
  }
}

class Answerer extends User implements Service {
  readonly #responses: ResponseSink[] = [];

  serve(_exchange: Exchange, _head: RequestHead, response: ResponseSink): RequestSink {
    this.#responses.push(response);
    let over = false;
    let aborted = false;
    return {
      ...DISCARD,
      data: () => {
        expect(over || aborted).toBe(false);
        return this.data();
      },
      end: () => {
        expect(over || aborted).toBe(false);
        over = true;
      },
      // The client may be lost after the end of its request, too.
      abort: () => {
        expect(aborted).toBe(false);
        aborted = true;
      },
    };
  }

  use(what: number): void {
    const response = this.#responses.at(-1);
    if (response === undefined) return;
    const head = new ResponseHead(what === 1 ? 204 : 200, '');
    head.contentLength = what === 1 ? 0 : LENGTH_UNKNOWN;
    if (what <= 1) response.head(head);
    else if (what <= 3) response.data(this.chunk);
    else if (what === 4) response.end(undefined);
    else if (what === 5) response.abort({ kind: { status: 503, flag: '-', source: 'mesh', details: '', sentence: '' }, code: 'internal' } as never);
    else if (what === 6) response.informational(new ResponseHead(103, ''));
    else if (what === 7) this.holds = !this.holds;
    else if (what === 8) response.resumeRequest();
    else this.#responses.pop();
  }
}

class Asker extends User {
  readonly #client: Http2Client;
  readonly #requests: RequestSink[] = [];

  constructor(client: Http2Client) {
    super();
    this.#client = client;
  }

  use(what: number): void {
    const request = this.#requests.at(-1);
    if (what <= 1) this.#ask(what === 0);
    else if (request === undefined) return;
    else if (what <= 3) request.data(this.chunk);
    else if (what === 4) request.end(undefined);
    else if (what === 5) request.abort({ code: 'downstream_gone' } as never);
    else if (what === 7) this.holds = !this.holds;
    else if (what === 8) request.resumeResponse();
    else this.#requests.pop();
  }

  #ask(bodiless: boolean): void {
    if (this.#client.capacity <= 0) return;
    const head = new RequestHead('POST', '/', 'a.test', 20);
    head.contentLength = bodiless ? 0 : LENGTH_UNKNOWN;
    let over = false;
    const once = (): void => {
      expect(over).toBe(false);
      over = true;
    };
    this.#requests.push(
      this.#client.send(new Exchange('source', CONNECTION, undefined, 0), head, {
        informational: () => undefined,
        head: () => {
          expect(over).toBe(false);
        },
        data: () => {
          expect(over).toBe(false);
          return this.data();
        },
        end: once,
        abort: once,
        resumeRequest: () => undefined,
      }),
    );
  }
}

/** The socket is full, or has drained. */
function toggle(transport: MemoryTransport, owner: { drained(): void }): void {
  transport.full = !transport.full;
  if (!transport.full) owner.drained();
}

it('a server of any frames', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const transport = new MemoryTransport();
      const service = new Answerer();
      const server = new Http2Server({ transport, connection: CONNECTION, service, dataplane, begin: () => new Exchange('source', CONNECTION, undefined, 0), onClosed: () => undefined });
      const opening = Buffer.concat([Buffer.from(PREFACE, 'latin1'), frameOctets(SETTINGS, 0, 0)]);
      server.bytes(opening, opening.length);
      for (const { octets, use } of steps) {
        if (use < 0) server.bytes(octets, octets.length);
        else if (use === 10) toggle(transport, server);
        else service.use(use);
      }
      server.closed(undefined);
    }),
    { numRuns: 3000 },
  );
});

it('a client of any frames', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const transport = new MemoryTransport();
      const client = Http2Client.over(dataplane).open(transport, { ready: () => undefined, closed: () => undefined }) as Http2Client;
      const asker = new Asker(client);
      const opening = frameOctets(SETTINGS, 0, 0);
      client.bytes(opening, opening.length);
      asker.use(0);
      asker.use(1);
      for (const { octets, use } of steps) {
        if (use < 0) client.bytes(octets, octets.length);
        else if (use === 10) toggle(transport, client);
        else asker.use(use);
      }
      client.closed(undefined);
    }),
    { numRuns: 3000 },
  );
});
