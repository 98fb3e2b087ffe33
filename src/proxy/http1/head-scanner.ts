/**
 * Finds the end of a head and the boundaries of its parts, checking every octet once, however the head is split. The scanner
 * knows lines, names and values; what they mean is for `request-head.ts` and `response-head.ts`.
 *
 * A head that arrives in one piece is scanned where it lies. One that does not is gathered in a buffer of the scanner's, and
 * the scan goes on where it stopped, so that a head sent octet by octet costs no more than its length.
 */
import { HEADER_COUNT_MAX, HEAD_BYTES_MAX } from '../../core/limits.ts';
import { latin1 } from '../latin1.ts';
import { fieldName, hashStep } from './field-names.ts';
import type { FieldName } from './field-names.ts';
import { TARGET, TOKEN, VALUE, octetText } from '../octets.ts';

const CR = 0x0d;
const LF = 0x0a;
const SP = 0x20;
const TAB = 0x09;
const COLON = 0x3a;

/** Where the scan is. */
const START = 0;
const START_LF = 1;
const FIRST_WORD = 2;
const SECOND_WORD = 3;
const THIRD_WORD = 4;
const LINE_LF = 5;
const FIELD_START = 6;
const NAME = 7;
const VALUE_SPACE = 8;
const VALUE_TEXT = 9;
const VALUE_LF = 10;
const END_LF = 11;
const DONE = 12;

/** What is scanned: the three words of the first line differ, and a trailer section has no first line. */
export const REQUEST = 0;
export const RESPONSE = 1;
export const TRAILERS = 2;
export type Kind = typeof REQUEST | typeof RESPONSE | typeof TRAILERS;

/** Why a head was refused; turned into a `MeshError` by whoever knows the side. */
export class Malformed extends Error {
  readonly what: 'syntax' | 'size';

  constructor(reason: string, what: 'syntax' | 'size' = 'syntax') {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(reason);
    Error.stackTraceLimit = stackTraceLimit;
    this.what = what;
  }
}

/** Numbers kept per field: name start and end, value start and end. */
const PER_FIELD = 4;

export class HeadScanner {
  readonly #kind: Kind;
  readonly #bytesMax: number;
  #state = START;
  /** Octets of the head scanned so far; all positions below are counted from its first octet. */
  #at = 0;
  #gathered: Buffer | undefined;
  #hash = 0;
  #leading = false;
  #firstEnd = 0;
  #secondStart = 0;
  #secondEnd = 0;
  #lineEnd = 0;
  #fieldsStart = 0;
  readonly #bounds: number[] = [];
  readonly #names: FieldName[] = [];
  #count = 0;
  /** The whole head as text, once it is complete. */
  text = '';

  constructor(kind: Kind, bytesMax: number = HEAD_BYTES_MAX) {
    this.#kind = kind;
    this.#bytesMax = bytesMax;
    this.reset();
  }

  /** Nothing of a head has been seen. */
  get idle(): boolean {
    return this.#state === START && !this.#leading;
  }

  /** Number of field lines. */
  get count(): number {
    return this.#count;
  }

