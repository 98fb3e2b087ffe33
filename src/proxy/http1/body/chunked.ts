/**
 * The chunked coding (RFC 9112 §7.1), read strictly: sizes are bounded hexadecimal numbers, every line ends with CR LF, and
 * extensions, which nobody uses and smugglers like, must be well-formed and short; they are not passed on.
 */
import { CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX } from '../../../core/limits.ts';
import type { HeaderList } from '../../headers.ts';
import { readTrailers } from '../fields.ts';
import { HeadScanner, Malformed, TRAILERS } from '../head-scanner.ts';
import { HEX, TOKEN, VALUE, octetText } from '../../octets.ts';

const CR = 0x0d;
const LF = 0x0a;

const SIZE_START = 0;
const SIZE = 1;
const EXTENSION_NAME_START = 2;
const EXTENSION_NAME = 3;
const EXTENSION_VALUE_START = 4;
const EXTENSION_VALUE = 5;
const QUOTED = 6;
const QUOTED_PAIR = 7;
const QUOTED_END = 8;
const SIZE_LF = 9;
const DATA = 10;
const DATA_CR = 11;
const DATA_LF = 12;
const TRAILER = 13;
const DONE = 14;

/** 2^48: no real chunk is larger, and arithmetic stays exact. */
const SIZE_DIGITS_MAX = 12;

/** Where the data goes; false = stop after this one. */
export interface BodyReader {
  body(chunk: Buffer): boolean;
}

export class ChunkedReader {
  #state = SIZE_START;
  #remaining = 0;
  #digits = 0;
  #lineBytes = 0;
  #scanner: HeadScanner | undefined;
  trailers: HeaderList | undefined;

  get done(): boolean {
    return this.#state === DONE;
  }

  reset(): void {
    this.#state = SIZE_START;
    this.#lineBytes = 0;
    this.trailers = undefined;
  }

  /**
   * Read from `from` up to `to`; returns where it stopped: at the end of the body, when the reader wants no more now, or `to`.
   * @throws Malformed
   */
  read(buffer: Buffer, from: number, to: number, reader: BodyReader): number {
    let i = from;
    while (i < to) {
      switch (this.#state) {
        case DATA: {
          const end = Math.min(to, i + this.#remaining);
          const chunk = buffer.subarray(i, end);
          this.#remaining -= end - i;
          if (this.#remaining === 0) this.#state = DATA_CR;
          i = end;
          if (!reader.body(chunk)) return i;
          break;
        }
        case TRAILER: {
          const after = (this.#scanner as HeadScanner).scan(buffer, i, to);
          if (after < 0) return to;
          this.trailers = readTrailers(this.#scanner as HeadScanner);
          this.#state = DONE;
          return after;
        }
        default:
          this.#step(buffer[i] as number);
          i += 1;
      }
    }
    return i;
  }

  #step(octet: number): void {
    switch (this.#state) {
      case SIZE_START:
        if (HEX[octet] === 255) throw new Malformed(`${octetText(octet)} where a chunk size should begin`);
        this.#remaining = HEX[octet] as number;
        this.#digits = 1;
        this.#lineBytes = 1;
        this.#state = SIZE;
        return;
      case DATA_CR:
        if (octet !== CR) throw new Malformed('chunk data longer than its size');
        this.#state = DATA_LF;
        return;
      case DATA_LF:
        if (octet !== LF) throw new Malformed('CR without LF after chunk data');
        this.#state = SIZE_START;
        return;
      case SIZE_LF:
        if (octet !== LF) throw new Malformed('CR without LF after a chunk size');
        this.#sizeKnown();
        return;
      default:
        this.#lineBytes += 1;
        if (this.#lineBytes > CHUNK_LINE_BYTES_MAX) throw new Malformed(`chunk size line longer than ${CHUNK_LINE_BYTES_MAX} bytes`);
        if (this.#state === SIZE) this.#stepSize(octet);
        else this.#stepExtension(octet);
    }
  }

  #stepSize(octet: number): void {
    const digit = HEX[octet] as number;
    if (digit === 255) {
      this.#afterValue(octet, 'chunk size');
      return;
    }
    this.#digits += 1;
    if (this.#digits > SIZE_DIGITS_MAX) throw new Malformed(`chunk size with more than ${SIZE_DIGITS_MAX} digits`);
    this.#remaining = this.#remaining * 16 + digit;
  }

  /** `;name`, `;name=token` or `;name="quoted"`, without the optional spaces of old grammars (RFC 9112 §7.1.1). */
  #stepExtension(octet: number): void {
    switch (this.#state) {
      case EXTENSION_NAME_START:
        if (TOKEN[octet] !== 1) throw new Malformed(`${octetText(octet)} in a chunk extension`);
        this.#state = EXTENSION_NAME;
        return;
      case EXTENSION_NAME:
        if (octet === 0x3d) this.#state = EXTENSION_VALUE_START;
        else if (TOKEN[octet] !== 1) this.#afterValue(octet, 'chunk extension');
        return;
      case EXTENSION_VALUE_START:
        if (octet === 0x22) this.#state = QUOTED;
        else if (TOKEN[octet] === 1) this.#state = EXTENSION_VALUE;
        else throw new Malformed(`${octetText(octet)} in a chunk extension`);
        return;
      case EXTENSION_VALUE:
        if (TOKEN[octet] !== 1) this.#afterValue(octet, 'chunk extension');
        return;
      case QUOTED:
        if (octet === 0x22) this.#state = QUOTED_END;
        else if (octet === 0x5c) this.#state = QUOTED_PAIR;
        else if (VALUE[octet] !== 1) throw new Malformed(`${octetText(octet)} in a chunk extension`);
        return;
      case QUOTED_PAIR:
        if (VALUE[octet] !== 1) throw new Malformed(`${octetText(octet)} in a chunk extension`);
        this.#state = QUOTED;
        return;
      default:
        this.#afterValue(octet, 'chunk extension');
    }
  }

  /** After a size or an extension: another extension, or the end of the line. */
  #afterValue(octet: number, what: string): void {
    if (octet === CR) this.#state = SIZE_LF;
    else if (octet === 0x3b) this.#state = EXTENSION_NAME_START;
    else throw new Malformed(`${octetText(octet)} in a ${what}`);
  }

  #sizeKnown(): void {
    if (this.#remaining > 0) {
      this.#state = DATA;
      return;
    }
    this.#scanner ??= new HeadScanner(TRAILERS, TRAILER_BYTES_MAX);
    this.#scanner.reset();
    this.#state = TRAILER;
  }
}
