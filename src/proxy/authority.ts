/** What may stand in a Host field, :authority, or the target of CONNECT. */

/** uri-host [ ":" port ] (RFC 9110 §7.2, RFC 3986 §3.2.2), without user information. */
const AUTHORITY = /^(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]{0,5})?$/;
const AUTHORITY_WITH_PORT = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+):[0-9]{1,5}$/;

/** The authority found valid last: clients repeat themselves. */
let last = '';

/** A host with an optional port; empty is allowed (RFC 9112 §3.2). */
export function isAuthority(text: string): boolean {
  if (text === last) return true;
  if (!AUTHORITY.test(text)) return false;
  last = text;
  return true;
}

/** host:port, as CONNECT wants it. */
export function isHostAndPort(text: string): boolean {
  return AUTHORITY_WITH_PORT.test(text);
}
