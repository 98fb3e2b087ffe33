/** Which fields may come after a body. */

/** Fields that may not come as trailers, because they say how to frame, route or read the message (RFC 9110 §6.5.1). */
const NOT_IN_TRAILERS = new Set([
  'age', 'authorization', 'cache-control', 'connection', 'content-encoding', 'content-length', 'content-range', 'content-type',
  'cookie', 'date', 'expect', 'expires', 'host', 'keep-alive', 'location', 'max-forwards', 'pragma', 'proxy-authenticate',
  'proxy-authorization', 'proxy-connection', 'range', 'retry-after', 'set-cookie', 'te', 'trailer', 'transfer-encoding', 'upgrade',
  'vary', 'warning', 'www-authenticate',
]);

/** Is this field (by lower-case name) one that a reader may take from a trailer section? */
export function mayBeTrailer(lower: string): boolean {
  return !NOT_IN_TRAILERS.has(lower);
}
