/** What an external authorizer said of a request, whichever protocol it said it in. */
import type { HeaderList } from '../headers.ts';

export type CheckOutcome = Allowed | Denied | CheckError;

export interface Allowed {
  readonly kind: 'allowed';
  /** For the application. */
  readonly requestHeaders: readonly HeaderChange[];
  /** Lower-case names of headers that the application is not to get. */
  readonly removeRequestHeaders: readonly string[];
  /** For the client, on the application's answer. */
  readonly responseHeaders: readonly HeaderChange[];
}

/** The answer is the authorizer's own. */
export interface Denied {
  readonly kind: 'denied';
  readonly status: number;
  readonly headers: readonly HeaderChange[];
  readonly body: Buffer;
}

/** It could not be asked, or has not answered the question. */
export interface CheckError {
  readonly kind: 'error';
  readonly reason: string;
}

export interface HeaderChange {
  readonly name: string;
  readonly value: string;
  /** `set` replaces what is there; `add` puts it beside; the others do either only where there is none, or some. */
  readonly how: 'set' | 'add' | 'add-if-absent' | 'set-if-present';
}

/** Headers that say where a message ends or whom it is for: no policy's business. */
const FRAMING: ReadonlySet<string> = new Set([
  'connection', 'content-length', 'expect', 'host', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade',
]);

export function isFraming(lower: string): boolean {
  return FRAMING.has(lower) || lower.startsWith(':');
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** A header that may be written as it is (RFC 9110 §5.1, §5.5); values are octets, one a character. */
export function isWritable({ name, value }: HeaderChange): boolean {
  return TOKEN.test(name) && !/[\0-\x08\x0a-\x1f\x7f\u0100-\uffff]/.test(value);
}

export function applyChanges(headers: HeaderList, changes: readonly HeaderChange[]): void {
  for (const { name, value, how } of changes) {
    const lower = name.toLowerCase();
    if (isFraming(lower)) continue;
    if (how === 'set' || (how === 'set-if-present' && headers.has(lower))) headers.set(name, value);
    else if (how === 'add' || (how === 'add-if-absent' && !headers.has(lower))) headers.add(name, value);
  }
}
