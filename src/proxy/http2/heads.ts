/**
 * Header sections read into heads (RFC 9113 §8.2, §8.3). Everything that would read differently after translation to HTTP/1 is
 * refused here: line breaks in values, fields of one connection, two authorities, a length that is none.
 */
import { HEADER_COUNT_MAX } from '../../core/limits.ts';
import { isAuthority, isHostAndPort } from '../authority.ts';
import { LENGTH_UNKNOWN, RequestHead, ResponseHead } from '../head.ts';
import { HeaderList } from '../headers.ts';
import { TARGET, TOKEN, VALUE } from '../octets.ts';
import { mayBeTrailer } from '../trailers.ts';

/** Fields that belong to one connection, which HTTP/2 has no use for (§8.2.2). */
const CONNECTION_FIELDS = new Set(['connection', 'proxy-connection', 'keep-alive', 'transfer-encoding', 'upgrade']);
const LENGTH_DIGITS = /^[0-9]{1,15}$/;
const STATUS = /^[1-5][0-9][0-9]$/;

/** Names found valid, because nearly all repeat. */
const VALID_NAMES = new Set<string>();
const VALID_NAMES_MAX = 2048;
const VALID_NAME_CHARS_MAX = 64;

/** What the fields of any section have in common. One reader serves all sections of a connection, one after the other. */
abstract class SectionReader {
  headers = new HeaderList();
  /** Why the section is malformed (§8.1.1); the stream is reset. */
  malformed: string | undefined;
  /** More fields than are taken. */
  tooMany = false;
  protected contentLength = LENGTH_UNKNOWN;
  #regular = false;
  #cookie = '';

  begin(): void {
    this.headers = new HeaderList();
    this.malformed = undefined;
    this.tooMany = false;
    this.contentLength = LENGTH_UNKNOWN;
    this.#regular = false;
    this.#cookie = '';
  }

  field(name: string, value: string, neverIndexed: boolean): void {
    if (this.malformed !== undefined) return;
    if (neverIndexed) this.headers.keepSecret(name);
    if (!isValue(value)) this.refuse(`field ${JSON.stringify(name)} has a value that is none`);
    else if (name.charCodeAt(0) === 0x3a) this.#pseudo(name, value);
    else this.#ordinary(name, value);
  }

  /** The pseudo-header fields are complete. */
  protected abstract pseudoEnded(): void;
  protected abstract pseudo(name: string, value: string): void;

  protected refuse(reason: string): void {
    this.malformed ??= reason;
  }

  protected finishFields(): void {
    if (!this.#regular) this.pseudoEnded();
    // Crumbs are one field to everybody else (§8.2.3).
    if (this.#cookie !== '') this.headers.pushParsed('cookie', 'cookie', this.#cookie);
  }

  #pseudo(name: string, value: string): void {
    if (this.#regular) this.refuse(`${name} after other fields`);
    else this.pseudo(name, value);
  }

  #ordinary(name: string, value: string): void {
    if (!this.#regular) {
      this.#regular = true;
      this.pseudoEnded();
    }
    if (!isName(name)) this.refuse(`${JSON.stringify(name)} is no field name`);
    else if (CONNECTION_FIELDS.has(name)) this.refuse(`field ${name} has no place in HTTP/2`);
    else if (this.headers.size >= HEADER_COUNT_MAX) this.tooMany = true;
    else this.#keep(name, value);
  }

  #keep(name: string, value: string): void {
    switch (name) {
      case 'cookie':
        this.#cookie = this.#cookie === '' ? value : `${this.#cookie}; ${value}`;
        return;
      case 'te':
        if (value !== 'trailers') this.refuse('te is not trailers');
        break;
      case 'content-length':
        if (this.contentLength !== LENGTH_UNKNOWN) this.refuse('more than one content-length');
        else if (LENGTH_DIGITS.test(value)) this.contentLength = Number(value);
        else this.refuse('content-length is not a number');
        break;
      default:
    }
    this.regular(name, value);
  }

  protected regular(name: string, value: string): void {
    this.headers.pushParsed(name, name, value);
  }
}

export class RequestHeadReader extends SectionReader {
  #method = '';
  #scheme = '';
  #authority: string | undefined;
  #path = '';
  #expectContinue = false;

  override begin(): void {
    super.begin();
    this.#method = '';
    this.#scheme = '';
    this.#authority = undefined;
    this.#path = '';
    this.#expectContinue = false;
  }

