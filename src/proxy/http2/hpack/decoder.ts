/** Header blocks to fields (RFC 7541 §6), as strict as the RFC: whatever it calls a decoding error is an {@link HpackError}. */
import { latin1 } from '../../latin1.ts';
import { DynamicTable } from './dynamic-table.ts';
import { HpackError } from './error.ts';
import { decodedLengthMax, huffmanDecode } from './huffman.ts';
import { DEFAULT_TABLE_SIZE, ENTRY_OVERHEAD, STATIC_COUNT, STATIC_TABLE } from './static-table.ts';

export interface HpackSink {
  /**
   * A field, in the order of the block, its octets as latin1. Nothing but the coding was checked. `neverIndexed`: whoever passes
   * the field on must not let it into a table either (RFC 7541 §6.2.3).
   */
  field(name: string, value: string, neverIndexed: boolean): void;
}

export interface HpackDecoderOptions {
  /** SETTINGS_HEADER_TABLE_SIZE as announced to the peer. */
  readonly maxTableSize: number;
  /** SETTINGS_MAX_HEADER_LIST_SIZE: of a larger list the sink sees only the beginning. */
  readonly maxListSize: number;
}

const STATIC_NAMES: readonly string[] = STATIC_TABLE.map(([name]) => name);
const STATIC_VALUES: readonly string[] = STATIC_TABLE.map(([, value]) => value);

/** Octets of an integer after its prefix: more would exceed 28 bits, far beyond any length or index there can be (RFC 7541 §5.1). */
const INTEGER_SHIFT_MAX = 21;

/** Where a Huffman-coded string is spread out before it becomes text. One for all decoders: a block is decoded in one go. */
let scratch: Buffer = Buffer.allocUnsafe(4096);

/** Decodes the blocks of one direction of one connection, in their order. */
export class HpackDecoder {
  /** The last block's list was larger than `maxListSize`: the sink saw only its beginning. */
  exceeded = false;
  readonly #table = new DynamicTable(DEFAULT_TABLE_SIZE);
  readonly #maxListSize: number;
  #maxTableSize: number;
  /** The peer has acknowledged a smaller table and must say so in its next block (RFC 9113 §4.3.1). */
  #updateDue = false;
  #at = 0;
  #end = 0;
  /** What the list may still grow by; below 0 once it has grown too large. */
  #listRoom = 0;
  /** Length of the string read last, which {@link #string} may not have made. */
  #length = 0;

  constructor({ maxTableSize, maxListSize }: HpackDecoderOptions) {
    this.#maxTableSize = maxTableSize;
    this.#maxListSize = maxListSize;
  }

