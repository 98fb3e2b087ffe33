/**
 * Content that waits for its receiver. Joined as it comes: a peer that sends byte by byte must not make an object of each, and
 * one that sent a byte must not make us keep a block for it.
 */
const FIRST_BLOCK_BYTES = 256;
const BLOCK_BYTES_MAX = 64 * 1024;

export class Backlog {
  #blocks: Buffer[] = [];
  /** Used of the last block. */
  #filled = 0;
  #nextBlockBytes = FIRST_BLOCK_BYTES;
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** Keep a copy. */
  push(chunk: Buffer): void {
    this.#bytes += chunk.length;
    const last = this.#blocks.at(-1);
    const fits = last === undefined ? 0 : Math.min(last.length - this.#filled, chunk.length);
    if (last !== undefined) chunk.copy(last, this.#filled, 0, fits);
    this.#filled += fits;
    if (fits === chunk.length) return;
    const rest = chunk.subarray(fits);
    const block = Buffer.allocUnsafe(Math.max(this.#nextBlockBytes, rest.length));
    this.#nextBlockBytes = Math.min(BLOCK_BYTES_MAX, 2 * block.length);
    rest.copy(block);
    this.#filled = rest.length;
    this.#blocks.push(block);
  }

  /** The first part of what waits; it is the caller's from now on. Only when there is some. */
  shift(): Buffer {
    const block = this.#blocks.shift() as Buffer;
    const part = this.#blocks.length === 0 ? block.subarray(0, this.#filled) : block;
    if (this.#blocks.length === 0) {
      this.#filled = 0;
      this.#nextBlockBytes = FIRST_BLOCK_BYTES;
    }
    this.#bytes -= part.length;
    return part;
  }

  clear(): void {
    this.#blocks = [];
    this.#filled = 0;
    this.#bytes = 0;
  }
}
