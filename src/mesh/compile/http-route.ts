/** One `http[]` entry of a VirtualService as the routes of a table: one per match block. */
import { durationMs, parseDuration } from '../duration.ts';
import { qualify } from '../host.ts';
import { matchAll } from '../match.ts';
import { GRPC_STATUS } from '../parse/rules.ts';
import { replacer } from '../regex.ts';
import { objectName } from '../resources.ts';
import type { HostDestination, HttpCors, HttpFault, HttpMatch, HttpRedirect, HttpRetry, HttpRoute, Headers, HeaderOps, Percent, Resource, VirtualServiceSpec } from '../resources.ts';
import type { CorsPolicy, DirectAction, Fault, ForwardAction, HeaderEdits, HeaderOperations, HeaderValue, Mirror, RedirectAction, RetryConditions, RetryPolicy, Rewrite, Route, RouteAction, WeightedCluster } from '../table.ts';
import { anyOf, applies, matcherOf } from './matcher.ts';
import type { MatchContext } from './matcher.ts';

/** Istio's name of the cluster that a destination means, seen from a listener on `port`. */
export type ClusterKeyOf = (destination: HostDestination, namespace: string, port: number | undefined) => string;

/** The routes of entry `index`, for clients of `context`. */
export function compileHttpRoute(rule: Resource<VirtualServiceSpec>, route: HttpRoute, index: number, context: MatchContext, clusterKey: ClusterKeyOf): Route[] {
  const blocks = (route.match ?? []).length === 0 ? [undefined] : (route.match ?? []);
  return blocks.flatMap((match) => {
    if (match !== undefined && !applies(match, context)) return [];
    if (match === undefined && !context.bound) return [];
    return [
      {
        name: match?.name === undefined ? (route.name ?? '') : `${route.name ?? ''}.${match.name}`,
        origin: `${objectName(rule)} http[${index}]`,
        match: match === undefined ? matchAll : matcherOf(match),
        action: actionOf(rule, route, match, context.port, clusterKey),
        fault: faultOf(route.fault),
        cors: corsOf(route.corsPolicy),
        headers: headerOperations(route.headers),
      } satisfies Route,
    ];
  });
}

function actionOf(rule: Resource<VirtualServiceSpec>, route: HttpRoute, match: HttpMatch | undefined, port: number | undefined, clusterKey: ClusterKeyOf): RouteAction {
  if (route.redirect !== undefined) return redirectOf(route.redirect, match);
  if (route.directResponse !== undefined) return directOf(route.directResponse);
  const destinations = route.route ?? [];
  const clusters: WeightedCluster[] = destinations
    .map(({ destination, weight, headers }) => ({ cluster: clusterKey(destination, rule.namespace, port), weight: destinations.length === 1 ? 1 : (weight ?? 0), headers: headerOperations(headers) }))
    .filter(({ weight }) => weight > 0);
  return {
    kind: 'forward',
    clusters,
    weightTotal: Math.max(1, clusters.reduce((sum, { weight }) => sum + weight, 0)),
    rewrite: rewriteOf(route, match),
    timeoutMs: durationMs(route.timeout, 0),
    retry: retryOf(route.retries),
    mirrors: mirrorsOf(route, (destination) => clusterKey(destination, rule.namespace, port)),
  } satisfies ForwardAction;
}

function redirectOf(redirect: HttpRedirect, match: HttpMatch | undefined): RedirectAction {
  const { uri, prefixRewrite, authority, port, derivePort, scheme, redirectCode = 301 } = redirect;
  const matchedPrefix = match?.uri?.prefix ?? '';
  return {
    kind: 'redirect',
    status: redirectCode,
    scheme,
    authority,
    port: port ?? (derivePort === 'FROM_REQUEST_PORT' ? 'request' : 'default'),
    path: uri !== undefined ? { kind: 'full', value: uri, matchedPrefix } : prefixRewrite !== undefined ? { kind: 'prefix', value: prefixRewrite, matchedPrefix } : undefined,
  };
}

function directOf({ status, body }: NonNullable<HttpRoute['directResponse']>): DirectAction {
  const bytes = body?.string !== undefined ? Buffer.from(body.string) : Buffer.from(body?.bytes ?? '', 'base64');
  return { kind: 'direct', status, body: bytes };
}

/** `uri` replaces the matched prefix where the match is by prefix, else the whole path. */
function rewriteOf({ rewrite }: HttpRoute, match: HttpMatch | undefined): Rewrite | undefined {
  if (rewrite === undefined) return undefined;
  const { uri, authority, uriRegexRewrite } = rewrite;
  if (uriRegexRewrite !== undefined) return { authority, path: { kind: 'regex', replace: replacer(uriRegexRewrite.match ?? '', uriRegexRewrite.rewrite ?? '') } };
  if (uri === undefined) return { authority, path: undefined };
  const matchedPrefix = match?.uri?.prefix;
  return { authority, path: matchedPrefix === undefined ? { kind: 'full', value: uri } : { kind: 'prefix', matchedPrefix, value: uri } };
}

function mirrorsOf({ mirror, mirrors, mirrorPercentage, mirrorPercent }: HttpRoute, key: (destination: HostDestination) => string): Mirror[] {
  if (mirrors !== undefined) return mirrors.map(({ destination, percentage }) => ({ cluster: key(destination), percent: percentage?.value ?? (percentage === undefined ? 100 : 0) }));
  if (mirror === undefined) return [];
  const percent = mirrorPercentage === undefined ? (mirrorPercent ?? 100) : (mirrorPercentage.value ?? 0);
  return percent === 0 ? [] : [{ cluster: key(mirror), percent }];
}

