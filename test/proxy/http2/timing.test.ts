/** What an HTTP/2 connection does when time passes. */
import { expect, it } from 'vitest';
import { FakeClock } from '../../../src/core/clock.ts';
import { DOWNSTREAM_IDLE_TIMEOUT_MS, HEAD_TIMEOUT_MS, HTTP2_GOAWAY_GRACE_MS } from '../../../src/core/limits.ts';
import { DISCARD } from '../../../src/proxy/exchange.ts';
import type { ResponseSink, Service } from '../../../src/proxy/exchange.ts';
import { ResponseHead } from '../../../src/proxy/head.ts';
import { Http2Client } from '../../../src/proxy/http2/client.ts';
import { ACK, END_HEADERS, END_STREAM, HEADERS, NO_ERROR, PING, PREFACE, REFUSED_STREAM, SETTINGS, STREAM_ID_MAX, goAway, rstStream } from '../../../src/proxy/http2/protocol.ts';
import { Http2Server } from '../../../src/proxy/http2/server.ts';
import type { Http2Settings } from '../../../src/proxy/http2/settings.ts';
import { Exchange } from '../../../src/proxy/record.ts';
import { CONNECTION, ECHO, Proxy } from '../codec-harness.ts';
import { encode, encoder } from './hpack/block.ts';
import { MemoryTransport } from './memory.ts';
import { GET, frameOctets } from './raw.ts';

const SETTINGS_WITH_PINGS: Http2Settings = {
  streamWindowBytes: 65_535,
  connectionWindowBytes: 65_535,
  frameBytes: 16_384,
  headerListBytes: 65_536,
  streams: 100,
  pingAfterMs: 10_000,
  pingTimeoutMs: 20_000,
};
const OPENING = Buffer.concat([Buffer.from(PREFACE, 'latin1'), frameOctets(SETTINGS, 0, 0)]);

interface Line {
  readonly clock: FakeClock;
  readonly transport: MemoryTransport;
  readonly server: Http2Server;
  /** Bytes from the client. */
  readonly say: (...octets: readonly Buffer[]) => void;
}

function line(service: Service = ECHO, settings?: Http2Settings): Line {
  const clock = new FakeClock();
  const transport = new MemoryTransport();
  const { dataplane } = new Proxy(0, { clock });
  const server = new Http2Server({
    transport,
    connection: CONNECTION,
    service,
    dataplane,
    begin: () => new Exchange('source', CONNECTION, undefined, 0),
    onClosed: () => undefined,
    ...(settings === undefined ? {} : { settings }),
  });
  return {
    clock,
    transport,
    server,
    say: (...octets) => {
      const all = Buffer.concat(octets);
      server.bytes(all, all.length);
    },
  };
}

function request(stream: number): Buffer {
  return frameOctets(HEADERS, END_HEADERS | END_STREAM, stream, encode(encoder(0), GET));
}

const PING_FRAME = '\0\0\x08\x06\0\0\0\0\0';

it('a client that says nothing is sent away', () => {
  const { clock, transport } = line();
  clock.advance(HEAD_TIMEOUT_MS - 1000);
  expect(transport.written).not.toContain('(end)');
  clock.advance(2000);
  expect(transport.written).toContain(`${goAway(0, NO_ERROR)}(end)`);
  clock.advance(10_000);
  expect(transport.written).toContain('(destroyed)');
});

it('a client that never finishes a frame is sent away', () => {
  const { clock, transport, say } = line();
  say(OPENING, request(1).subarray(0, 12));
  clock.advance(HEAD_TIMEOUT_MS * 2 + 1000);
  expect(transport.written).toContain(`${goAway(0, NO_ERROR)}(end)`);
});

it('an idle client may stay for the idle timeout, and is then asked to leave', () => {
  const { clock, transport, say } = line();
  say(OPENING, request(1));
  clock.advance(DOWNSTREAM_IDLE_TIMEOUT_MS - HEAD_TIMEOUT_MS);
  expect(transport.written).not.toContain(goAway(STREAM_ID_MAX, NO_ERROR));
  clock.advance(2 * HEAD_TIMEOUT_MS);
  expect(transport.written).toContain(goAway(STREAM_ID_MAX, NO_ERROR));
  expect(transport.written).toContain(`${goAway(1, NO_ERROR)}(end)`);
});

it('a client with a stream under way may be silent for as long as it likes', () => {
  const { clock, transport, say } = line({ serve: () => DISCARD });
  say(OPENING, request(1));
  clock.advance(2 * DOWNSTREAM_IDLE_TIMEOUT_MS);
  expect(transport.written).not.toContain('(end)');
  expect(transport.written).not.toContain(goAway(STREAM_ID_MAX, NO_ERROR));
});

it('a drained server takes what crosses its goodbye, names the last stream after a moment, and refuses what comes later', () => {
  const responses: ResponseSink[] = [];
  const { clock, transport, server, say } = line({
    serve: (_exchange, _head, response) => {
      responses.push(response);
      return DISCARD;
    },
  });
  say(OPENING, request(1));
  server.drain();
  expect(transport.written).toContain(goAway(STREAM_ID_MAX, NO_ERROR));
  say(request(3));
  expect(responses.length).toBe(2);
  clock.advance(HTTP2_GOAWAY_GRACE_MS);
  expect(transport.written).toContain(goAway(3, NO_ERROR));
  say(request(5));
  expect(responses.length).toBe(2);
  expect(transport.written).toContain(rstStream(5, REFUSED_STREAM));
  for (const response of responses) {
    response.head(new ResponseHead(204, ''));
    response.end(undefined);
  }
  expect(transport.written).toMatch(/\(end\)$/);
});

it('a drained server does not wait when the client has read its goodbye', () => {
  const { transport, server, say } = line();
  say(OPENING);
  server.drain();
  expect(transport.written).not.toContain('(end)');
  say(frameOctets(PING, ACK, 0, Buffer.from('orlop/hb')));
  expect(transport.written).toContain(`${goAway(0, NO_ERROR)}(end)`);
});

it('a silent peer is probed, and lives as long as it answers', () => {
  const { clock, transport, say } = line({ serve: () => DISCARD }, SETTINGS_WITH_PINGS);
  say(OPENING, request(1));
  for (let i = 1; i <= 5; i += 1) {
    clock.advance(10_100);
    expect(transport.written.split(PING_FRAME).length - 1).toBe(i);
    say(frameOctets(PING, ACK, 0, Buffer.from('orlop/hb')));
  }
  clock.advance(10_100);
  clock.advance(20_100);
  expect(transport.written).toMatch(/\(destroyed\)$/);
});

it('an endpoint that is silent is probed just so', () => {
  const clock = new FakeClock();
  const transport = new MemoryTransport();
  const { dataplane } = new Proxy(0, { clock });
  const client = new Http2Client(transport, { ready: () => undefined, closed: () => undefined }, dataplane, SETTINGS_WITH_PINGS);
  const opening = frameOctets(SETTINGS, 0, 0);
  client.bytes(opening, opening.length);
  clock.advance(10_100);
  expect(transport.written).toContain(PING_FRAME);
  clock.advance(20_100);
  expect(transport.written).toMatch(/\(destroyed\)$/);
});
