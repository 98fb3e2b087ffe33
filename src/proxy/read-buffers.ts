/**
 * Where the bytes of connections are read to. All connections of a worker that are idle or carry small messages share one
 * buffer: what arrives is used up within the call that delivers it. A connection that moves bulk gets memory of its own until
 * it calms down, so an idle one holds none.
 */

const SHARED_BYTES = 64 * 1024;
const BULK_BYTES = 256 * 1024;
/** A bulk connection that reads less than this gives its buffer back. */
const CALM_BYTES = 16 * 1024;

/** Plaintext of a full TLS record, which is what one read of TLS delivers (RFC 8446 §5.1). */
const RECORD_BYTES = 16 * 1024;
/** Short records in a row after which TLS is not bulk any more: the last one of each of the sender's writes is short. */
const CALM_READS = 8;
/** Blocks kept for the next connection that needs one. */
const FREE_BLOCKS_MAX = 16;

/**
 * Free memory before a bulk buffer, for the frame header that goes before its contents: with both in one piece nothing has to
 * be joined. TLS copies what comes in pieces, which was 13 % of the CPU of an agent that sent bulk through a tunnel.
 */
const HEADROOM_BYTES = 16;

const sharedBuffer = Buffer.allocUnsafeSlow(SHARED_BYTES);
const blocks = new WeakMap<ArrayBufferLike, Block>();
const freeBlocks: Block[] = [];
/** Bulk buffers with their headroom: free until somebody writes there, and again with the next read. */
const headrooms = new WeakMap<ArrayBufferLike, { free: boolean }>();

/** The memory is overwritten by the next read of any connection. */
export function isShared(chunk: Buffer): boolean {
  return chunk.buffer === sharedBuffer.buffer;
}

/** Memory that TLS is read to, record after record. Used again when nobody has anything of it still to send. */
export class Block {
  readonly memory = Buffer.allocUnsafeSlow(BULK_BYTES);
  #kept = 0;
  #read = true;
  #givenAway = false;

  /** Of the block that a chunk is part of, if it is of one. */
  static of(chunk: Buffer): Block | undefined {
    return blocks.get(chunk.buffer);
  }

  static take(): Block {
    const free = freeBlocks.pop();
    if (free !== undefined) {
      free.#read = true;
      return free;
    }
    const block = new Block();
    blocks.set(block.memory.buffer, block);
    return block;
  }

  /** May it be read to from the start again? */
  get idle(): boolean {
    return this.#kept === 0 && !this.#givenAway;
  }

  /** A part of it will be sent later: nothing is read to it until {@link sent}. */
  keep(): void {
    this.#kept += 1;
  }

  sent(): void {
    this.#kept -= 1;
    this.#free();
  }

  /** Nothing is read to it any more. `givenAway`: somebody reads on in it, nobody knows how long. */
  leave(givenAway: boolean): void {
    this.#read = false;
    this.#givenAway = givenAway;
    this.#free();
  }

  #free(): void {
    if (!this.#read && this.idle && freeBlocks.length < FREE_BLOCKS_MAX) freeBlocks.push(this);
  }
}

/**
 * The chunk with so many free bytes before it, which are the caller's from now on; undefined when there is no room. A chunk may go
 * two ways (to a mirror too), so the room is given once for each read.
 */
export function withHeadroom(chunk: Buffer, bytes: number): Buffer | undefined {
  if (chunk.byteOffset !== HEADROOM_BYTES || bytes > HEADROOM_BYTES) return undefined;
  const headroom = headrooms.get(chunk.buffer);
  if (headroom?.free !== true) return undefined;
  headroom.free = false;
  return Buffer.from(chunk.buffer, HEADROOM_BYTES - bytes, bytes + chunk.length);
}

export interface ReadBuffers {
  /** Node asks after each read; a buffer is only answered when it changes. */
  next(): Buffer | undefined;
  received(length: number): void;
  /** What was just delivered is read on by others. */
  surrender(): void;
}

/** For sockets: one large buffer, used again and again. */
export class PlainReadBuffers implements ReadBuffers {
  #bulk: Buffer | undefined;
  #wantBulk = false;
  #headroom = { free: false };
  /** What Node holds now. */
  #current: Buffer | undefined;

  next(): Buffer | undefined {
    if (!this.#wantBulk) this.#bulk = undefined;
    else if (this.#bulk === undefined) {
      this.#bulk = Buffer.allocUnsafeSlow(HEADROOM_BYTES + BULK_BYTES).subarray(HEADROOM_BYTES);
      this.#headroom = { free: false };
      headrooms.set(this.#bulk.buffer, this.#headroom);
    }
    const wanted = this.#bulk ?? sharedBuffer;
    if (wanted === this.#current) return undefined;
    this.#current = wanted;
    return wanted;
  }

  received(length: number): void {
    this.#headroom.free = true;
    this.#wantBulk = length === SHARED_BYTES || (this.#bulk !== undefined && length >= CALM_BYTES);
  }

  /** The shared buffer is not given away: who keeps a part of that copies it. */
  surrender(): void {
    this.#bulk = undefined;
  }
}

/**
 * For TLS, which delivers record by record: one after the other into a block. So the records that one round brings lie in one
 * piece, and can leave in one write.
 */
export class RecordReadBuffers implements ReadBuffers {
  #block: Block | undefined;
  #used = 0;
  #shortReads = CALM_READS;
  #isShared = false;

  next(): Buffer | undefined {
    if (this.#shortReads >= CALM_READS) {
      this.#leave(false);
      const changes = !this.#isShared;
      this.#isShared = true;
      return changes ? sharedBuffer : undefined;
    }
    this.#isShared = false;
    if (this.#block !== undefined && BULK_BYTES - this.#used < RECORD_BYTES) {
      if (!this.#block.idle) this.#leave(false);
      this.#used = 0;
    }
    this.#block ??= Block.take();
    return this.#block.memory.subarray(this.#used);
  }

  received(length: number): void {
    this.#shortReads = length === RECORD_BYTES ? 0 : this.#shortReads + 1;
    if (this.#block !== undefined) this.#used += length;
  }

  surrender(): void {
    this.#leave(true);
  }

  #leave(givenAway: boolean): void {
    this.#block?.leave(givenAway);
    this.#block = undefined;
    this.#used = 0;
  }
}