  /** `ended`: no body follows. Undefined: malformed, and `malformed` says why. */
  finish(ended: boolean): RequestHead | undefined {
    this.finishFields();
    if (this.malformed !== undefined) return undefined;
    const isConnect = this.#method === 'CONNECT';
    const authority = this.#authority ?? '';
    const head = new RequestHead(this.#method, isConnect ? authority : this.#path, authority, 20, this.headers);
    if (this.#scheme === 'https') head.scheme = 'https';
    head.expectContinue = this.#expectContinue;
    if (isConnect) return head;
    if (ended && this.contentLength > 0) {
      this.refuse('content-length without a body');
      return undefined;
    }
    head.contentLength = ended ? 0 : this.contentLength;
    return head;
  }

  protected override pseudo(name: string, value: string): void {
    switch (name) {
      case ':method':
        if (this.#method !== '' || !every(value, TOKEN)) this.refuse(':method');
        this.#method = value;
        return;
      case ':scheme':
        if (this.#scheme !== '' || value === '') this.refuse(':scheme');
        this.#scheme = value.toLowerCase();
        return;
      case ':authority':
        if (this.#authority !== undefined || !isAuthority(value)) this.refuse(':authority');
        this.#authority = value;
        return;
      case ':path':
        if (this.#path !== '' || !every(value, TARGET)) this.refuse(':path');
        this.#path = value;
        return;
      default:
        this.refuse(`${JSON.stringify(name)} is no pseudo-header field of a request`);
    }
  }

  protected override pseudoEnded(): void {
    if (this.malformed !== undefined) return;
    if (this.#method === '') this.refuse('no :method');
    else if (this.#method === 'CONNECT') this.#checkConnect();
    else if (this.#scheme === '') this.refuse('no :scheme');
    else if (this.#path === '') this.refuse('no :path');
    else if (!this.#path.startsWith('/') && !(this.#path === '*' && this.#method === 'OPTIONS')) this.refuse(':path is no path');
    // Others expect a Host, and layers change it.
    if (this.#authority !== undefined) this.headers.pushParsed('host', 'Host', this.#authority);
  }

  protected override regular(name: string, value: string): void {
    if (name === 'host') this.#host(value);
    else {
      if (name === 'expect') this.#expect(value);
      super.regular(name, value);
    }
  }

  /** RFC 9113 §8.5: no scheme, no path, and the authority is where to connect to. */
  #checkConnect(): void {
    if (this.#scheme !== '' || this.#path !== '') this.refuse('CONNECT with :scheme or :path');
    else if (this.#authority === undefined || !isHostAndPort(this.#authority)) this.refuse('the :authority of CONNECT is not host:port');
  }

  /** Two readers must not see two hosts (§8.3.1). */
  #host(value: string): void {
    if (this.#authority === undefined) {
      if (!isAuthority(value)) this.refuse('host is not a host with an optional port');
      this.#authority = value;
      this.headers.pushParsed('host', 'Host', value);
    } else if (value.toLowerCase() !== this.#authority.toLowerCase()) this.refuse('host and :authority differ');
  }

  #expect(value: string): void {
    if (value.toLowerCase() === '100-continue') this.#expectContinue = true;
    else this.refuse('an expectation that is not 100-continue');
  }
}

export class ResponseHeadReader extends SectionReader {
  #status = '';

  override begin(): void {
    super.begin();
    this.#status = '';
  }

  /** `ended`: no body follows. Undefined: malformed, and `malformed` says why. */
  finish(ended: boolean, method: string): ResponseHead | undefined {
    this.finishFields();
    if (this.malformed !== undefined) return undefined;
    const status = Number(this.#status);
    const head = new ResponseHead(status, '', this.headers, 20);
    const bodiless = method === 'HEAD' || status === 204 || status === 304;
    if (ended && this.contentLength > 0 && !bodiless) {
      this.refuse('content-length without a body');
      return undefined;
    }
    head.contentLength = ended || bodiless ? 0 : this.contentLength;
    return head;
  }

  protected override pseudo(name: string, value: string): void {
    if (name !== ':status' || this.#status !== '' || !STATUS.test(value) || value === '101') this.refuse(`${JSON.stringify(name)}: ${JSON.stringify(value)} in an answer`);
    this.#status = value;
  }

  protected override pseudoEnded(): void {
    if (this.#status === '') this.refuse('no :status');
  }
}

export class TrailerReader extends SectionReader {
  /** Undefined when none is left, or when malformed. */
  finish(): HeaderList | undefined {
    this.finishFields();
    return this.malformed !== undefined || this.headers.size === 0 ? undefined : this.headers;
  }

  protected override pseudo(name: string): void {
    this.refuse(`${name} in trailers`);
  }

  protected override pseudoEnded(): void {
    // Trailers have none.
  }

  protected override regular(name: string, value: string): void {
    if (mayBeTrailer(name)) super.regular(name, value);
  }
}

/** Lower-case tokens only (§8.2.1). */
function isName(name: string): boolean {
  if (VALID_NAMES.has(name)) return true;
  if (name === '' || !every(name, TOKEN) || /[A-Z]/.test(name)) return false;
  if (VALID_NAMES.size < VALID_NAMES_MAX && name.length <= VALID_NAME_CHARS_MAX) VALID_NAMES.add(name);
  return true;
}

function isValue(value: string): boolean {
  return every(value, VALUE) && !isSpace(value.charCodeAt(0)) && !isSpace(value.charCodeAt(value.length - 1));
}

function isSpace(octet: number): boolean {
  return octet === 0x20 || octet === 0x09;
}

function every(text: string, allowed: Uint8Array): boolean {
  for (let i = 0; i < text.length; i += 1) if (allowed[text.charCodeAt(i)] !== 1) return false;
  return true;
}
