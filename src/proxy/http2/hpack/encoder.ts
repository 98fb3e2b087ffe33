/** Fields to header blocks (RFC 7541 §6). */
import { latin1 } from '../../latin1.ts';
import { huffmanEncode, huffmanLength } from './huffman.ts';
import { EncoderTable } from './encoder-table.ts';
import type { TrackedName } from './encoder-table.ts';
import { INDEXED, NEVER_INDEXED, WRITTEN_OUT, representationOf } from './policy.ts';
import { DEFAULT_TABLE_SIZE } from './static-table.ts';

export interface HpackEncoderOptions {
  /** The table never grows beyond this, whatever the peer allows: it is memory of ours too. */
  readonly maxTableSize: number;
}

const FIRST_BUFFER_BYTES = 1024;
/** A buffer that grew beyond this for one large block is not kept. */
const KEPT_BUFFER_BYTES_MAX = 16_384;
/** Octets an integer takes at most. */
const INTEGER_OCTETS_MAX = 6;
/** A longer string is sent as it is: coding costs 6 ns an octet to save a fifth of it, and for a token of 1 KB that is a third of a request's work. */
const HUFFMAN_CHARS_MAX = 256;

/** Encodes the blocks of one direction of one connection: {@link begin}, {@link field} any number of times, {@link end}. */
export class HpackEncoder {
  readonly #table = new EncoderTable(DEFAULT_TABLE_SIZE);
  readonly #ownMaxSize: number;
  /** Size the table is to have from the next block on, and the smallest it was to have since the last one (RFC 7541 §4.2). */
  #nextSize: number;
  #smallestSize: number;
  #buffer: Buffer = Buffer.allocUnsafeSlow(FIRST_BUFFER_BYTES);
  #at = 0;

  constructor({ maxTableSize }: HpackEncoderOptions) {
    this.#ownMaxSize = maxTableSize;
    this.#nextSize = Math.min(maxTableSize, DEFAULT_TABLE_SIZE);
    this.#smallestSize = this.#nextSize;
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. The next block says what size is used of it. */
  setMaxTableSize(size: number): void {
    this.#nextSize = Math.min(size, this.#ownMaxSize);
    this.#smallestSize = Math.min(this.#smallestSize, this.#nextSize);
  }

  /** Start a block. What the last {@link end} returned is overwritten. */
  begin(): void {
    this.#at = 0;
    if (this.#buffer.length > KEPT_BUFFER_BYTES_MAX) this.surrender();
    if (this.#nextSize !== this.#table.maxSize || this.#smallestSize < this.#table.maxSize) this.#writeSize();
  }

  /**
   * Append a field: its name in lower case, its value latin1. `sensitive`: let it into no table, here or further on.
   * A value with characters beyond latin1, as configuration may hold, goes out as UTF-8.
   */
  field(name: string, value: string, sensitive = false): void {
    const tracked = this.#table.track(name);
    if (!sensitive) {
      const index = this.#table.find(tracked, value);
      if (index > 0) {
        this.#reserve(INTEGER_OCTETS_MAX);
        this.#integer(0x80, 0x7f, index);
        return;
      }
    }
    this.#literal(tracked, name, BEYOND_LATIN1.test(value) ? utf8(value) : value, sensitive);
  }

  /** The block, borrowed until the next {@link begin}, or for good by {@link surrender}. */
  end(): Buffer {
    return this.#buffer.subarray(0, this.#at);
  }

  /** The last block is still read: the next one comes in another buffer. */
  surrender(): void {
    this.#buffer = Buffer.allocUnsafeSlow(FIRST_BUFFER_BYTES);
  }

  #literal(tracked: TrackedName, name: string, value: string, sensitive: boolean): void {
    let representation = sensitive ? NEVER_INDEXED : representationOf(name, value, tracked.known);
    if (representation === INDEXED && !this.#table.worthAdding(tracked, value)) representation = WRITTEN_OUT;
    this.#reserve(name.length + value.length + INTEGER_OCTETS_MAX * 3);
    const nameIndex = this.#table.indexOfName(tracked);
    this.#integer(representation, representation === INDEXED ? 0x3f : 0x0f, nameIndex);
    if (nameIndex === 0) this.#string(name);
    this.#string(value);
    if (representation === INDEXED) this.#table.add(tracked, this.#flat(value));
  }

  #writeSize(): void {
    this.#reserve(INTEGER_OCTETS_MAX * 2);
    if (this.#smallestSize < Math.min(this.#nextSize, this.#table.maxSize)) {
      this.#table.resize(this.#smallestSize);
      this.#integer(0x20, 0x1f, this.#smallestSize);
    }
    this.#table.resize(this.#nextSize);
    this.#integer(0x20, 0x1f, this.#nextSize);
    this.#smallestSize = this.#nextSize;
  }

  #integer(pattern: number, mask: number, value: number): void {
    const buffer = this.#buffer;
    if (value < mask) {
      buffer[this.#at] = pattern | value;
      this.#at += 1;
      return;
    }
    buffer[this.#at] = pattern | mask;
    this.#at += 1;
    let rest = value - mask;
    while (rest >= 0x80) {
      buffer[this.#at] = (rest & 0x7f) | 0x80;
      this.#at += 1;
      rest >>>= 7;
    }
    buffer[this.#at] = rest;
    this.#at += 1;
  }

  /** Huffman-coded when that is shorter, and worth its time. */
  #string(text: string): void {
    const coded = text.length <= HUFFMAN_CHARS_MAX ? huffmanLength(text) : text.length;
    if (coded < text.length) {
      this.#integer(0x80, 0x7f, coded);
      this.#at = huffmanEncode(text, this.#buffer, this.#at);
      return;
    }
    this.#integer(0, 0x7f, text.length);
    this.#at += this.#buffer.write(text, this.#at, 'latin1');
  }

  /** A copy that keeps nothing else alive: a value may be a slice of the text of a whole message. */
  #flat(text: string): string {
    this.#reserve(text.length);
    return latin1(this.#buffer, this.#at, this.#at + this.#buffer.write(text, this.#at, 'latin1'));
  }

  #reserve(octets: number): void {
    const needed = this.#at + octets;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }
}

const BEYOND_LATIN1 = /[^\u0000-\u00ff]/;

/** The octets of a text's UTF-8, one character each. */
function utf8(text: string): string {
  const octets = Buffer.from(text, 'utf8');
  return latin1(octets, 0, octets.length);
}
