/** Where a rule looks for tokens in a request (RFC 6750 §2, and cookies), and how they are taken out of it. */
import type { JwtRule } from '../../mesh/security.ts';
import type { RequestHead } from '../head.ts';

type HeaderPlace = JwtRule['fromHeaders'][number];

/** What is in the places of a rule, in the order in which they are looked for; an empty place that is there is a bad token. */
export function findTokens(head: RequestHead, { fromHeaders, fromParams, fromCookies }: JwtRule): readonly string[] {
  const found: string[] = [];
  for (const place of fromHeaders) found.push(...valuesAt(head, place).map((value) => value.slice(place.prefix.length).trim()));
  if (fromParams.length > 0 && head.target.includes('?')) {
    const query = parseQuery(head.query);
    for (const name of fromParams) found.push(...query.getAll(name));
  }
  if (fromCookies.length > 0) {
    for (const { name, value } of cookiePairs(head)) if (fromCookies.includes(name)) found.push(unquoted(value));
  }
  return found;
}

/** Take the tokens of a rule out, so that the application cannot pass them on. */
export function removeTokens(head: RequestHead, { fromHeaders, fromParams, fromCookies }: JwtRule): void {
  // All lines of the name, as Envoy: what stands beside a token is a second credential, which nobody has looked at.
  for (const place of fromHeaders) if (valuesAt(head, place).length > 0) head.headers.remove(place.name);
  if (fromParams.length > 0) removeParams(head, fromParams);
  if (fromCookies.length > 0) removeCookies(head, fromCookies);
}

/** Values of a header that begin as the place demands. */
function valuesAt({ headers }: RequestHead, { name, prefix }: HeaderPlace): string[] {
  const values = [];
  for (let i = 0; i < headers.size; i += 1) if (headers.lowerAt(i) === name && headers.valueAt(i).startsWith(prefix)) values.push(headers.valueAt(i));
  return values;
}

/** The other parameters keep their spelling. */
function removeParams(head: RequestHead, names: readonly string[]): void {
  const mark = head.target.indexOf('?');
  if (mark < 0) return;
  const pairs = head.target.slice(mark + 1).split('&');
  const kept = pairs.filter((pair) => !names.includes(paramName(pair)));
  if (kept.length < pairs.length) head.target = kept.length === 0 ? head.target.slice(0, mark) : `${head.target.slice(0, mark + 1)}${kept.join('&')}`;
}

/** Decoded as {@link findTokens} does, so that what was found is what is removed. */
function paramName(pair: string): string {
  const [name] = parseQuery(pair).keys();
  return name ?? '';
}

/** The `&` keeps a second `?` a part of the first name. */
function parseQuery(query: string): URLSearchParams {
  return new URLSearchParams(`&${query}`);
}

function removeCookies(head: RequestHead, names: readonly string[]): void {
  const pairs = cookiePairs(head);
  const kept = pairs.filter(({ name }) => !names.includes(name));
  if (kept.length === pairs.length) return;
  if (kept.length === 0) head.headers.remove('cookie');
  else head.headers.set('Cookie', kept.map(({ text }) => text).join('; '));
}

/** RFC 6265 §4.2.1; several Cookie lines (HTTP/2 may split them, RFC 9113 §8.2.3) are one list. */
function cookiePairs({ headers }: RequestHead): { readonly text: string; readonly name: string; readonly value: string }[] {
  const pairs = [];
  for (let i = 0; i < headers.size; i += 1) {
    if (headers.lowerAt(i) !== 'cookie') continue;
    for (const part of headers.valueAt(i).split(';')) {
      const text = part.trim();
      const equals = text.indexOf('=');
      if (text !== '') pairs.push({ text, name: equals < 0 ? text : text.slice(0, equals).trim(), value: equals < 0 ? '' : text.slice(equals + 1).trim() });
    }
  }
  return pairs;
}

function unquoted(value: string): string {
  return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
}
