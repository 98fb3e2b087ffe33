/** What the first line and the fields of a request mean (RFC 9112 §3, §6). */
import { MeshError } from '../../core/errors.ts';
import { isAuthority, isHostAndPort } from '../authority.ts';
import { LENGTH_UNKNOWN, RequestHead } from '../head.ts';
import type { Version } from '../head.ts';
import type { Fields } from './fields.ts';
import { Malformed } from './head-scanner.ts';
import type { HeadScanner } from './head-scanner.ts';

const ABSOLUTE = /^(https?):\/\/([^/?]+)(.*)$/i;

/** @throws Malformed, MeshError */
export function readRequestHead(scanner: HeadScanner, fields: Fields): RequestHead {
  const version = readVersion(scanner.thirdWord);
  const method = scanner.firstWord;
  fields.read(scanner);
  if (fields.hosts > 1) throw new Malformed('more than one Host');
  if (fields.hosts === 0 && version === 11) throw new Malformed('no Host');
  checkAuthority(fields.host);
  const head = new RequestHead(method, scanner.secondWord, fields.host, version, fields.headers);
  readTarget(head);
  head.contentLength = bodyLength(fields, version);
  if (method === 'CONNECT' && head.contentLength !== 0) throw new Malformed('CONNECT with a body');
  if (version === 11) {
    // An Upgrade may be ignored, and is where a body would stand between the old protocol and the new.
    if (head.contentLength === 0) head.upgrade = fields.upgrade;
    head.expectContinue = readExpect(fields.expect);
  }
  return head;
}

function readVersion(text: string): Version {
  if (text === 'HTTP/1.1') return 11;
  if (text === 'HTTP/1.0') return 10;
  if (/^HTTP\/[0-9]\.[0-9]$/.test(text)) throw new MeshError('version_not_supported', { reason: text });
  throw new Malformed('the first line does not end with a protocol version');
}

function checkAuthority(authority: string): void {
  if (!isAuthority(authority)) throw new Malformed('Host is not a host with an optional port');
}

/** RFC 9112 §3.2: one of four forms. */
function readTarget(head: RequestHead): void {
  const { method, target } = head;
  if (method === 'CONNECT') {
    if (!isHostAndPort(target)) throw new Malformed('the target of CONNECT is not host:port');
    head.authority = target;
    return;
  }
  if (target.charCodeAt(0) === 0x2f) return;
  if (target === '*') {
    if (method !== 'OPTIONS') throw new Malformed('the target * is for OPTIONS only');
    return;
  }
  const parts = ABSOLUTE.exec(target);
  if (parts === null) throw new Malformed('the request target is neither a path nor an http URL');
  const [, scheme = '', authority = '', rest = ''] = parts;
  checkAuthority(authority);
  head.scheme = scheme.toLowerCase() as 'http' | 'https';
  head.target = rest.startsWith('/') ? rest : rest === '' && method === 'OPTIONS' ? '*' : `/${rest}`;
  // The URL decides, and Host must say the same to the next reader (RFC 9112 §3.2.2).
  if (authority !== head.authority || !head.headers.has('host')) head.setAuthority(authority);
}

/** One reading of the length, or none (RFC 9112 §6.1, §6.3). */
function bodyLength(fields: Fields, version: Version): number {
  const { transferEncoding, contentLength } = fields;
  if (transferEncoding === undefined) return Math.max(0, contentLength);
  if (contentLength >= 0) throw new Malformed('both Content-Length and Transfer-Encoding');
  if (version === 10) throw new Malformed('Transfer-Encoding in HTTP/1.0');
  checkTransferEncoding(transferEncoding);
  return LENGTH_UNKNOWN;
}

/** Only `chunked`, alone: other codings are not in use, and readers differ on their lists. @throws Malformed, MeshError */
export function checkTransferEncoding(value: string): void {
  if (value.toLowerCase() === 'chunked') return;
  const codings = value.split(',').map((coding) => coding.trim().toLowerCase());
  if (codings.length > 1 && codings.at(-1) === 'chunked' && !codings.slice(0, -1).some((coding) => coding === 'chunked' || coding === '')) {
    throw new MeshError('coding_not_supported', { reason: value });
  }
  throw new Malformed('Transfer-Encoding is not chunked');
}

function readExpect(value: string | undefined): boolean {
  if (value === undefined) return false;
  if (value.toLowerCase() === '100-continue') return true;
  throw new MeshError('expectation_failed', { reason: value });
}
