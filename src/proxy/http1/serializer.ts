/** Heads and bodies as HTTP/1.1 text. A head that no layer has changed goes out as the text it came in with. */
import { REASONS } from './reasons.ts';
import { LENGTH_UNKNOWN } from '../head.ts';
import type { RequestHead, ResponseHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import { latin1 } from '../latin1.ts';
import type { Transport } from '../transport.ts';

/** Chunks up to this are joined with their framing into one text. */
const TEXT_CHUNK_BYTES = 8 * 1024;

/** How a body is delimited on the wire. */
export const BODY_NONE = 0;
export const BODY_LENGTH = 1;
export const BODY_CHUNKED = 2;
/** Until the connection closes, or a tunnel. */
export const BODY_RAW = 3;
export type BodyFraming = typeof BODY_NONE | typeof BODY_LENGTH | typeof BODY_CHUNKED | typeof BODY_RAW;

export function framingOf(contentLength: number): BodyFraming {
  if (contentLength === 0) return BODY_NONE;
  return contentLength === LENGTH_UNKNOWN ? BODY_CHUNKED : BODY_LENGTH;
}

/** The head of a request to an upstream; `close`: it is the last one on its connection. */
export function requestText(head: RequestHead, close: boolean): string {
  const { headers, contentLength } = head;
  frame(headers, contentLength, contentLength > 0);
  if (!headers.has('host')) headers.add('Host', head.authority);
  let text = `${head.method} ${head.target} HTTP/1.1\r\n${headers.toText()}`;
  if (contentLength === LENGTH_UNKNOWN) text += 'Transfer-Encoding: chunked\r\n';
  const options = connectionOptions(head.upgrade !== undefined, close, headers.has('te'));
  if (options !== '') text += `Connection: ${options}\r\n`;
  if (head.upgrade !== undefined) text += `Upgrade: ${head.upgrade}\r\n`;
  return `${text}\r\n`;
}

export interface AnswerFraming {
  readonly body: BodyFraming;
  /** The client must be told that the connection ends, or (HTTP/1.0) that it does not. */
  readonly connection: '' | 'close' | 'keep-alive';
  /** May a length be added when the head has none: not to an answer that has no body by its kind. */
  readonly lengthAllowed: boolean;
}

/** The head of a response to a client. */
export function responseText(head: ResponseHead, framing: AnswerFraming): string {
  const { headers } = head;
  if (framing.lengthAllowed) frame(headers, head.contentLength, true);
  let text = statusLine(head) + headers.toText();
  if (framing.body === BODY_CHUNKED) text += 'Transfer-Encoding: chunked\r\n';
  if (head.upgrade !== undefined) text += `Connection: upgrade\r\nUpgrade: ${head.upgrade}\r\n`;
  else if (framing.connection !== '') text += `Connection: ${framing.connection}\r\n`;
  return `${text}\r\n`;
}

export function informationalText(head: ResponseHead): string {
  return `${statusLine(head)}${head.headers.toText()}\r\n`;
}

function statusLine(head: ResponseHead): string {
  return `HTTP/1.1 ${head.status} ${head.reason === '' ? (REASONS[head.status] ?? '') : head.reason}\r\n`;
}

/** Make Content-Length say what will be sent: two readings of the length are what smuggling is made of. */
function frame(headers: HeaderList, contentLength: number, addLength: boolean): void {
  const stated = headers.get('content-length');
  if (contentLength === LENGTH_UNKNOWN) {
    if (stated !== undefined) headers.remove('content-length');
    return;
  }
  const length = String(contentLength);
  if (stated === length) return;
  if (stated !== undefined || addLength) headers.set('Content-Length', length);
}

function connectionOptions(upgrade: boolean, close: boolean, te: boolean): string {
  const options: string[] = [];
  if (upgrade) options.push('upgrade');
  if (close) options.push('close');
  if (te) options.push('TE');
  return options.join(', ');
}

/** Writes a body as its head announced it, and nothing that a reader could take for another message. */
export class BodyWriter {
  #transport: Transport;
  #framing: BodyFraming = BODY_NONE;
  #remaining = 0;
  #complete = true;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  begin(framing: BodyFraming, contentLength: number): void {
    this.#framing = framing;
    this.#remaining = framing === BODY_LENGTH ? contentLength : 0;
    this.#complete = framing === BODY_NONE;
  }

  /** The reader has all it was told to expect. */
  get complete(): boolean {
    return this.#complete;
  }

  /** Returns whether more may be written now. What exceeds the announced length is dropped. */
  write(chunk: Buffer): boolean {
    switch (this.#framing) {
      case BODY_NONE:
        return true;
      case BODY_LENGTH: {
        const part = chunk.length <= this.#remaining ? chunk : chunk.subarray(0, this.#remaining);
        this.#remaining -= part.length;
        return part.length === 0 || this.#transport.writeBytes(part);
      }
      case BODY_CHUNKED:
        return this.#writeChunk(chunk);
      case BODY_RAW:
        return this.#transport.writeBytes(chunk);
    }
  }

  /** End the body. False: it is shorter than announced, so only closing the connection tells the reader. */
  end(trailers: HeaderList | undefined): boolean {
    if (this.#framing === BODY_CHUNKED) this.#transport.write(trailers === undefined ? '0\r\n\r\n' : `0\r\n${trailers.toText()}\r\n`);
    this.#complete = this.#remaining === 0;
    return this.#complete;
  }

  #writeChunk(chunk: Buffer): boolean {
    const { length } = chunk;
    // A chunk of length 0 would be the last one.
    if (length === 0) return true;
    const size = length.toString(16);
    if (length <= TEXT_CHUNK_BYTES) return this.#transport.write(`${size}\r\n${latin1(chunk, 0, length)}\r\n`);
    this.#transport.write(`${size}\r\n`);
    const more = this.#transport.writeBytes(chunk);
    return this.#transport.write('\r\n') && more;
  }
}
