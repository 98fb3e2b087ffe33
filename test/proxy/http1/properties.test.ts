import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { MeshError } from '../../../src/core/errors.ts';
import { LENGTH_UNKNOWN, RequestHead, ResponseHead } from '../../../src/proxy/head.ts';
import { RequestParser, ResponseParser } from '../../../src/proxy/http1/parser.ts';
import { BODY_CHUNKED, BODY_LENGTH, BODY_NONE, requestText, responseText } from '../../../src/proxy/http1/serializer.ts';

const token = fc.stringMatching(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}$/);
/** Neither what frames or routes a message, nor what belongs to one connection. */
const name = token.filter((text) => !['host', 'content-length', 'transfer-encoding', 'connection', 'upgrade', 'te', 'expect', 'keep-alive', 'proxy-connection'].includes(text.toLowerCase()));
const value = fc.stringMatching(/^(?:[!-~\x80-\xff](?:[ \t!-~\x80-\xff]{0,30}[!-~\x80-\xff])?)?$/);
const fields = fc.array(fc.tuple(name, value), { maxLength: 12 });
const target = fc.stringMatching(/^\/[!"$-~]{0,40}$/);
const body = fc.uint8Array({ maxLength: 200 });
const cuts = fc.array(fc.nat(2000), { maxLength: 8 });

function pieces(text: string, bytes: Uint8Array, at: readonly number[]): Buffer[] {
  const all = Buffer.concat([Buffer.from(text, 'latin1'), bytes]);
  const ends = [...at.map((cut) => cut % (all.length + 1)), all.length].sort((a, b) => a - b);
  return ends.map((end, index) => all.subarray(ends[index - 1] ?? 0, end));
}

it('what the serialiser writes of a request the parser reads, however it is split', () => {
  fc.assert(
    fc.property(token, target, fields, body, fc.boolean(), cuts, (method, path, list, bytes, chunked, at) => {
      fc.pre(method !== 'CONNECT');
      const head = new RequestHead(method, path, 'a:80', 11);
      head.headers.add('Host', 'a:80');
      for (const [key, text] of list) head.headers.add(key, text);
      head.contentLength = chunked ? LENGTH_UNKNOWN : bytes.length;
      let read: RequestHead | undefined;
      const got: Buffer[] = [];
      const parser = new RequestParser({ requestHead: (parsed) => void (read = parsed), body: (chunk) => got.push(Buffer.from(chunk)) > 0 });
      const wire = chunked ? Buffer.concat([Buffer.from(bytes.length === 0 ? '' : `${bytes.length.toString(16)}\r\n`), bytes, Buffer.from(bytes.length === 0 ? '0\r\n\r\n' : '\r\n0\r\n\r\n')]) : bytes;
      for (const piece of pieces(requestText(head, false), wire, at)) expect(parser.feed(piece, 0, piece.length)).toBe(piece.length);
      expect(parser.complete).toBe(true);
      expect([read?.method, read?.target, read?.authority, read?.contentLength]).toEqual([method, path, 'a:80', head.contentLength]);
      for (const [index, [key, text]] of list.entries()) expect([read?.headers.nameAt(index + 1), read?.headers.valueAt(index + 1)]).toEqual([key, text]);
      expect(Buffer.concat(got)).toEqual(Buffer.from(bytes));
    }),
  );
});

it('what the serialiser writes of a response the parser reads, however it is split', () => {
  fc.assert(
    fc.property(fc.integer({ min: 200, max: 999 }), value, fields, body, fc.boolean(), cuts, (status, reason, list, bytes, chunked, at) => {
      fc.pre(status !== 204 && status !== 304);
      const head = new ResponseHead(status, reason);
      for (const [key, text] of list) head.headers.add(key, text);
      head.contentLength = chunked ? LENGTH_UNKNOWN : bytes.length;
      let read: ResponseHead | undefined;
      const got: Buffer[] = [];
      const parser = new ResponseParser({ responseHead: (parsed) => void (read = parsed), body: (chunk) => got.push(Buffer.from(chunk)) > 0 });
      const text = responseText(head, { body: chunked ? BODY_CHUNKED : bytes.length === 0 ? BODY_NONE : BODY_LENGTH, connection: '', lengthAllowed: true });
      const wire = chunked ? Buffer.concat([Buffer.from(bytes.length === 0 ? '' : `${bytes.length.toString(16)}\r\n`), bytes, Buffer.from(bytes.length === 0 ? '0\r\n\r\n' : '\r\n0\r\n\r\n')]) : bytes;
      for (const piece of pieces(text, wire, at)) parser.feed(piece, 0, piece.length);
      expect(parser.complete).toBe(true);
      expect(read?.status).toBe(status);
      if (reason !== '') expect(read?.reason).toBe(reason);
      for (const [index, [key, text2]] of list.entries()) expect([read?.headers.nameAt(index), read?.headers.valueAt(index)]).toEqual([key, text2]);
      expect(Buffer.concat(got)).toEqual(Buffer.from(bytes));
    }),
  );
});

it('no bytes make a parser fail in any other way than by refusing them', () => {
  const word = fc.constantFrom('GET ', '/ ', 'HTTP/1.1', ' 200 OK', '\r\n', '\r', '\n', 'Host: a', 'Content-Length: ', '5', 'Transfer-Encoding: chunked', '0', ':', ' ', ';', 'Upgrade: x', 'Connection: upgrade', 'Expect: x', '[', '://');
  const noise = fc.oneof(fc.uint8Array({ maxLength: 100 }), fc.array(word, { maxLength: 30 }).map((words) => Buffer.from(words.join(''))));
  const prefix = fc.constantFrom('', 'GET / HTTP/1.1\r\n', 'GET / HTTP/1.1\r\nHost: a\r\n', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n', 'HTTP/1.1 200 OK\r\n', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
  fc.assert(
    fc.property(prefix, noise, cuts, (start, bytes, at) => {
      const parsers = [new RequestParser({ requestHead: () => undefined, body: () => true }), new ResponseParser({ responseHead: () => undefined, body: () => true })];
      for (const parser of parsers) {
        try {
          for (const piece of pieces(start, bytes, at)) {
            let from = 0;
            while (from < piece.length) {
              from = parser.feed(piece, from, piece.length);
              if (parser.complete) parser.next();
            }
          }
        } catch (error) {
          expect(error).toBeInstanceOf(MeshError);
        }
      }
    }),
    { numRuns: 2000 },
  );
});
