/** However a connection's bytes are cut, by TCP or into CONTINUATION frames, the same requests are read. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DISCARD } from '../../../src/proxy/exchange.ts';
import { CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS } from '../../../src/proxy/http2/protocol.ts';
import { Http2Server } from '../../../src/proxy/http2/server.ts';
import { Exchange } from '../../../src/proxy/record.ts';
import { CONNECTION, Proxy } from '../codec-harness.ts';
import { encode, encoder } from './hpack/block.ts';
import { MemoryTransport } from './memory.ts';
import { frameOctets } from './raw.ts';

const STORIES = join(import.meta.dirname, '../../data/hpack/nghttp2');

const { dataplane: DATAPLANE } = new Proxy(0, {});
/** In the stories, which are older than the rule, but in no request of HTTP/2 (RFC 9113 §8.2.2). */
const FORBIDDEN = new Set(['connection', 'proxy-connection', 'keep-alive', 'transfer-encoding', 'upgrade']);

/** What a server makes of the pieces: its requests, and every byte it says. */
function read(pieces: readonly Buffer[]): { requests: string[]; written: string } {
  const requests: string[] = [];
  const transport = new MemoryTransport();
  const server = new Http2Server({
    transport,
    connection: CONNECTION,
    service: {
      serve: (_exchange, head) => {
        requests.push(`${head.method} ${head.scheme}://${head.authority}${head.target}\n${head.headers.toText()}`);
        return {
          ...DISCARD,
          data: (chunk) => {
            requests.push(`data ${chunk.toString('latin1')}`);
            return true;
          },
          end: (trailers) => void requests.push(`end ${trailers?.toText() ?? ''}`),
        };
      },
    },
    dataplane: DATAPLANE,
    begin: () => new Exchange('source', CONNECTION, undefined, 0),
    onClosed: () => undefined,
  });
  // As a socket's buffer is: reused for the next read as soon as the call is over.
  const shared = Buffer.alloc(Math.max(...pieces.map((piece) => piece.length), 0));
  for (const piece of pieces) {
    piece.copy(shared);
    server.bytes(shared, piece.length);
    shared.fill(0xee);
  }
  server.closed(undefined);
  return { requests, written: transport.written };
}

function cutAt(octets: Buffer, ...cuts: readonly number[]): Buffer[] {
  return [0, ...cuts].map((cut, i) => octets.subarray(cut, cuts[i] ?? octets.length));
}

const OPENING = Buffer.concat([Buffer.from(PREFACE, 'latin1'), frameOctets(SETTINGS, 0, 0)]);

interface Story {
  readonly cases: readonly { readonly wire: string; readonly headers: readonly Readonly<Record<string, string>>[] }[];
}

function story(name: string): Story {
  return JSON.parse(readFileSync(join(STORIES, name), 'utf8')) as Story;
}

function fieldsOf({ headers }: Story['cases'][number]): [name: string, value: string][] {
  return headers.map((header) => Object.entries(header)[0] as [string, string]);
}

/** As nghttp2 wrote them. */
function theirBlocks(name: string): Buffer[] {
  return story(name).cases.map(({ wire }) => Buffer.from(wire, 'hex'));
}

/** As we write them, without what is forbidden. */
function ourBlocks(name: string): Buffer[] {
  const writer = encoder();
  return story(name).cases.map((one) => encode(writer, fieldsOf(one).filter(([field]) => !FORBIDDEN.has(field))));
}

/** Requests of a story, one frame each. */
function requestsOf(blocks: readonly Buffer[]): Buffer {
  return Buffer.concat([OPENING, ...blocks.map((block, i) => frameOctets(HEADERS, END_HEADERS | END_STREAM, i * 2 + 1, block))]);
}

const NAMES = readdirSync(STORIES).filter((name) => name < 'story_20');

describe.each([
  ...NAMES.map((name) => ({ name, by: 'nghttp2', blocks: theirBlocks(name), valid: story(name).cases.filter((one) => !fieldsOf(one).some(([field]) => FORBIDDEN.has(field))).length })),
  ...NAMES.map((name) => ({ name, by: 'us', blocks: ourBlocks(name), valid: story(name).cases.length })),
])('$name written by $by', ({ blocks, valid }) => {
  const octets = requestsOf(blocks);
  const whole = read([octets]);

  it('is read', () => {
    expect(whole.requests.length).toBe(valid * 2);
    expect(whole.written).not.toContain('(');
  });

  it('is read the same, cut by TCP anywhere, and octet by octet', () => {
    for (let cut = 1; cut < octets.length; cut += 1) expect(read(cutAt(octets, cut)), `cut at ${cut}`).toEqual(whole);
    expect(read(Array.from(octets, (octet) => Buffer.from([octet])))).toEqual(whole);
  });

  it('is read the same, each section cut anywhere into CONTINUATION frames', () => {
    const longest = Math.max(...blocks.map((block) => block.length));
    for (let cut = 0; cut <= longest; cut += 1) {
      const frames = blocks.flatMap((block, i) => {
        const at = Math.min(cut, block.length);
        const streamId = i * 2 + 1;
        return [frameOctets(HEADERS, END_STREAM, streamId, block.subarray(0, at)), frameOctets(CONTINUATION, 0, streamId), frameOctets(CONTINUATION, END_HEADERS, streamId, block.subarray(at))];
      });
      expect(read([Buffer.concat([OPENING, ...frames])]), `cut at ${cut}`).toEqual(whole);
    }
  });
});

it('every kind of frame is read the same, cut anywhere', () => {
  const block = theirBlocks('story_00.json')[0] as Buffer;
  const octets = Buffer.concat([
    OPENING,
    frameOctets(HEADERS, END_HEADERS | 0x8 | 0x20, 1, Buffer.concat([Buffer.from('0300000000ff', 'hex'), block, Buffer.alloc(3)])),
    frameOctets(6, 0, 0, Buffer.from('12345678')),
    frameOctets(0, 0x8, 1, Buffer.concat([Buffer.from([4]), Buffer.from('padded'), Buffer.alloc(4)])),
    frameOctets(0, 0, 1),
    frameOctets(2, 0, 5, Buffer.from('0000000010', 'hex')),
    frameOctets(0xfa, 0xff, 7, Buffer.from('unknown')),
    frameOctets(0, 0, 1, Buffer.from('plain')),
    frameOctets(8, 0, 1, Buffer.from('00000001', 'hex')),
    frameOctets(8, 0, 0, Buffer.from('00000001', 'hex')),
    frameOctets(0, 0x8, 1, Buffer.from([0])),
    frameOctets(HEADERS, END_HEADERS | END_STREAM, 1, Buffer.from('0001780179', 'hex')),
    frameOctets(HEADERS, END_HEADERS | END_STREAM, 3, block),
    frameOctets(3, 0, 3, Buffer.from('00000008', 'hex')),
    frameOctets(7, 0, 0, Buffer.from('0000000000000000', 'hex')),
  ]);
  const whole = read([octets]);
  const joined = (requests: readonly string[]): string => requests.join('\n').replaceAll(/\ndata ([^\n]*)/g, '$1');
  expect(joined(whole.requests)).toContain('paddedplain');
  expect(whole.written).not.toContain('(');
  for (let cut = 1; cut < octets.length; cut += 1) {
    const cutUp = read(cutAt(octets, cut));
    expect(joined(cutUp.requests), `cut at ${cut}`).toBe(joined(whole.requests));
    expect(cutUp.written, `cut at ${cut}`).toBe(whole.written);
  }
});
