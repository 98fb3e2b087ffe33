/**
 * Turns scanned field lines into a {@link HeaderList}, takes out what concerns this connection only (RFC 9110 §7.6.1), and
 * notes what the codec must know of it.
 */
import { HeaderList } from '../headers.ts';
import { mayBeTrailer } from '../trailers.ts';
import { CONNECTION, CONTENT_LENGTH, EXPECT, HOP_BY_HOP, HOST, ORDINARY, TE, TRANSFER_ENCODING, UPGRADE } from './field-names.ts';
import { Malformed } from './head-scanner.ts';
import type { HeadScanner } from './head-scanner.ts';

/** Largest length that is read exactly; longer digit strings could be read differently by others. */
const LENGTH_DIGITS_MAX = 15;
const DIGITS = /^[0-9]+$/;

/** Removing these because a Connection field names them would change what the message means to the next reader. */
const NEVER_REMOVED = new Set(['host', 'content-length']);

/** The upgrade to HTTP/2 is obsolete (RFC 9113 §3.1), and would carry requests past every rule of the mesh. */
const REFUSED_UPGRADES = new Set(['h2c', 'h2']);

export class Fields {
  headers = new HeaderList();
  hosts = 0;
  host = '';
  /** -1 = none. */
  contentLength = -1;
  transferEncoding: string | undefined;
  close = false;
  keepAlive = false;
  upgrade: string | undefined;
  expect: string | undefined;
  #connection: string | undefined;
  #upgrade: string | undefined;
  #trailersWanted = false;

  /** @throws Malformed */
  read(scanner: HeadScanner): void {
    this.#forget();
    const { count } = scanner;
    let ordinary = true;
    for (let i = 0; i < count; i += 1) {
      const { meaning } = scanner.nameAt(i);
      if (meaning !== ORDINARY && !this.#note(meaning, scanner, i)) ordinary = false;
    }
    if (ordinary) this.#keepAll(scanner);
    else this.#keepEndToEnd(scanner);
  }

  #forget(): void {
    this.headers = new HeaderList();
    this.hosts = 0;
    this.host = '';
    this.contentLength = -1;
    this.transferEncoding = undefined;
    this.close = false;
    this.keepAlive = false;
    this.upgrade = undefined;
    this.expect = undefined;
    this.#connection = undefined;
    this.#upgrade = undefined;
    this.#trailersWanted = false;
  }

  /** Returns whether the field is for the next reader too. */
  #note(meaning: number, scanner: HeadScanner, index: number): boolean {
    const value = scanner.valueAt(index);
    switch (meaning) {
      case HOST:
        this.hosts += 1;
        this.host = value;
        return true;
      case CONTENT_LENGTH:
        this.#noteLength(value);
        return true;
      case EXPECT:
        this.expect = this.expect === undefined ? value : `${this.expect}, ${value}`;
        return true;
      case TRANSFER_ENCODING:
        this.transferEncoding = this.transferEncoding === undefined ? value : `${this.transferEncoding}, ${value}`;
        return false;
      case CONNECTION:
        this.#connection = this.#connection === undefined ? value : `${this.#connection}, ${value}`;
        return false;
      case UPGRADE:
        this.#upgrade = this.#upgrade === undefined ? value : `${this.#upgrade}, ${value}`;
        return false;
      case TE:
        if (wantsTrailers(value)) this.#trailersWanted = true;
        return false;
      default:
        return meaning !== HOP_BY_HOP;
    }
  }

  #noteLength(value: string): void {
    // Two lengths, even equal ones, are what smuggling is made of; RFC 9112 §6.3 lets us refuse them.
    if (this.contentLength >= 0) throw new Malformed('more than one Content-Length');
    if (!DIGITS.test(value)) throw new Malformed('Content-Length is not a number');
    if (value.length > LENGTH_DIGITS_MAX) throw new Malformed('Content-Length is too large');
    this.contentLength = Number(value);
  }

  /** The usual case: every field goes on, and the text with them as it stands. */
  #keepAll(scanner: HeadScanner): void {
    const { headers } = this;
    for (let i = 0; i < scanner.count; i += 1) {
      const { lower, name } = scanner.nameAt(i);
      headers.pushParsed(lower, name, scanner.valueAt(i));
    }
    headers.keepRaw(scanner.text.slice(scanner.fieldsStart, scanner.text.length - 2));
  }

  #keepEndToEnd(scanner: HeadScanner): void {
    const named = this.#readConnection();
    const { headers } = this;
    const { text } = scanner;
    let raw = '';
    let kept = scanner.fieldsStart;
    for (let i = 0; i < scanner.count; i += 1) {
      const { lower, name, meaning } = scanner.nameAt(i);
      if (isForNext(meaning) && (named === undefined || !named.has(lower))) {
        headers.pushParsed(lower, name, scanner.valueAt(i));
        continue;
      }
      raw += text.slice(kept, scanner.lineStart(i));
      kept = scanner.lineEnd(i);
    }
    headers.keepRaw(raw + text.slice(kept, text.length - 2));
    if (this.#trailersWanted) headers.add('TE', 'trailers');
  }

  /** The options of Connection; returns the fields it names, if any. */
  #readConnection(): ReadonlySet<string> | undefined {
    if (this.#connection === undefined) return undefined;
    let named: Set<string> | undefined;
    for (const option of this.#connection.toLowerCase().split(',')) {
      const name = option.trim();
      if (name === 'close') this.close = true;
      else if (name === 'keep-alive') this.keepAlive = true;
      else if (name === 'upgrade') this.#acceptUpgrade();
      else if (name !== '' && !NEVER_REMOVED.has(name)) (named ??= new Set()).add(name);
    }
    return named;
  }

  #acceptUpgrade(): void {
    const protocol = this.#upgrade?.toLowerCase();
    if (protocol !== undefined && protocol !== '' && !protocol.split(',').some((name) => REFUSED_UPGRADES.has(name.trim()))) this.upgrade = protocol;
  }
}

function isForNext(meaning: number): boolean {
  return meaning === ORDINARY || meaning === HOST || meaning === CONTENT_LENGTH || meaning === EXPECT;
}

function wantsTrailers(value: string): boolean {
  return value
    .toLowerCase()
    .split(',')
    .some((coding) => coding.trim() === 'trailers');
}

/** The trailers of a message, without those that may not be trailers; undefined when none is left. */
export function readTrailers(scanner: HeadScanner): HeaderList | undefined {
  let trailers: HeaderList | undefined;
  for (let i = 0; i < scanner.count; i += 1) {
    const { lower, name } = scanner.nameAt(i);
    if (!mayBeTrailer(lower)) continue;
    trailers ??= new HeaderList();
    trailers.pushParsed(lower, name, scanner.valueAt(i));
  }
  return trailers;
}
