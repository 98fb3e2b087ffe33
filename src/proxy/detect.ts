/**
 * Tells the protocol of a connection from its first bytes. Decides as early as it can without guessing: a byte that no HTTP
 * request line and no TLS record can have at its place settles it, so that a text protocol never waits for more.
 */

export type Detected = 'http1' | 'http2' | 'tls' | 'opaque' | 'more';

/** RFC 9113 §3.4: the first line of the connection preface; no HTTP/1 client sends it. */
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n', 'latin1');
const HTTP_VERSION = Buffer.from(' HTTP/1.', 'latin1');

const SPACE = 0x20;
const LF = 0x0a;
const CR = 0x0d;
const TLS_HANDSHAKE = 0x16;
const TLS_MAJOR = 0x03;
const METHOD_CHARS_MAX = 32;
const SCHEME_CHARS_MAX = 64;

/** tchar of RFC 9110 §5.6.2, for the method. */
const IS_TOKEN = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") IS_TOKEN[char.charCodeAt(0)] = 1;

/** What `length` bytes at the start of `bytes` begin: `more` while they could still be HTTP or TLS. */
export function detect(bytes: Buffer, length: number): Detected {
  if (length === 0) return 'more';
  if (bytes[0] === TLS_HANDSHAKE) return detectTls(bytes, length);
  const compared = Math.min(length, PREFACE.length);
  if (bytes.compare(PREFACE, 0, compared, 0, compared) === 0) return compared === PREFACE.length ? 'http2' : 'more';
  return detectRequestLine(bytes, length);
}

/** RFC 8446 §5.1: a record of type handshake, version 3.x. */
function detectTls(bytes: Buffer, length: number): Detected {
  if (length < 3) return length < 2 || bytes[1] === TLS_MAJOR ? 'more' : 'opaque';
  return bytes[1] === TLS_MAJOR && (bytes[2] as number) <= 4 ? 'tls' : 'opaque';
}

/**
 * RFC 9112 §3: method SP request-target SP HTTP/1.x, or the shape of none. Applications take more than the RFC allows, so what one of
 * them may read as a request is one here too: our own reader then says whether it is valid.
 */
function detectRequestLine(bytes: Buffer, length: number): Detected {
  let at = 0;
  // RFC 9112 §2.2 lets a client send an empty line before its request; servers let it send several, of any kind.
  while (at < length && (bytes[at] === CR || bytes[at] === LF)) at += 1;
  const methodAt = at;
  while (at < length && IS_TOKEN[bytes[at] as number] === 1) at += 1;
  if (at - methodAt > METHOD_CHARS_MAX) return 'opaque';
  if (at === length) return 'more';
  if (at === methodAt || bytes[at] !== SPACE) return 'opaque';
  if (at + 1 === length) return 'more';
  if (!mayBeTarget(bytes, at + 1, length, bytes.toString('latin1', methodAt, at))) return 'opaque';
  const end = bytes.subarray(0, length).indexOf(LF, at);
  if (end < 0) return 'more';
  const version = bytes.subarray(at, end).lastIndexOf(HTTP_VERSION);
  return version >= 0 ? 'http1' : 'opaque';
}

/** Origin form, asterisk, or absolute form of any scheme (RFC 3986 §3.1); authority form only for CONNECT (RFC 9112 §3.2). */
function mayBeTarget(bytes: Buffer, from: number, length: number, method: string): boolean {
  const first = bytes[from];
  if (first === 0x2f || first === 0x2a || method === 'CONNECT') return true;
  return /^[a-z][a-z0-9+.-]*(?::\/{0,2}$|:\/\/|$)/i.test(bytes.toString('latin1', from, Math.min(length, from + SCHEME_CHARS_MAX)));
}

/** What the first bytes of a server show that has spoken before its client. */
export function detectServer(first: Buffer): 'http1' | 'http2' | 'opaque' {
  // A request that did not come in time (RFC 9110 §15.5.9).
  if (first.subarray(0, 7).equals(HTTP_VERSION.subarray(1))) return 'http1';
  // The preface of a server may come first (RFC 9113 §3.4): SETTINGS, no flags, stream 0.
  return first.length >= 9 && first.readUIntBE(0, 3) % 6 === 0 && first.readUInt16BE(3) === 0x0400 && first.readUInt32BE(5) === 0 ? 'http2' : 'opaque';
}

const HANDSHAKE_CLIENT_HELLO = 1;
const EXTENSION_SERVER_NAME = 0;
const NAME_TYPE_HOST = 0;
const NO_HELLO = Buffer.alloc(0);

/**
 * The server name of a ClientHello (RFC 8446 §4.1.2, RFC 6066 §3), lower case; empty when it has none or is not one;
 * undefined while more bytes are needed.
 */
export function serverName(bytes: Buffer, length: number): string | undefined {
  const hello = clientHello(bytes, length);
  if (hello === undefined) return undefined;
  const reader = new HelloReader(hello);
  reader.skip(2 + 32);
  reader.skip(reader.uint8());
  reader.skip(reader.uint16());
  reader.skip(reader.uint8());
  const end = Math.min(reader.uint16() + reader.at, hello.length);
  while (!reader.failed && reader.at + 4 <= end) {
    const type = reader.uint16();
    const size = reader.uint16();
    if (type !== EXTENSION_SERVER_NAME) {
      reader.skip(size);
      continue;
    }
    reader.skip(2);
    const nameType = reader.uint8();
    const name = reader.text(reader.uint16());
    return nameType === NAME_TYPE_HOST && !reader.failed ? name.toLowerCase() : '';
  }
  return '';
}

/** The body of a ClientHello, gathered from its records; empty when it is something else; undefined while it is incomplete. */
function clientHello(bytes: Buffer, length: number): Buffer | undefined {
  const parts: Buffer[] = [];
  let gathered = 0;
  let at = 0;
  for (;;) {
    if (at + 5 > length) return undefined;
    if (bytes[at] !== TLS_HANDSHAKE) return NO_HELLO;
    const size = bytes.readUInt16BE(at + 3);
    if (size === 0) return NO_HELLO;
    const end = Math.min(at + 5 + size, length);
    parts.push(bytes.subarray(at + 5, end));
    gathered += end - at - 5;
    if (gathered >= 4) {
      const message = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
      if (message[0] !== HANDSHAKE_CLIENT_HELLO) return NO_HELLO;
      const wanted = message.readUIntBE(1, 3);
      if (gathered >= 4 + wanted) return message.subarray(4, 4 + wanted);
    }
    if (end < at + 5 + size) return undefined;
    at = end;
  }
}

/** A cursor that never reads past the end: it notes the failure and answers zero. */
class HelloReader {
  readonly #bytes: Buffer;
  at = 0;
  failed = false;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  skip(count: number): void {
    this.at += count;
    if (this.at > this.#bytes.length) this.failed = true;
  }

  uint8(): number {
    const value = this.#bytes[this.at];
    this.skip(1);
    return value ?? 0;
  }

  uint16(): number {
    return this.uint8() * 256 + this.uint8();
  }

  text(length: number): string {
    const start = this.at;
    this.skip(length);
    return this.failed ? '' : this.#bytes.toString('latin1', start, start + length);
  }
}
