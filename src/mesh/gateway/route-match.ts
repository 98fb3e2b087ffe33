/** Matches of HTTPRoutes and GRPCRoutes as functions. */
import { allOf, onHeader, onPath, onField, onQuery } from '../compile/matcher.ts';
import type { Matcher } from '../match.ts';
import { fullMatch } from '../regex.ts';
import type { StringMatch } from '../resources.ts';
import type { GrpcRouteMatch, HttpRouteMatch, NamedMatch } from './resources.ts';

export function httpMatcher({ path, method, headers, queryParams }: HttpRouteMatch): Matcher {
  const tests: Matcher[] = [];
  const { type = 'PathPrefix', value = '/' } = path ?? {};
  const pathTest = type === 'Exact' ? (text: string) => text === value : type === 'RegularExpression' ? fullMatch(value) : prefixTest(value);
  if (pathTest !== undefined) tests.push(onPath(pathTest));
  if (method !== undefined) tests.push(onField((text) => text === method, (request) => request.method));
  tests.push(...headerTests(headers));
  for (const [name, match] of firstOfEach(queryParams, (text) => text)) tests.push(onQuery(name, match));
  return allOf(tests);
}

/** gRPC's path is `/service/method` (PROTOCOL-HTTP2.md, Requests). */
export function grpcMatcher({ method, headers }: GrpcRouteMatch): Matcher {
  const tests: Matcher[] = [];
  const { type = 'Exact', service, method: name } = method ?? {};
  if (type === 'RegularExpression') tests.push(onPath(fullMatch(`/${service ?? '[^/]+'}/${name ?? '[^/]+'}`)));
  else if (service !== undefined && name !== undefined) tests.push(onPath((path) => path === `/${service}/${name}`));
  else if (service !== undefined) tests.push(onPath((path) => path.startsWith(`/${service}/`)));
  else if (name !== undefined) tests.push(onPath((path) => path.endsWith(`/${name}`) && path.indexOf('/', 1) === path.length - name.length - 1));
  tests.push(...headerTests(headers));
  return allOf(tests);
}

/** Whole segments: `/abc` takes `/abc`, `/abc/` and `/abc/d`, not `/abcd`. A slash at its end says nothing (PathMatchPathPrefix). */
function prefixTest(prefix: string): ((path: string) => boolean) | undefined {
  const whole = withoutSlash(prefix);
  return whole === '' ? undefined : (path) => path.startsWith(whole) && (path.length === whole.length || path.charCodeAt(whole.length) === 0x2f);
}

export function withoutSlash(path: string): string {
  return path.replace(/\/+$/, '');
}

function headerTests(headers: readonly NamedMatch[] | undefined): Matcher[] {
  return firstOfEach(headers, (name) => name.toLowerCase()).map(([name, match]) => onHeader(name, match));
}

/** Of several entries with one name the first counts (HTTPHeaderMatch.name). */
function firstOfEach(matches: readonly NamedMatch[] = [], key: (name: string) => string): [string, StringMatch][] {
  const found = new Map<string, StringMatch>();
  for (const { name, type, value } of matches) if (!found.has(key(name))) found.set(key(name), type === 'RegularExpression' ? { regex: value } : { exact: value });
  return [...found];
}
