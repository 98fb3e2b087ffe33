/** The heads of a request and a response, the same for every HTTP version. */
import type { RequestView } from '../mesh/match.ts';
import { HeaderList } from './headers.ts';

/** HTTP version times ten: 10, 11, 20. */
export type Version = 10 | 11 | 20;

/** `contentLength` when the length is not known beforehand (chunked, or until close). */
export const LENGTH_UNKNOWN = -1;

/**
 * Fields that concern one connection (RFC 9110 §7.6.1) are not in `headers`: the codec that read them took them out
 * (Connection and what it names, Keep-Alive, Proxy-Connection, TE except trailers, Transfer-Encoding, Upgrade), and the
 * codec that writes puts its own in. Host stays in `headers` as the client wrote it, and follows {@link setAuthority}.
 */
export class RequestHead implements RequestView {
  method: string;
  /** Origin form (`/path?query`), `*` for OPTIONS, or `host:port` for CONNECT. */
  target: string;
  scheme: 'http' | 'https' = 'http';
  /** Host header or :authority, as received; empty in HTTP/1.0 without Host. */
  authority: string;
  version: Version;
  headers: HeaderList;
  /** 0 = no body; {@link LENGTH_UNKNOWN} = a body of unknown length. */
  contentLength = 0;
  /** Protocol of an `Upgrade` the client asked for (`websocket`), lower case. */
  upgrade: string | undefined;
  /** The client waits for 100 Continue before it sends the body. */
  expectContinue = false;

  constructor(method: string, target: string, authority: string, version: Version, headers: HeaderList = new HeaderList()) {
    this.method = method;
    this.target = target;
    this.authority = authority;
    this.version = version;
    this.headers = headers;
  }

  get path(): string {
    const mark = this.target.indexOf('?');
    return mark < 0 ? this.target : this.target.slice(0, mark);
  }

  get query(): string {
    const mark = this.target.indexOf('?');
    return mark < 0 ? '' : this.target.slice(mark + 1);
  }

  header(lowerName: string): string | undefined {
    return this.headers.joined(lowerName);
  }

  /** Change the host the upstream sees. */
  setAuthority(authority: string): void {
    this.authority = authority;
    this.headers.set('Host', authority);
  }

  /** A copy that can be changed on its own: for mirrors, and for retries after per-try edits. */
  clone(): RequestHead {
    const copy = new RequestHead(this.method, this.target, this.authority, this.version, this.headers.clone());
    copy.scheme = this.scheme;
    copy.contentLength = this.contentLength;
    copy.upgrade = this.upgrade;
    copy.expectContinue = this.expectContinue;
    return copy;
  }
}

export class ResponseHead {
  status: number;
  /** Reason phrase as received; empty = the usual one. */
  reason: string;
  version: Version;
  headers: HeaderList;
  /** 0 = no body; {@link LENGTH_UNKNOWN} = a body of unknown length. The body's own length, also for HEAD and 304, is in the headers. */
  contentLength = 0;
  /** Protocol switched to by a 101. */
  upgrade: string | undefined;

  constructor(status: number, reason: string, headers: HeaderList = new HeaderList(), version: Version = 11) {
    this.status = status;
    this.reason = reason;
    this.headers = headers;
    this.version = version;
  }
}
