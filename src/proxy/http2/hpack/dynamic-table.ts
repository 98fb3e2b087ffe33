/**
 * The fields a peer added (RFC 7541 §2.3.2), newest first, as the decoder needs them: by index. A ring that grows with its use,
 * so that an idle connection holds almost nothing; its strings are made once and handed out again for every indexed field.
 */
import { ENTRY_OVERHEAD } from './static-table.ts';

const FIRST_CAPACITY = 16;

export class DynamicTable {
  /** Entries that are in the table. */
  count = 0;
  #size = 0;
  #maxSize: number;
  /** Place of the newest entry; older ones follow, around the end. The length is a power of two. */
  #newest = 0;
  #names: string[] = [];
  #values: string[] = [];

  constructor(maxSize: number) {
    this.#maxSize = maxSize;
  }

  get maxSize(): number {
    return this.#maxSize;
  }

  /** Name of an entry, 0 being the newest. */
  nameAt(index: number): string {
    return this.#names[(this.#newest + index) & (this.#names.length - 1)] as string;
  }

  valueAt(index: number): string {
    return this.#values[(this.#newest + index) & (this.#values.length - 1)] as string;
  }

  /** Add an entry, not larger than the table, dropping old ones to make room (RFC 7541 §4.4). */
  insert(name: string, value: string): void {
    const size = name.length + value.length + ENTRY_OVERHEAD;
    this.#evict(this.#maxSize - size);
    if (this.count === this.#names.length) this.#grow();
    this.#newest = (this.#newest - 1) & (this.#names.length - 1);
    this.#names[this.#newest] = name;
    this.#values[this.#newest] = value;
    this.count += 1;
    this.#size += size;
  }

  /** What remains when an entry larger than the table is added: no entry at all. */
  clear(): void {
    this.#evict(0);
  }

  /** Change the maximum size, dropping old entries until it is kept (RFC 7541 §4.3). */
  resize(maxSize: number): void {
    this.#maxSize = maxSize;
    this.#evict(maxSize);
  }

  #evict(maxSize: number): void {
    while (this.count > 0 && this.#size > maxSize) {
      const oldest = (this.#newest + this.count - 1) & (this.#names.length - 1);
      this.#size -= (this.#names[oldest] as string).length + (this.#values[oldest] as string).length + ENTRY_OVERHEAD;
      this.#names[oldest] = '';
      this.#values[oldest] = '';
      this.count -= 1;
    }
  }

  #grow(): void {
    const capacity = Math.max(FIRST_CAPACITY, this.#names.length * 2);
    const names = Array.from({ length: capacity }, () => '');
    const values = Array.from({ length: capacity }, () => '');
    for (let i = 0; i < this.count; i += 1) {
      names[i] = this.nameAt(i);
      values[i] = this.valueAt(i);
    }
    this.#names = names;
    this.#values = values;
    this.#newest = 0;
  }
}
