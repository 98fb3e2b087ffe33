/** What the status line and the fields of a response mean (RFC 9112 §4, §6.3). */
import { LENGTH_UNKNOWN, ResponseHead } from '../head.ts';
import type { Fields } from './fields.ts';
import { Malformed } from './head-scanner.ts';
import type { HeadScanner } from './head-scanner.ts';
import { FRAMING_CHUNKED, FRAMING_UNTIL_CLOSE } from './framing.ts';

/** How a body is framed: a length, or one of the two framings without one. @throws Malformed */
export function readResponseHead(scanner: HeadScanner, fields: Fields, method: string): { head: ResponseHead; framing: number } {
  const version = scanner.firstWord === 'HTTP/1.1' ? 11 : 10;
  fields.read(scanner);
  const head = new ResponseHead(Number(scanner.secondWord), scanner.thirdWord, fields.headers, version);
  const { status } = head;
  checkFraming(fields, version);
  if (status === 101) head.upgrade = fields.upgrade;
  const framing = framingOf(fields, status, method);
  // A length where there can be no body would be read as the length of one by somebody (RFC 9110 §8.6).
  if (status < 200 || status === 204) fields.headers.remove('content-length');
  head.contentLength = framing < 0 ? LENGTH_UNKNOWN : framing;
  return { head, framing };
}

function checkFraming({ transferEncoding, contentLength }: Fields, version: 10 | 11): void {
  if (transferEncoding === undefined) return;
  if (contentLength >= 0) throw new Malformed('both Content-Length and Transfer-Encoding');
  if (version === 10) throw new Malformed('Transfer-Encoding in HTTP/1.0');
  if (transferEncoding.toLowerCase() !== 'chunked') throw new Malformed('Transfer-Encoding is not chunked');
}

function framingOf({ transferEncoding, contentLength }: Fields, status: number, method: string): number {
  if (method === 'HEAD' || status < 200 || status === 204 || status === 304) return 0;
  // The tunnel that a CONNECT asked for.
  if (method === 'CONNECT' && status < 300) return 0;
  if (transferEncoding !== undefined) return FRAMING_CHUNKED;
  return contentLength >= 0 ? contentLength : FRAMING_UNTIL_CLOSE;
}