/** Istio's default: two retries of what provably did not reach the application, or says that it may be repeated. */
const DEFAULT_RETRY_ON = 'connect-failure,refused-stream,unavailable,cancelled';
const BACKOFF_BASE_MS = 25;

/** Numbers of the gRPC conditions (google.golang.org/grpc/codes). */
const GRPC_CONDITIONS: Readonly<Record<string, number>> = { cancelled: 1, 'deadline-exceeded': 4, 'resource-exhausted': 8, internal: 13, unavailable: 14 };

export function retryOf(retries: HttpRetry | undefined): RetryPolicy {
  const baseMs = retries?.backoff === undefined ? BACKOFF_BASE_MS : Math.max(1, parseDuration(retries.backoff) ?? BACKOFF_BASE_MS);
  return {
    // Istio's number has no "unset": a block without it switches retries off; only without a block are there two.
    attempts: retries === undefined ? 2 : (retries.attempts ?? 0),
    perTryTimeoutMs: durationMs(retries?.perTryTimeout, 0),
    on: conditionsOf(retries?.retryOn || DEFAULT_RETRY_ON),
    backoffBaseMs: baseMs,
    backoffMaxMs: 10 * baseMs,
    avoidPreviousHosts: retries?.retryIgnorePreviousHosts ?? true,
  };
}

function conditionsOf(retryOn: string): RetryConditions {
  const tokens = new Set(retryOn.split(',').map((token) => token.trim()));
  return {
    fiveHundreds: tokens.has('5xx'),
    gatewayError: tokens.has('gateway-error'),
    reset: tokens.has('reset'),
    resetBeforeRequest: tokens.has('reset-before-request'),
    connectFailure: tokens.has('connect-failure'),
    refusedStream: tokens.has('refused-stream'),
    retriable4xx: tokens.has('retriable-4xx'),
    statuses: new Set([...tokens].filter((token) => /^\d{3}$/.test(token)).map(Number)),
    grpcStatuses: new Set([...tokens].flatMap((token) => GRPC_CONDITIONS[token] ?? [])),
  };
}

/** Without a percentage a fault does not happen (Istio reads the absent field as 0 %). */
function percentOf(percentage: Percent | undefined, percent: number | undefined): number {
  return percentage?.value ?? percent ?? 0;
}

function faultOf(fault: HttpFault | undefined): Fault | undefined {
  if (fault === undefined) return undefined;
  const { delay, abort } = fault;
  return {
    delay: delay === undefined ? undefined : { percent: percentOf(delay.percentage, delay.percent), delayMs: durationMs(delay.fixedDelay, 0) },
    abort: abort === undefined ? undefined : {
      percent: percentOf(abort.percentage, abort.percent),
      status: abort.httpStatus ?? 200,
      grpcStatus: abort.grpcStatus === undefined ? undefined : GRPC_STATUS.indexOf(abort.grpcStatus),
    },
  };
}

function corsOf(cors: HttpCors | undefined): CorsPolicy | undefined {
  if (cors === undefined) return undefined;
  const origins = [...(cors.allowOrigins ?? []), ...(cors.allowOrigin ?? []).map((origin) => (origin === '*' ? { regex: '.*' } : { exact: origin }))];
  return {
    allowsOrigin: anyOf(origins),
    allowMethods: joined(cors.allowMethods),
    allowHeaders: joined(cors.allowHeaders),
    exposeHeaders: joined(cors.exposeHeaders),
    maxAgeSeconds: cors.maxAge === undefined ? undefined : durationMs(cors.maxAge, 0) / 1000,
    allowCredentials: cors.allowCredentials,
    unmatchedPreflights: cors.unmatchedPreflights === 'IGNORE' ? 'IGNORE' : 'FORWARD',
  };
}

function joined(values: readonly string[] | undefined): string | undefined {
  return values === undefined || values.length === 0 ? undefined : values.join(',');
}

const NO_EDITS: HeaderEdits = Object.freeze({ remove: [], set: [], add: [] });

function headerOperations(headers: Headers | undefined): HeaderOperations | undefined {
  if (headers === undefined) return undefined;
  return { request: editsOf(headers.request), response: editsOf(headers.response) };
}

function editsOf(operations: HeaderOps | undefined): HeaderEdits {
  if (operations === undefined) return NO_EDITS;
  return {
    remove: (operations.remove ?? []).map((name) => name.toLowerCase()),
    set: Object.entries(operations.set ?? {}).map(([name, value]) => headerValue(name, value)),
    add: Object.entries(operations.add ?? {}).map(([name, value]) => headerValue(name, value)),
  };
}

/** `%REQ(x-id)%` becomes an operator, `%%` a percent sign; everything else is literal. */
function headerValue(name: string, value: string): HeaderValue {
  const parts: HeaderValue['parts'][number][] = [];
  let literal = '';
  let at = 0;
  for (const found of value.matchAll(/%%|%([A-Z_]+)(?:\(([^)]*)\))?%/g)) {
    literal += value.slice(at, found.index);
    at = found.index + found[0].length;
    if (found[0] === '%%') {
      literal += '%';
      continue;
    }
    if (literal !== '') parts.push(literal);
    literal = '';
    parts.push({ operator: found[1] as string, argument: found[2] ?? '' });
  }
  literal += value.slice(at);
  if (literal !== '' || parts.length === 0) parts.push(literal);
  return { name, parts };
}

/** The FQDN of a destination of a rule. */
export function destinationHost(destination: HostDestination, namespace: string): string {
  return qualify(destination.host, namespace);
}
