/** What goes into the peer's table: known names by this list, others by what the encoder sees of their values. */
import { STATIC_TABLE } from './static-table.ts';

/** Put in the table while that pays (RFC 7541 §6.2.1). */
export const INDEXED = 0x40;
/** Written out: the next value will be another one (§6.2.2). */
export const WRITTEN_OUT = 0x00;
/** Secret: in no table, here or behind the peer, where it could be guessed by its compression (§6.2.3, §7.1). */
export const NEVER_INDEXED = 0x10;

export type Representation = typeof INDEXED | typeof WRITTEN_OUT | typeof NEVER_INDEXED;

const SECRET = ['authorization', 'proxy-authorization', 'set-cookie'];

/** Fields whose value is made for one message. */
const VARYING = [
  'age', 'content-length', 'content-range', 'etag', 'if-match', 'if-modified-since', 'if-none-match', 'if-range', 'last-modified',
  'location', 'range', 'traceparent', 'x-b3-parentspanid', 'x-b3-spanid', 'x-b3-traceid', 'x-envoy-upstream-service-time', 'x-request-id',
];

/** A shorter cookie can be guessed octet by octet (RFC 7541 §7.1.3; nghttp2 draws the line here too). */
const COOKIE_LENGTH_SAFE = 20;

export interface KnownName {
  /** Lowest index in the static table; 0 = none. */
  readonly index: number;
  readonly representation: Representation;
  /** Values in the static table, with their index. */
  readonly values: readonly (readonly [value: string, index: number])[];
}

const UNKNOWN: KnownName = { index: 0, representation: INDEXED, values: [] };
const KNOWN = knownNames();

function knownNames(): ReadonlyMap<string, KnownName> {
  const names = new Set([...STATIC_TABLE.map(([name]) => name), ...VARYING]);
  const known = new Map<string, KnownName>();
  for (const name of names) {
    const entries = STATIC_TABLE.map(([entry, value], at) => ({ entry, value, index: at + 1 })).filter(({ entry }) => entry === name);
    known.set(name, {
      index: entries[0]?.index ?? 0,
      representation: SECRET.includes(name) ? NEVER_INDEXED : VARYING.includes(name) ? WRITTEN_OUT : INDEXED,
      values: entries.filter(({ value }) => value !== '').map(({ value, index }) => [value, index] as const),
    });
  }
  return known;
}

/** What is known of a name, by its lower-case form. */
export function knownName(name: string): KnownName {
  return KNOWN.get(name) ?? UNKNOWN;
}

/** The representation for one value of a name. */
export function representationOf(name: string, value: string, known: KnownName): Representation {
  if (name === 'cookie' && value.length < COOKIE_LENGTH_SAFE) return NEVER_INDEXED;
  // A query is seldom asked twice, a path often.
  if (name === ':path' && value.includes('?')) return WRITTEN_OUT;
  return known.representation;
}
