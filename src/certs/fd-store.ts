/**
 * The CA's keys in a file that has no name: a memfd, or a file that was unlinked, which the parent of the process keeps open. A process that is
 * killed comes back with the same root, and no key ever has a name on a disk.
 *
 * Two slots are written in turn, each with a sequence number and a digest, so that a process killed while it writes leaves the slot before.
 */
import { createHash } from 'node:crypto';
import { fstatSync, readSync, writeSync } from 'node:fs';
import { CA_STATE_BYTES_MAX } from '../core/limits.ts';
import type { CaState, CaStore } from './ca-state.ts';

/** Format and its version. */
const MAGIC = Buffer.from('ORLOPCA1');
const DIGEST_BYTES = 32;
/** Magic, sequence number, length, digest. */
const HEADER_BYTES = MAGIC.length + 8 + 4 + DIGEST_BYTES;
const SLOT_BYTES = HEADER_BYTES + CA_STATE_BYTES_MAX;

interface Slot {
  readonly sequence: bigint;
  readonly payload: Buffer;
}

export class FdCaStore implements CaStore {
  readonly #fd: number;
  #sequence = 0n;

  /** Throws when the descriptor is not open for a file without a name. */
  constructor(fd: number) {
    const stat = statOf(fd);
    if (!stat.isFile()) throw new Error(`file descriptor ${fd} is no file; give a memfd, or a file that has been unlinked`);
    if (stat.nlink > 0) throw new Error(`the file of descriptor ${fd} has a name, and keys must not lie on a disk; give a memfd, or unlink the file first`);
    this.#fd = fd;
  }

  /** What was saved last; undefined when the file is empty. Throws when it holds something else. */
  async load(): Promise<CaState | undefined> {
    if (fstatSync(this.#fd).size === 0) return undefined;
    const slots = [this.#read(0), this.#read(1)].filter((slot) => slot !== undefined);
    if (slots.length === 0) throw new Error(`the file of descriptor ${this.#fd} does not hold the keys of a CA; give an empty one`);
    const newest = slots.reduce((a, b) => (b.sequence > a.sequence ? b : a));
    this.#sequence = newest.sequence;
    return JSON.parse(newest.payload.toString()) as CaState;
  }

  async save(state: CaState): Promise<void> {
    const payload = Buffer.from(JSON.stringify(state));
    if (payload.length > CA_STATE_BYTES_MAX) throw new Error(`the state of the CA has ${payload.length} bytes; ${CA_STATE_BYTES_MAX} is the limit`);
    const sequence = this.#sequence + 1n;
    const header = Buffer.alloc(HEADER_BYTES);
    MAGIC.copy(header);
    header.writeBigUInt64BE(sequence, MAGIC.length);
    header.writeUInt32BE(payload.length, MAGIC.length + 8);
    digestOf(sequence, payload).copy(header, HEADER_BYTES - DIGEST_BYTES);
    const slot = Buffer.concat([header, payload]);
    const written = writeSync(this.#fd, slot, 0, slot.length, Number(sequence % 2n) * SLOT_BYTES);
    if (written !== slot.length) throw new Error(`descriptor ${this.#fd} took ${written} of ${slot.length} bytes`);
    this.#sequence = sequence;
  }

  #read(slot: 0 | 1): Slot | undefined {
    const header = Buffer.alloc(HEADER_BYTES);
    if (readSync(this.#fd, header, 0, HEADER_BYTES, slot * SLOT_BYTES) < HEADER_BYTES || !header.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
    const sequence = header.readBigUInt64BE(MAGIC.length);
    const length = header.readUInt32BE(MAGIC.length + 8);
    if (length > CA_STATE_BYTES_MAX) return undefined;
    const payload = Buffer.alloc(length);
    if (readSync(this.#fd, payload, 0, length, slot * SLOT_BYTES + HEADER_BYTES) < length) return undefined;
    return digestOf(sequence, payload).equals(header.subarray(HEADER_BYTES - DIGEST_BYTES)) ? { sequence, payload } : undefined;
  }
}

function statOf(fd: number): ReturnType<typeof fstatSync> {
  try {
    return fstatSync(fd);
  } catch {
    throw new Error(`file descriptor ${fd} is not open; the parent must pass it on`);
  }
}

function digestOf(sequence: bigint, payload: Buffer): Buffer {
  return createHash('sha256').update(`${sequence} `).update(payload).digest();
}
