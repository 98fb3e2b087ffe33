/**
 * The header fields of one message, in order, with the case they were written in.
 *
 * Most messages pass through unchanged. So a list that came from the HTTP/1 parser also keeps its validated text (`raw`),
 * and the serialiser sends that as it stands; fields added afterwards go to `tail`; any other change forgets `raw`.
 */

/** Lower-case forms by spelling. Bounded: a client inventing names must not grow it for ever. */
const LOWER = new Map<string, string>();
const LOWER_MAX = 2048;
/** Longer names are rare; caching them would let a few clients hold megabytes. */
const LOWER_CHARS_MAX = 64;

/** The lower-case form of a field name; the same string object for the same spelling. */
export function lowerName(name: string): string {
  const known = LOWER.get(name);
  if (known !== undefined) return known;
  const lower = name.toLowerCase();
  if (LOWER.size < LOWER_MAX && name.length <= LOWER_CHARS_MAX) LOWER.set(name, lower);
  return lower;
}

export class HeaderList {
  /** lower-case name, name as written, value; three entries a field. */
  readonly #fields: string[] = [];
  #raw: string | undefined;
  #tail = '';
  #secret: Set<string> | undefined;

  /** Number of field lines. */
  get size(): number {
    return this.#fields.length / 3;
  }

  lowerAt(index: number): string {
    return this.#fields[index * 3] as string;
  }

  nameAt(index: number): string {
    return this.#fields[index * 3 + 1] as string;
  }

  valueAt(index: number): string {
    return this.#fields[index * 3 + 2] as string;
  }

  /** First value of a field, by lower-case name. */
  get(lower: string): string | undefined {
    const fields = this.#fields;
    for (let i = 0; i < fields.length; i += 3) if (fields[i] === lower) return fields[i + 2];
    return undefined;
  }

  /** All values of a field joined by `, ` (RFC 9110 §5.3), by lower-case name. */
  joined(lower: string): string | undefined {
    const fields = this.#fields;
    let value: string | undefined;
    for (let i = 0; i < fields.length; i += 3) {
      if (fields[i] === lower) value = value === undefined ? fields[i + 2] : `${value}, ${fields[i + 2]}`;
    }
    return value;
  }

  has(lower: string): boolean {
    return this.get(lower) !== undefined;
  }

  /** Append a field line, keeping those of the same name. */
  add(name: string, value: string): void {
    this.#fields.push(lowerName(name), name, value);
    if (this.#raw !== undefined) this.#tail += `${name}: ${value}\r\n`;
  }

  /** Replace all lines of the name by one, in the place of the first. */
  set(name: string, value: string): void {
    const lower = lowerName(name);
    const fields = this.#fields;
    let at = -1;
    let to = 0;
    for (let i = 0; i < fields.length; i += 3) {
      if (fields[i] === lower) {
        if (at >= 0) continue;
        at = to;
      }
      if (to !== i) this.#move(i, to);
      to += 3;
    }
    if (at < 0) {
      this.add(name, value);
      return;
    }
    fields.length = to;
    fields[at + 1] = name;
    fields[at + 2] = value;
    this.#raw = undefined;
  }

  /** Remove all lines of the name (lower-case). Returns whether there were any. */
  remove(lower: string): boolean {
    const fields = this.#fields;
    let to = 0;
    for (let i = 0; i < fields.length; i += 3) {
      if (fields[i] === lower) continue;
      if (to !== i) this.#move(i, to);
      to += 3;
    }
    if (to === fields.length) return false;
    fields.length = to;
    this.#raw = undefined;
    return true;
  }

  /** Fields of this name (lower-case, or of a pseudo-header field) are to be in no compression table, their sender says (RFC 7541 §6.2.3). */
  keepSecret(lower: string): void {
    this.#secret ??= new Set();
    this.#secret.add(lower);
  }

  isSecret(lower: string): boolean {
    return this.#secret !== undefined && this.#secret.has(lower);
  }

  /** A copy that can be changed on its own. */
  clone(): HeaderList {
    const copy = new HeaderList();
    if (this.#secret !== undefined) copy.#secret = new Set(this.#secret);
    for (const part of this.#fields) copy.#fields.push(part);
    copy.#raw = this.#raw;
    copy.#tail = this.#tail;
    return copy;
  }

  /** For the HTTP/1 parser: a validated field, whose text is part of what {@link keepRaw} will be given. */
  pushParsed(lower: string, name: string, value: string): void {
    this.#fields.push(lower, name, value);
  }

  /** For the HTTP/1 parser: the text of all fields so far (`Name: value\r\n`…), valid to send exactly as it is. */
  keepRaw(text: string): void {
    this.#raw = text;
    this.#tail = '';
  }

  /** The field section as HTTP/1 text, without the empty line that ends it. */
  toText(): string {
    if (this.#raw !== undefined) return this.#raw + this.#tail;
    const fields = this.#fields;
    let text = '';
    for (let i = 0; i < fields.length; i += 3) text += `${fields[i + 1]}: ${fields[i + 2]}\r\n`;
    return text;
  }

  /** Length of {@link toText}, without making it. */
  get textLength(): number {
    if (this.#raw !== undefined) return this.#raw.length + this.#tail.length;
    const fields = this.#fields;
    let length = 0;
    for (let i = 0; i < fields.length; i += 3) length += (fields[i + 1] as string).length + (fields[i + 2] as string).length + 4;
    return length;
  }

  #move(from: number, to: number): void {
    const fields = this.#fields;
    fields[to] = fields[from] as string;
    fields[to + 1] = fields[from + 1] as string;
    fields[to + 2] = fields[from + 2] as string;
  }
}