  get firstWord(): string {
    return this.text.slice(0, this.#firstEnd);
  }

  get secondWord(): string {
    return this.text.slice(this.#secondStart, this.#secondEnd);
  }

  /** After the second word's space; empty when there is none. */
  get thirdWord(): string {
    return this.text.slice(this.#secondEnd + 1, this.#lineEnd);
  }

  /** Positions in {@link text} of a field: of its line, of the line after it, and its value. */
  nameAt(index: number): FieldName {
    return this.#names[index] as FieldName;
  }

  lineStart(index: number): number {
    return this.#bounds[index * PER_FIELD] as number;
  }

  /** Where the line after this field begins. */
  lineEnd(index: number): number {
    return index + 1 < this.#count ? this.lineStart(index + 1) : this.text.length - 2;
  }

  valueAt(index: number): string {
    return this.text.slice(this.#bounds[index * PER_FIELD + 2], this.#bounds[index * PER_FIELD + 3]);
  }

  /** Position in {@link text} of the first field line. */
  get fieldsStart(): number {
    return this.#fieldsStart;
  }

  /**
   * Scan from `from` up to `to`. Returns the position after the head when it is complete, -1 when more is needed.
   * @throws Malformed
   */
  scan(buffer: Buffer, from: number, to: number): number {
    let start = from;
    if (this.#state <= START_LF) {
      start = this.#skipEmptyLine(buffer, from, to);
      if (this.#state <= START_LF) return -1;
    }
    return this.#gathered === undefined ? this.#scanInPlace(buffer, start, to) : this.#scanGathered(buffer, start, to);
  }

  /** Ready for the next head. */
  reset(): void {
    this.#state = this.#kind === TRAILERS ? FIELD_START : START;
    this.#at = 0;
    this.#gathered = undefined;
    this.#leading = false;
    this.#count = 0;
    this.#fieldsStart = 0;
  }

  /** What is known of a head that was refused: the largest field line, for the answer that tells what to shorten. */
  largestField(): { name: string; bytes: number } | undefined {
    let largest: { name: string; bytes: number } | undefined;
    for (let i = 0; i < this.#count; i += 1) {
      const start = this.#bounds[i * PER_FIELD] as number;
      const end = i === this.#count - 1 && this.#state === VALUE_TEXT ? this.#at : (this.#bounds[i * PER_FIELD + 3] as number);
      const bytes = end - start;
      if (largest === undefined || bytes > largest.bytes) largest = { name: this.nameAt(i).name, bytes };
    }
    return largest;
  }

  #scanInPlace(buffer: Buffer, start: number, to: number): number {
    const end = Math.min(to, start + this.#bytesMax);
    this.#run(buffer, start, end);
    if (this.#state === DONE) return this.#complete(buffer, start);
    this.#checkSize(to - start);
    this.#gathered = Buffer.allocUnsafe(Math.max(1024, 2 * (to - start)));
    buffer.copy(this.#gathered, 0, start, to);
    return -1;
  }

  #scanGathered(buffer: Buffer, from: number, to: number): number {
    const before = this.#at;
    const take = Math.min(to - from, this.#bytesMax - before);
    const gathered = this.#room(before + take);
    buffer.copy(gathered, before, from, from + take);
    this.#run(gathered, 0, before + take);
    if (this.#state === DONE) {
      const after = from + (this.#at - before);
      this.#complete(gathered, 0);
      return after;
    }
    this.#checkSize(before + to - from);
    return -1;
  }

  #room(bytes: number): Buffer {
    const gathered = this.#gathered as Buffer;
    if (gathered.length >= bytes) return gathered;
    const larger = Buffer.allocUnsafe(Math.min(this.#bytesMax, 2 * bytes));
    gathered.copy(larger, 0, 0, this.#at);
    this.#gathered = larger;
    return larger;
  }

  #complete(buffer: Buffer, start: number): number {
    this.text = latin1(buffer, start, start + this.#at);
    this.#gathered = undefined;
    return start + this.#at;
  }

  #checkSize(bytes: number): void {
    if (bytes < this.#bytesMax) return;
    const largest = this.largestField();
    const where = largest === undefined ? 'in its first line' : `its largest field is ${largest.name} with ${largest.bytes} bytes`;
    throw new Malformed(`more than ${this.#bytesMax} bytes; ${where}`, 'size');
  }

  /** One empty line before a request is tolerated (RFC 9112 §2.2); none before a response. */
  #skipEmptyLine(buffer: Buffer, from: number, to: number): number {
    let at = from;
    while (at < to) {
      const octet = buffer[at] as number;
      if (this.#state === START_LF) {
        if (octet !== LF) throw new Malformed('CR without LF before the first line');
        this.#state = START;
        at += 1;
      } else if (octet === CR && this.#kind === REQUEST && !this.#leading) {
        this.#leading = true;
        this.#state = START_LF;
        at += 1;
      } else {
        this.#state = FIRST_WORD;
        return at;
      }
    }
    return at;
  }

  /** The machine. `base` is where the head begins in `buffer`; the scan goes on at `base + #at`. */
  #run(buffer: Buffer, base: number, end: number): void {
    let i = base + this.#at;
    let state = this.#state;
    let hash = this.#hash;
    const bounds = this.#bounds;
    while (i < end && state !== DONE) {
      let octet: number;
      switch (state) {
        case FIRST_WORD:
          i = this.#scanFirstWord(buffer, i, end);
          if (i < end) {
            this.#firstEnd = i - base;
            i += 1;
            this.#secondStart = i - base;
            state = SECOND_WORD;
          }
          break;
        case SECOND_WORD:
          i = this.#scanSecondWord(buffer, i, end, base);
          if (i < end) {
            this.#secondEnd = i - base;
            // A status line may end after its code: widespread, and only one way to read it.
            state = buffer[i] === CR ? LINE_LF : THIRD_WORD;
            this.#lineEnd = i - base;
            i += 1;
          }
          break;
        case THIRD_WORD:
          while (i < end && VALUE[buffer[i] as number] === 1) i += 1;
          if (i < end) {
            if (buffer[i] !== CR) throw new Malformed(`${octetText(buffer[i] as number)} in the first line`);
            this.#lineEnd = i - base;
            i += 1;
            state = LINE_LF;
          }
          break;
        case LINE_LF:
          if (buffer[i] !== LF) throw new Malformed('CR without LF in the first line');
          i += 1;
          this.#fieldsStart = i - base;
          state = FIELD_START;
          break;
        case FIELD_START:
          octet = buffer[i] as number;
          if (octet === CR) {
            i += 1;
            state = END_LF;
            break;
          }
          if (octet === SP || octet === TAB) throw new Malformed(this.#count === 0 ? 'space before the first field' : 'folded field line');
          if (TOKEN[octet] !== 1) throw new Malformed(octet === COLON ? 'empty field name' : `${octetText(octet)} in a field name`);
          if (this.#count === HEADER_COUNT_MAX) throw new Malformed(`more than ${HEADER_COUNT_MAX} field lines`, 'size');
          bounds[this.#count * PER_FIELD] = i - base;
          hash = 0;
          state = NAME;
          break;
        case NAME:
          while (i < end && TOKEN[(octet = buffer[i] as number)] === 1) {
            hash = hashStep(hash, octet);
            i += 1;
          }
          if (i < end) {
            octet = buffer[i] as number;
            if (octet !== COLON) throw new Malformed(`${octetText(octet)} in a field name`);
            const start = bounds[this.#count * PER_FIELD] as number;
            this.#names[this.#count] = fieldName(buffer, base + start, i, hash);
            bounds[this.#count * PER_FIELD + 1] = i - base;
            i += 1;
            bounds[this.#count * PER_FIELD + 2] = i - base;
            bounds[this.#count * PER_FIELD + 3] = i - base;
            this.#count += 1;
            state = VALUE_SPACE;
          }
          break;
        case VALUE_SPACE:
          while (i < end && ((octet = buffer[i] as number) === SP || octet === TAB)) i += 1;
          bounds[this.#count * PER_FIELD - 2] = i - base;
          if (i < end) state = VALUE_TEXT;
          break;
        case VALUE_TEXT:
          while (i < end && VALUE[buffer[i] as number] === 1) i += 1;
          if (i < end) {
            if (buffer[i] !== CR) throw new Malformed(`${octetText(buffer[i] as number)} in the value of ${this.nameAt(this.#count - 1).name}`);
            let last = i;
            const first = base + (bounds[this.#count * PER_FIELD - 2] as number);
            while (last > first && ((octet = buffer[last - 1] as number) === SP || octet === TAB)) last -= 1;
            bounds[this.#count * PER_FIELD - 1] = last - base;
            i += 1;
            state = VALUE_LF;
          }
          break;
        case VALUE_LF:
          if (buffer[i] !== LF) throw new Malformed(`CR without LF in the value of ${this.nameAt(this.#count - 1).name}`);
          i += 1;
          state = FIELD_START;
          break;
        case END_LF:
          if (buffer[i] !== LF) throw new Malformed('CR without LF after the last field');
          i += 1;
          state = DONE;
          break;
        default:
          throw new Error(`head scanner in state ${state}`);
      }
      this.#state = state;
      this.#at = i - base;
    }
    this.#hash = hash;
  }

  /** Method or protocol version; returns where its space is. */
  #scanFirstWord(buffer: Buffer, from: number, end: number): number {
    let i = from;
    if (this.#kind === REQUEST) {
      while (i < end && TOKEN[buffer[i] as number] === 1) i += 1;
      if (i < end && (buffer[i] !== SP || (i === from && this.#at === 0))) throw new Malformed(`${octetText(buffer[i] as number)} in the method`);
      return i;
    }
    // `HTTP/1.1`: checked as it comes, so that what is no HTTP at all is refused at once.
    while (i < end && buffer[i] !== SP) {
      const expected = this.#at + i - from;
      if (!isVersionOctet(buffer[i] as number, expected)) throw new Malformed('the status line does not begin with HTTP/1.0 or HTTP/1.1');
      i += 1;
    }
    if (i < end && this.#at + i - from !== 8) throw new Malformed('the status line does not begin with HTTP/1.0 or HTTP/1.1');
    return i;
  }

  /** Target or status code; returns where the space (or, of a status line, the CR) after it is. */
  #scanSecondWord(buffer: Buffer, from: number, end: number, base: number): number {
    let i = from;
    if (this.#kind === REQUEST) {
      while (i < end && TARGET[buffer[i] as number] === 1) i += 1;
      if (i < end && buffer[i] !== SP) throw new Malformed(buffer[i] === CR ? 'no protocol version in the first line' : `${octetText(buffer[i] as number)} in the request target`);
      return i;
    }
    const start = base + this.#secondStart;
    while (i < end && i - start < 3) {
      const octet = buffer[i] as number;
      if (octet < (i === start ? 0x31 : 0x30) || octet > 0x39) throw new Malformed('the status code is not a number from 100 to 999');
      i += 1;
    }
    if (i < end && buffer[i] !== SP && buffer[i] !== CR) throw new Malformed('the status code is not a number from 100 to 999');
    return i;
  }
}

const HTTP = Buffer.from('HTTP/1.');

function isVersionOctet(octet: number, position: number): boolean {
  if (position < HTTP.length) return octet === HTTP[position];
  return position === HTTP.length && (octet === 0x30 || octet === 0x31);
}
