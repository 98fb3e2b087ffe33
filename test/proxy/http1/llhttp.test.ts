import { describe, expect, it } from 'vitest';
import { MeshError } from '../../../src/core/errors.ts';
import { HeadScanner, REQUEST, RESPONSE } from '../../../src/proxy/http1/head-scanner.ts';
import { RequestParser, ResponseParser } from '../../../src/proxy/http1/parser.ts';
import { readVectors } from './vectors.ts';
import type { Vector } from './vectors.ts';

type Kind = 'request' | 'response';

/** What is deliberately read in another way than llhttp reads it, each with its reason. Lenient modes do not count. */
const STRICTER: Readonly<Record<string, string>> = {
  'request/connection.md: CRLF between requests, implicit `keep-alive`': 'RFC 9112 §2.2 tolerates one empty line before a request, not two',
  'request/method.md: CONNECT with body': 'RFC 9110 §9.3.6: CONNECT has no content, and a length there is where two readers part',
  'request/method.md: M-SEARCH request': 'RFC 9112 §3.2.4: the asterisk form is for OPTIONS only',
  'request/method.md: SOURCE request with ICE': 'not HTTP',
  'request/method.md: OPTIONS request with RTSP': 'not HTTP',
  'request/method.md: ANNOUNCE request with RTSP': 'not HTTP',
  'request/method.md: PRI request HTTP2': 'HTTP/2 is told apart before this codec sees a connection',
  'request/sample.md: No HTTP version': 'HTTP/0.9 has no head to route by',
  'request/transfer-encoding.md: POST with `chunked` as last transfer-encoding': 'RFC 9112 §3.2: no fragment in a request target (and codings besides chunked are answered with 501)',
  'request/transfer-encoding.md: POST with `chunked` as last transfer-encoding (multiple headers)': 'as above',
  'request/uri.md: Fragment in URI': 'RFC 9112 §3.2: a fragment is never sent',
  'request/uri.md: `host:port` and basic auth': 'RFC 9110 §4.2.4: user information in a URL is to be treated as an error',
  'response/sample.md: RTSP response': 'not HTTP',
  'response/sample.md: ICE response': 'not HTTP',
  'response/sample.md: HTTP version 0.9': 'HTTP/0.9 has no head',
  'response/sample.md: Response starting with CRLF': 'RFC 9112 §2.2 tolerates an empty line before requests only',
  'response/pipelining.md: Should parse multiple events': 'an empty line between answers: bytes after the announced end of one',
  'response/connection.md: HTTP 304 with Content-Length': 'as above',
  'response/connection.md: HTTP 100 first, then 400': 'as above',
  'response/transfer-encoding.md: `chunked` before other transfer-encoding': 'codings besides chunked are refused, so that no two readers can disagree on the length',
  'response/transfer-encoding.md: multiple transfer-encoding where chunked is not the last one': 'as above',
  'response/transfer-encoding.md: `chunkedchunked` transfer-encoding does not enable chunked enconding': 'as above',
};
const MORE_TOLERANT: Readonly<Record<string, string>> = {
  'request/invalid.md: Invalid method': 'RFC 9110 §9.1: a method is any token; a proxy passes on those it does not know',
  'request/invalid.md: HTTP protocol and ANNOUNCE method': 'as above',
};

interface Found {
  readonly spans: string[];
  complete: boolean;
}

interface Outcome {
  readonly messages: Found[];
  /** Refused by the parser, or bytes after a message that said it was the last. */
  refused: boolean;
  /** Bytes that belong to another protocol. */
  switched: boolean;
}

/** Parse `input`, delivered in the pieces that end at `cuts`. */
function parse(kind: Kind, input: Buffer, cuts: readonly number[]): Outcome {
  const outcome: Outcome = { messages: [], refused: false, switched: false };
  let body = '';
  let inBody = false;
  let upgrade = false;
  const reader = {
    requestHead: (head: { upgrade: string | undefined; method: string }) => {
      upgrade = head.upgrade !== undefined || head.method === 'CONNECT';
      inBody = true;
    },
    responseHead: (head: { status: number }) => {
      upgrade = head.status === 101;
      inBody = true;
    },
    body: (chunk: Buffer) => {
      body += chunk.toString('latin1');
      return true;
    },
  };
  const parser = kind === 'request' ? new RequestParser(reader) : new ResponseParser(reader);
  let begin = 0;
  const note = (complete: boolean): void => {
    const found: Found = { spans: headSpans(kind, input.subarray(begin)), complete };
    if (body !== '') found.spans.push(body);
    const trailers = complete ? parser.trailers : undefined;
    if (trailers !== undefined) for (let i = 0; i < trailers.size; i += 1) found.spans.push(trailers.nameAt(i), trailers.valueAt(i));
    outcome.messages.push(found);
    body = '';
    inBody = false;
  };
  let at = 0;
  try {
    for (const cut of [...cuts, input.length]) {
      while (at < cut) {
        at = parser.feed(input, at, cut);
        if (!parser.complete) continue;
        note(true);
        if (upgrade && at < input.length) {
          outcome.switched = true;
          return outcome;
        }
        if (!parser.persistent && at < input.length) {
          outcome.refused = true;
          return outcome;
        }
        parser.next();
        begin = at;
      }
    }
  } catch (error) {
    expect(error).toBeInstanceOf(MeshError);
    outcome.refused = true;
  }
  if (inBody) note(false);
  return outcome;
}

