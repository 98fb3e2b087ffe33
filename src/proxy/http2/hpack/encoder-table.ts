/**
 * The fields an encoder added to its peer's table (RFC 7541 §2.3.2), found by name and value, and what it learnt of each name:
 * whether its values come again. Names that make new values every time stop pushing the others out of the table.
 */
import { knownName } from './policy.ts';
import type { KnownName } from './policy.ts';
import { ENTRY_OVERHEAD, STATIC_COUNT } from './static-table.ts';

/** Values of one name added in a row without any of them being used again, before it is given up. */
const CREDIT = 8;
/** A name that was given up is given one more try after so many values. */
const TRY_AGAIN_AFTER = 64;
/** Names remembered beyond those in the table; clients inventing names must not make it grow for ever. */
const NAMES_MAX = 256;
const FIRST_CAPACITY = 16;
/** Longer names are rare, and not worth their memory. */
const NAME_CHARS_MAX = 64;

export interface TrackedName {
  readonly name: string;
  readonly known: KnownName;
  /** By value: the number of the entry it was added as, or, below 0, its index in the static table. */
  readonly places: Map<string, number>;
  /** Number of the newest entry of this name. */
  newest: number;
  /** Entries of this name in the table. */
  entries: number;
  /** Values that may still be added without a hit; below 0, how many were not added since. */
  credit: number;
}

function newName(name: string): TrackedName {
  const known = knownName(name);
  return { name, known, places: new Map(known.values.map(([value, index]) => [value, -index])), newest: 0, entries: 0, credit: CREDIT };
}

/** For names that are not worth remembering: never added to the table. */
const UNTRACKED: TrackedName = newName('');

interface Entry {
  readonly tracked: TrackedName;
  readonly value: string;
}

export class EncoderTable {
  readonly #names = new Map<string, TrackedName>();
  #maxSize: number;
  #size = 0;
  /** Entries ever added: the number of the newest one. Those in the table are the last {@link #count} of them. */
  #added = 0;
  #count = 0;
  /** Entries by number, around the end; the length is a power of two. */
  #entries: (Entry | undefined)[] = Array.from({ length: FIRST_CAPACITY });

  constructor(maxSize: number) {
    this.#maxSize = maxSize;
  }

  get maxSize(): number {
    return this.#maxSize;
  }

  /** What is known of a lower-case name. */
  track(name: string): TrackedName {
    return this.#names.get(name) ?? this.#learn(name);
  }

  /** Index of a field in the tables; 0 = it is in neither. */
  find(tracked: TrackedName, value: string): number {
    const place = tracked.places.get(value);
    if (place === undefined) return 0;
    if (place < 0) return -place;
    tracked.credit = CREDIT;
    return this.#indexOf(place);
  }

  /** Index of some field of that name; 0 = there is none. */
  indexOfName(tracked: TrackedName): number {
    if (tracked.known.index > 0) return tracked.known.index;
    return tracked.entries > 0 ? this.#indexOf(tracked.newest) : 0;
  }

  /** Whether a new value of this name is likely to come again; asking counts. */
  worthAdding(tracked: TrackedName, value: string): boolean {
    // A value that would push out most of the others, to be pushed out by the next one.
    if (tracked === UNTRACKED || sizeOf(tracked.name, value) > this.#maxSize / 2) return false;
    tracked.credit -= 1;
    if (tracked.credit >= 0) return true;
    if (tracked.credit > -TRY_AGAIN_AFTER) return false;
    tracked.credit = 0;
    return true;
  }

  /** Add a field that {@link worthAdding} said yes to, dropping old ones to make room (RFC 7541 §4.4). */
  add(tracked: TrackedName, value: string): void {
    const size = sizeOf(tracked.name, value);
    this.#evict(this.#maxSize - size);
    if (this.#count === this.#entries.length) this.#grow();
    this.#added += 1;
    this.#count += 1;
    this.#size += size;
    this.#entries[this.#added & (this.#entries.length - 1)] = { tracked, value };
    tracked.newest = this.#added;
    tracked.entries += 1;
    tracked.places.set(value, this.#added);
  }

  /** Change the maximum size, dropping old entries until it is kept (RFC 7541 §4.3). */
  resize(maxSize: number): void {
    this.#maxSize = maxSize;
    this.#evict(maxSize);
  }

  /** Dynamic indices follow the static ones, the newest entry first (RFC 7541 §2.3.3). */
  #indexOf(number: number): number {
    return STATIC_COUNT + 1 + this.#added - number;
  }

  #evict(maxSize: number): void {
    while (this.#size > maxSize) {
      const number = this.#added - this.#count + 1;
      const at = number & (this.#entries.length - 1);
      const { tracked, value } = this.#entries[at] as Entry;
      this.#entries[at] = undefined;
      this.#count -= 1;
      this.#size -= sizeOf(tracked.name, value);
      tracked.entries -= 1;
      tracked.places.delete(value);
    }
  }

  #grow(): void {
    const entries = Array.from<Entry | undefined>({ length: this.#entries.length * 2 });
    for (let number = this.#added - this.#count + 1; number <= this.#added; number += 1) {
      entries[number & (entries.length - 1)] = this.#entries[number & (this.#entries.length - 1)];
    }
    this.#entries = entries;
  }

  #learn(name: string): TrackedName {
    if (name.length > NAME_CHARS_MAX) return UNTRACKED;
    if (this.#names.size >= NAMES_MAX + this.#count) {
      for (const tracked of this.#names.values()) if (tracked.entries === 0) this.#names.delete(tracked.name);
    }
    const tracked = newName(name);
    this.#names.set(name, tracked);
    return tracked;
  }
}

function sizeOf(name: string, value: string): number {
  return name.length + value.length + ENTRY_OVERHEAD;
}