  /** The peer acknowledged a SETTINGS_HEADER_TABLE_SIZE of ours. */
  setMaxTableSize(size: number): void {
    this.#maxTableSize = size;
    if (size < this.#table.maxSize) this.#updateDue = true;
  }

  /**
   * Decode one complete header block, which lies in `block` from `start` up to `end`. A list larger than `maxListSize` is decoded
   * to its end, because later blocks depend on it, but {@link exceeded} tells that its tail was kept from the sink. Throws
   * {@link HpackError}, after which the connection cannot go on.
   */
  decode(block: Buffer, start: number, end: number, sink: HpackSink): void {
    this.#at = start;
    this.#end = end;
    this.#listRoom = this.#maxListSize;
    this.exceeded = false;
    this.#sizeUpdates(block);
    while (this.#at < end) {
      const first = block[this.#at] as number;
      if (first >= 0x80) this.#indexed(block, sink);
      else if (first >= 0x40) this.#literal(block, 0x3f, true, false, sink);
      else if (first >= 0x20) throw new HpackError('a change of the table\'s size stands after a field');
      else this.#literal(block, 0x0f, false, first >= 0x10, sink);
    }
  }

  /** Changes of the table's size stand before the first field (RFC 7541 §4.2). */
  #sizeUpdates(block: Buffer): void {
    while (this.#at < this.#end && ((block[this.#at] as number) & 0xe0) === 0x20) {
      const size = this.#integer(block, 0x1f);
      if (size > this.#maxTableSize) throw new HpackError(`a table of ${size} octets where ${this.#maxTableSize} are allowed`);
      this.#table.resize(size);
      this.#updateDue = false;
    }
    if (this.#updateDue) throw new HpackError('the table was not made smaller, as acknowledged');
  }

  #indexed(block: Buffer, sink: HpackSink): void {
    const index = this.#integer(block, 0x7f);
    const name = this.#nameOf(index);
    const value = index <= STATIC_COUNT ? (STATIC_VALUES[index - 1] as string) : this.#table.valueAt(index - STATIC_COUNT - 1);
    if (this.#fits(name.length + value.length + ENTRY_OVERHEAD)) sink.field(name, value, false);
  }

  #literal(block: Buffer, mask: number, indexing: boolean, neverIndexed: boolean, sink: HpackSink): void {
    const index = this.#integer(block, mask);
    // No string is made that neither the sink nor the table has room for.
    const lengthMax = Math.max(this.#listRoom, indexing ? this.#table.maxSize : 0) - ENTRY_OVERHEAD;
    const name = index === 0 ? this.#string(block, lengthMax) : this.#nameOf(index);
    const nameLength = index === 0 ? this.#length : name.length;
    const value = this.#string(block, lengthMax);
    const size = nameLength + this.#length + ENTRY_OVERHEAD;
    if (indexing) {
      if (size <= this.#table.maxSize) this.#table.insert(name, value);
      else this.#table.clear();
    }
    if (this.#fits(size)) sink.field(name, value, neverIndexed);
  }

  /** Count a field into the list; false when it, or one before it, made the list too large. */
  #fits(size: number): boolean {
    if (this.exceeded) return false;
    this.#listRoom -= size;
    this.exceeded = this.#listRoom < 0;
    return !this.exceeded;
  }

  #nameOf(index: number): string {
    if (index === 0) throw new HpackError('index 0');
    if (index <= STATIC_COUNT) return STATIC_NAMES[index - 1] as string;
    if (index > STATIC_COUNT + this.#table.count) throw new HpackError(`index ${index} where the tables have ${STATIC_COUNT + this.#table.count} entries`);
    return this.#table.nameAt(index - STATIC_COUNT - 1);
  }

  /** An integer whose first octet has it in the bits of `mask` (RFC 7541 §5.1). */
  #integer(block: Buffer, mask: number): number {
    if (this.#at >= this.#end) throw new HpackError('the block ends within a field');
    let value = (block[this.#at] as number) & mask;
    this.#at += 1;
    if (value < mask) return value;
    for (let shift = 0; shift <= INTEGER_SHIFT_MAX; shift += 7) {
      if (this.#at >= this.#end) throw new HpackError('the block ends within an integer');
      const octet = block[this.#at] as number;
      this.#at += 1;
      value += (octet & 0x7f) << shift;
      if (octet < 0x80) return value;
    }
    throw new HpackError('an integer is too large');
  }

  /** A string (RFC 7541 §5.2), checked in any case, but made only up to `lengthMax`; its length is left in {@link #length}. */
  #string(block: Buffer, lengthMax: number): string {
    const coded = this.#at < this.#end && (block[this.#at] as number) >= 0x80;
    const octets = this.#integer(block, 0x7f);
    const start = this.#at;
    if (octets > this.#end - start) throw new HpackError('the block ends within a string');
    this.#at = start + octets;
    if (!coded) {
      this.#length = octets;
      return octets <= lengthMax ? latin1(block, start, this.#at) : '';
    }
    if (scratch.length < decodedLengthMax(octets)) scratch = Buffer.allocUnsafe(decodedLengthMax(octets));
    this.#length = huffmanDecode(block, start, this.#at, scratch);
    return this.#length <= lengthMax ? latin1(scratch, 0, this.#length) : '';
  }
}
