/** Addresses in log lines and messages. */

/** A URL as it may be logged: without what may be secret in it. */
export function placeOf(url: string): string {
  if (!URL.canParse(url)) return 'an address that is no URL';
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}
