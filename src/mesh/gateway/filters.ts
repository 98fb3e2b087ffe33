/** Filters of HTTPRoutes and GRPCRoutes as parts of a table's routes. */
import type { CorsPolicy, HeaderEdits, HeaderOperations, Mirror, RedirectAction, Rewrite } from '../table.ts';
import type { CorsFilter, HeaderFilter, HttpRouteMatch, MirrorFilter, PathModifier, RedirectFilter, RouteFilter } from './resources.ts';
import { withoutSlash } from './route-match.ts';

/** What the filters of a rule, or of one of its backends, come to. */
export interface Filters {
  readonly headers: HeaderOperations | undefined;
  readonly rewrite: Rewrite | undefined;
  readonly redirect: RedirectAction | undefined;
  readonly cors: CorsPolicy | undefined;
  readonly mirrors: readonly Mirror[];
  /** Of a filter that is not honoured: what it should have done to a request cannot be left out, so the request is refused. */
  readonly unsupported: string | undefined;
}

export interface FilterContext {
  /** Of the rule, for the prefix that is replaced. */
  readonly match: HttpRouteMatch;
  /** Port that the request came in on: a redirect that names no other port leads there. */
  readonly port: number;
  /** Key of a mirror's cluster; undefined where the backend is invalid, and nothing is sent. */
  readonly mirrorCluster: (filter: MirrorFilter) => string | undefined;
}

const SUPPORTED: ReadonlySet<string> = new Set(['RequestHeaderModifier', 'ResponseHeaderModifier', 'RequestMirror', 'RequestRedirect', 'URLRewrite', 'CORS']);

export function filtersOf(filters: readonly RouteFilter[] = [], context: FilterContext): Filters {
  const find = <K extends keyof RouteFilter>(key: K): RouteFilter[K] | undefined => filters.find((filter) => filter[key] !== undefined)?.[key];
  const rewrite = find('urlRewrite');
  const redirect = find('requestRedirect');
  const cors = find('cors');
  return {
    headers: headersOf(find('requestHeaderModifier'), find('responseHeaderModifier')),
    rewrite: rewrite === undefined ? undefined : { authority: rewrite.hostname, path: rewrittenPath(rewrite.path, context.match) },
    redirect: redirect === undefined ? undefined : redirectOf(redirect, context),
    cors: cors === undefined ? undefined : corsOf(cors),
    mirrors: filters.flatMap(({ requestMirror }) => (requestMirror === undefined ? [] : mirrorOf(requestMirror, context))),
    unsupported: unsupportedFilter(filters),
  };
}

/** The type of one that is not honoured. */
export function unsupportedFilter(filters: readonly RouteFilter[]): string | undefined {
  return filters.find(({ type }) => !SUPPORTED.has(type))?.type;
}

const NO_EDITS: HeaderEdits = Object.freeze({ remove: [], set: [], add: [] });

function headersOf(request: HeaderFilter | undefined, response: HeaderFilter | undefined): HeaderOperations | undefined {
  return request === undefined && response === undefined ? undefined : { request: editsOf(request), response: editsOf(response) };
}

/** Values stand for themselves: the Gateway API knows no substitution. */
function editsOf(filter: HeaderFilter | undefined): HeaderEdits {
  if (filter === undefined) return NO_EDITS;
  return { remove: (filter.remove ?? []).map((name) => name.toLowerCase()), set: valuesOf(filter.set), add: valuesOf(filter.add) };
}

function valuesOf(values: HeaderFilter['set']): HeaderEdits['set'] {
  return (values ?? []).map(({ name, value }) => ({ name, parts: [value] }));
}

function rewrittenPath(path: PathModifier | undefined, match: HttpRouteMatch): Rewrite['path'] {
  if (path === undefined) return undefined;
  return path.type === 'ReplaceFullPath' ? { kind: 'full', value: path.replaceFullPath || '/' } : { kind: 'prefix', ...replacedPrefix(path, match) };
}

/** Slashes at the ends of both do not count, so that what comes between them is one (HTTPPathModifier.replacePrefixMatch, table of examples). */
function replacedPrefix({ replacePrefixMatch = '' }: PathModifier, { path }: HttpRouteMatch): { readonly matchedPrefix: string; readonly value: string } {
  return { matchedPrefix: withoutSlash(path?.value ?? '/'), value: withoutSlash(replacePrefixMatch) };
}

function redirectOf({ scheme, hostname, path, port, statusCode = 302 }: RedirectFilter, { match, port: own }: FilterContext): RedirectAction {
  return {
    kind: 'redirect',
    status: statusCode,
    scheme,
    authority: hostname,
    // With a scheme, its own port; without one, that of the listener (HTTPRequestRedirectFilter.port).
    port: port ?? (scheme === undefined ? own : 'default'),
    path: path === undefined ? undefined : path.type === 'ReplaceFullPath' ? { kind: 'full', value: path.replaceFullPath || '/', matchedPrefix: '' } : { kind: 'prefix', ...replacedPrefix(path, match) },
  };
}

/** A preflight that is not allowed is answered without the headers that would let the page go on. */
function corsOf({ allowOrigins = [], allowMethods, allowHeaders, exposeHeaders, maxAge = 5, allowCredentials }: CorsFilter): CorsPolicy {
  const tests = allowOrigins.map(originTest);
  return {
    allowsOrigin: (origin) => tests.some((test) => test(origin)),
    allowMethods: joined(allowMethods),
    allowHeaders: joined(allowHeaders),
    // `*` is a name like any other where credentials are allowed (Fetch standard §3.2.4), and would only mislead.
    exposeHeaders: allowCredentials === true && exposeHeaders?.includes('*') === true ? undefined : joined(exposeHeaders),
    maxAgeSeconds: maxAge,
    allowCredentials: allowCredentials === true ? true : undefined,
    unmatchedPreflights: 'IGNORE',
    explicitPreflights: true,
  };
}

function joined(values: readonly string[] | undefined): string | undefined {
  return values === undefined || values.length === 0 ? undefined : values.join(', ');
}

/** `*` stands for any characters of the host; ports that are a scheme's own need not be written (CORSOrigin). */
function originTest(pattern: string): (origin: string) => boolean {
  if (pattern === '*') return () => true;
  const wanted = withPort(pattern);
  const star = wanted.indexOf('*');
  if (star < 0) return (origin) => withPort(origin) === wanted;
  const [start, end] = [wanted.slice(0, star), wanted.slice(star + 1)];
  return (origin) => {
    const asked = withPort(origin);
    return asked.length > start.length + end.length && asked.startsWith(start) && asked.endsWith(end);
  };
}

function withPort(origin: string): string {
  const lower = origin.toLowerCase();
  if (/:\d+$/.test(lower)) return lower;
  return `${lower}:${lower.startsWith('https:') ? 443 : 80}`;
}

function mirrorOf(filter: MirrorFilter, { mirrorCluster }: FilterContext): Mirror[] {
  const cluster = mirrorCluster(filter);
  const { percent, fraction } = filter;
  const share = percent ?? (fraction === undefined ? 100 : (100 * fraction.numerator) / (fraction.denominator ?? 100));
  return cluster === undefined || share === 0 ? [] : [{ cluster, percent: share }];
}

