/**
 * One direction of a connection: head, body, head, body. Bytes go in as they come; heads and body chunks come out by method
 * calls. It stops at the end of each message and wherever its reader says so, and never reads beyond.
 */
import { MeshError } from '../../core/errors.ts';
import { LENGTH_UNKNOWN } from '../head.ts';
import type { RequestHead, ResponseHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import { ChunkedReader } from './body/chunked.ts';
import type { BodyReader } from './body/chunked.ts';
import { Fields } from './fields.ts';
import { FRAMING_CHUNKED } from './framing.ts';
import { HeadScanner, Malformed, REQUEST, RESPONSE } from './head-scanner.ts';
import { readRequestHead } from './request-head.ts';
import { readResponseHead } from './response-head.ts';

const HEAD = 0;
const LENGTH = 1;
const CHUNKED = 2;
const UNTIL_CLOSE = 3;
const COMPLETE = 4;

abstract class MessageParser {
  protected readonly fields = new Fields();
  protected readonly scanner: HeadScanner;
  readonly #reader: BodyReader;
  #state = HEAD;
  #remaining = 0;
  #chunked: ChunkedReader | undefined;

  protected constructor(scanner: HeadScanner, reader: BodyReader) {
    this.scanner = scanner;
    this.#reader = reader;
  }

  /** Make the head of what was scanned, tell the reader, and say how its body is framed. @throws Malformed, MeshError */
  protected abstract readHead(): number;
  protected abstract error(malformed: Malformed): MeshError;

  /** The message has ended; {@link next} prepares for another. */
  get complete(): boolean {
    return this.#state === COMPLETE;
  }

  /** Nothing of the next message has been seen. */
  get idle(): boolean {
    return this.#state === HEAD && this.scanner.idle;
  }

  /** In the middle of a body that ends with the connection. */
  get untilClose(): boolean {
    return this.#state === UNTIL_CLOSE;
  }

  /** Bytes of the body still to come; {@link LENGTH_UNKNOWN} when not known. */
  get remaining(): number {
    switch (this.#state) {
      case LENGTH:
        return this.#remaining;
      case CHUNKED:
      case UNTIL_CLOSE:
        return LENGTH_UNKNOWN;
      default:
        return 0;
    }
  }

  /** Of the message that is complete. */
  get trailers(): HeaderList | undefined {
    return this.#chunked?.trailers;
  }

  /** May the connection carry another message after this one, as far as its sender says? */
  get persistent(): boolean {
    return !this.fields.close;
  }

  /**
   * Read from `from` up to `to`. Returns where it stopped: after a message, when the reader wanted no more, or `to`.
   * @throws MeshError on anything that is not valid HTTP/1.1
   */
  feed(buffer: Buffer, from: number, to: number): number {
    try {
      return this.#feed(buffer, from, to);
    } catch (error) {
      if (error instanceof Malformed) throw this.error(error);
      throw error;
    }
  }

  /** Begin to read another message. */
  next(): void {
    this.#state = HEAD;
    this.scanner.reset();
    this.#chunked?.reset();
  }

  #feed(buffer: Buffer, from: number, to: number): number {
    let at = from;
    if (this.#state === HEAD) {
      const after = this.scanner.scan(buffer, at, to);
      if (after < 0) return to;
      at = after;
      this.#begin(this.readHead());
    }
    switch (this.#state) {
      case LENGTH: {
        if (at === to) return to;
        const end = Math.min(to, at + this.#remaining);
        this.#remaining -= end - at;
        if (this.#remaining === 0) this.#state = COMPLETE;
        this.#reader.body(buffer.subarray(at, end));
        return end;
      }
      case CHUNKED: {
        const chunked = this.#chunked as ChunkedReader;
        const end = chunked.read(buffer, at, to, this.#reader);
        if (chunked.done) this.#state = COMPLETE;
        return end;
      }
      case UNTIL_CLOSE:
        if (at < to) this.#reader.body(buffer.subarray(at, to));
        return to;
      default:
        return at;
    }
  }

  #begin(framing: number): void {
    if (framing === 0) this.#state = COMPLETE;
    else if (framing > 0) {
      this.#state = LENGTH;
      this.#remaining = framing;
    } else if (framing === FRAMING_CHUNKED) {
      this.#chunked ??= new ChunkedReader();
      this.#state = CHUNKED;
    } else this.#state = UNTIL_CLOSE;
  }
}

export interface RequestReader extends BodyReader {
  requestHead(head: RequestHead): void;
}

export class RequestParser extends MessageParser {
  readonly #requests: RequestReader;

  constructor(reader: RequestReader) {
    super(new HeadScanner(REQUEST), reader);
    this.#requests = reader;
  }

  protected override readHead(): number {
    const head = readRequestHead(this.scanner, this.fields);
    // HTTP/1.0 keeps a connection only when asked to.
    if (head.version === 10) this.fields.close ||= !this.fields.keepAlive;
    this.#requests.requestHead(head);
    return head.contentLength === LENGTH_UNKNOWN ? FRAMING_CHUNKED : head.contentLength;
  }

  protected override error(malformed: Malformed): MeshError {
    return new MeshError(malformed.what === 'size' ? 'head_too_large' : 'downstream_protocol_error', { reason: malformed.message });
  }
}

export interface ResponseReader extends BodyReader {
  responseHead(head: ResponseHead): void;
}

export class ResponseParser extends MessageParser {
  readonly #responses: ResponseReader;
  /** Method of the request that is being answered: decides whether there is a body. */
  method = 'GET';

  constructor(reader: ResponseReader) {
    super(new HeadScanner(RESPONSE), reader);
    this.#responses = reader;
  }

  protected override readHead(): number {
    const { head, framing } = readResponseHead(this.scanner, this.fields, this.method);
    if (head.version === 10) this.fields.close ||= !this.fields.keepAlive;
    this.#responses.responseHead(head);
    return framing;
  }

  protected override error(malformed: Malformed): MeshError {
    return new MeshError(malformed.what === 'size' ? 'upstream_head_too_large' : 'upstream_protocol_error', { reason: malformed.message });
  }
}
