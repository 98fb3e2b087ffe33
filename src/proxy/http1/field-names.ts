/**
 * Field names seen before, found by their octets: a name that is known costs no string and no lower-casing. Bounded, so that
 * a client inventing names cannot make it grow; the strings are flat copies, which keep no message alive.
 */
import { latin1 } from '../latin1.ts';

/** Fields that mean something to the codec; all others are {@link ORDINARY}. */
export const ORDINARY = 0;
export const HOST = 1;
export const CONTENT_LENGTH = 2;
export const TRANSFER_ENCODING = 3;
export const CONNECTION = 4;
export const UPGRADE = 5;
export const TE = 6;
export const EXPECT = 7;
/** Concerns one connection only, with no further meaning here (Keep-Alive, Proxy-Connection). */
export const HOP_BY_HOP = 8;

const MEANINGS: Readonly<Record<string, number>> = {
  host: HOST,
  'content-length': CONTENT_LENGTH,
  'transfer-encoding': TRANSFER_ENCODING,
  connection: CONNECTION,
  upgrade: UPGRADE,
  te: TE,
  expect: EXPECT,
  'keep-alive': HOP_BY_HOP,
  'proxy-connection': HOP_BY_HOP,
};

export interface FieldName {
  readonly name: string;
  readonly lower: string;
  readonly meaning: number;
}

interface Known extends FieldName {
  readonly octets: Uint8Array;
}

/** Slots, by hash; a newcomer takes the place of the name it collides with. */
const SLOTS = 1024;
/** Longer names are rare, and not worth their memory. */
const NAME_BYTES_MAX = 48;
const known = Array.from<Known | undefined>({ length: SLOTS }).fill(undefined);

/** The name in `buffer` from `start` up to `end`, a valid token whose {@link hashStep} sum is `hash`. */
export function fieldName(buffer: Buffer, start: number, end: number, hash: number): FieldName {
  const slot = (hash ^ (hash >>> 11)) & (SLOTS - 1);
  const candidate = known[slot];
  const length = end - start;
  if (candidate !== undefined && candidate.octets.length === length && equal(buffer, start, candidate.octets)) return candidate;
  const name = latin1(buffer, start, end);
  const lower = name.toLowerCase();
  const entry = { name, lower, meaning: Object.hasOwn(MEANINGS, lower) ? (MEANINGS[lower] as number) : ORDINARY, octets: Uint8Array.from(buffer.subarray(start, end)) };
  if (length <= NAME_BYTES_MAX) known[slot] = entry;
  return entry;
}

/** One octet more into the hash of a name. */
export function hashStep(hash: number, octet: number): number {
  return (Math.imul(hash, 31) + octet) | 0;
}

function equal(buffer: Buffer, start: number, octets: Uint8Array): boolean {
  for (let i = 0; i < octets.length; i += 1) if (buffer[start + i] !== octets[i]) return false;
  return true;
}
