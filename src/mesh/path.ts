/**
 * Paths as policies compare them, and as the application then gets them: whoever judges one spelling must not pass on another.
 *
 * BASE (Istio's default; Envoy's `normalize_path`): `\` is `/`; escaped letters, digits and `-._~` are what they stand for
 * (RFC 3986 §6.2.2.2), so that `%2e` is a dot; then dot segments are resolved (§5.2.4). `%2F` and `%5C` stay, `//` stays, and
 * letters keep their case. MERGE_SLASHES then makes one of several slashes. DECODE_AND_MERGE_SLASHES reads `%2F` and `%5C` as
 * slashes before all that. NONE compares what was sent.
 */

export type PathNormalization = 'NONE' | 'BASE' | 'MERGE_SLASHES' | 'DECODE_AND_MERGE_SLASHES';

/** Nothing to do for these; almost every path is one. */
const PLAIN = /^(?:\/(?!\.{0,2}(?:\/|$))[^/\\%#]*)+\/?$|^\/$/;

/** A path without its query. `*` and what is no path are returned as they are; a fragment, which no request should have, is cut off. */
export function normalizePath(path: string, how: PathNormalization): string {
  if (how === 'NONE' || path === '' || path.charCodeAt(0) !== 0x2f || PLAIN.test(path)) return path;
  const fragment = path.indexOf('#');
  let text = fragment < 0 ? path : path.slice(0, fragment);
  if (how === 'DECODE_AND_MERGE_SLASHES') text = text.replace(/%2f|%5c/gi, '/');
  text = withoutDots(text.replaceAll('\\', '/').replace(/%([0-9a-f]{2})/gi, unreserved));
  return how === 'BASE' ? text : text.replace(/\/{2,}/g, '/');
}

function unreserved(escape: string, hex: string): string {
  const character = String.fromCharCode(Number.parseInt(hex, 16));
  return /[A-Za-z0-9\-._~]/.test(character) ? character : escape;
}

/** RFC 3986 §5.2.4, for a path that begins with a slash; an empty segment is one like any other. */
function withoutDots(path: string): string {
  const segments = path.slice(1).split('/');
  const kept: string[] = [];
  for (const segment of segments) {
    if (segment === '..') kept.pop();
    else if (segment !== '.') kept.push(segment);
  }
  // A dot segment at the end names a directory.
  const last = segments.at(-1);
  if (last === '.' || last === '..') kept.push('');
  return `/${kept.join('/')}`;
}