function headSpans(kind: Kind, message: Buffer): string[] {
  const scanner = new HeadScanner(kind === 'request' ? REQUEST : RESPONSE);
  scanner.scan(message, 0, message.length);
  const first = kind === 'request' ? [scanner.firstWord, scanner.secondWord, scanner.thirdWord.slice(5)] : [scanner.firstWord.slice(5), scanner.thirdWord];
  const spans = first;
  for (let i = 0; i < scanner.count; i += 1) if (scanner.nameAt(i).name !== ADDED_HOST) spans.push(scanner.nameAt(i).name, scanner.valueAt(i));
  return spans.filter((span) => span !== '');
}

/** llhttp does not ask for Host; we do (RFC 9112 §3.2). Vectors without one are given one by this name. */
const ADDED_HOST = 'hOST';

function withHost(kind: Kind, input: Buffer): Buffer {
  const text = input.toString('latin1');
  if (kind === 'response' || /\r\nhost:/i.test(text)) return input;
  return Buffer.from(text.replace(/^([A-Z-]+ [^\r\n]* HTTP\/1\.1\r\n)/gm, `$1${ADDED_HOST}: h\r\n`), 'latin1');
}

function expectedMessages(vector: Vector): Found[] {
  return vector.messages
    .filter((message) => message.headComplete)
    .map((message) => ({
      // White space after a value is not part of it (RFC 9110 §5.5); the log holds UTF-8, and we octets.
      spans: message.spans
        .map((span) => Buffer.from(span.name === 'header_value' ? span.text.replace(/[ \t]+$/, '') : span.text).toString('latin1'))
        .filter((span) => span !== '')
        .filter((span, index, all) => !isForbiddenTrailer(vector, span, all[index - 1])),
      complete: message.complete,
    }));
}

/** Of the only vector with trailers: neither field may be one (RFC 9110 §6.5.1), so both are dropped. */
function isForbiddenTrailer(vector: Vector, span: string, before: string | undefined): boolean {
  return vector.name === 'request/transfer-encoding.md: Trailing headers' && (['Vary', 'Content-Type'].includes(span) || ['Vary', 'Content-Type'].includes(before ?? ''));
}

describe.each(['request', 'response'] as const)('llhttp vectors of a %s', (kind) => {
  const vectors = readVectors(kind).filter((vector) => vector.mode === kind && !vector.skipBody);

  it('are all there', () => {
    expect(vectors.length).toBeGreaterThan(kind === 'request' ? 110 : 65);
  });

  it.each(vectors.map((vector) => [vector.name, vector] as const))('%s', (name, vector) => {
    const input = withHost(kind, vector.input);
    const whole = parse(kind, input, []);
    // However it is split, the same is found.
    for (let cut = 1; cut < input.length; cut += 1) expect(parse(kind, input, [cut]), `split at ${cut}`).toEqual(whole);
    expect(parse(kind, input, Array.from({ length: input.length }, (_, index) => index)), 'octet by octet').toEqual(whole);

    const complete = vector.messages.filter((message) => message.complete).length;
    if (STRICTER[name] !== undefined) expect(whole.refused).toBe(true);
    else if (MORE_TOLERANT[name] !== undefined) expect(whole.refused).toBe(false);
    else if (vector.error === undefined) {
      expect(whole.refused).toBe(false);
      expect(whole.messages).toEqual(expectedMessages(vector));
    } else {
      // Not one message more gets through than llhttp lets through before it refuses.
      expect(whole.messages.filter((message) => message.complete).length).toBeLessThanOrEqual(complete);
    }
  });
});

it('names no difference that is none', () => {
  const names = new Set([...readVectors('request'), ...readVectors('response')].map((vector) => vector.name));
  for (const name of [...Object.keys(STRICTER), ...Object.keys(MORE_TOLERANT)]) expect(names).toContain(name);
});
