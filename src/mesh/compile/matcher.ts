/** Match blocks as functions: what can be decided from the configuration is decided here, the rest compares strings. */
import type { Matcher, RequestView } from '../match.ts';
import { matchAll } from '../match.ts';
import { fullMatch } from '../regex.ts';
import type { HttpMatch, StringMatch } from '../resources.ts';
import { hasLabels } from './registry.ts';

/** Who asks, on which port: the parts of a match that no request can change. */
export interface MatchContext {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Undefined for every port that no rule names. */
  readonly port: number | undefined;
  /** Whether the VirtualService itself is bound to where the client is: the mesh, or a gateway. */
  readonly bound: boolean;
  /** Is it among these, as the VirtualService names them? */
  readonly isAmong: (gateways: readonly string[]) => boolean;
}

/** Can a workload in this place ever take the block? */
export function applies(match: Pick<HttpMatch, 'gateways' | 'sourceLabels' | 'sourceNamespace' | 'port'>, context: MatchContext): boolean {
  if (match.gateways !== undefined && match.gateways.length > 0) {
    if (!context.isAmong(match.gateways)) return false;
  } else if (!context.bound) return false;
  else if (match.sourceLabels !== undefined && !hasLabels(context.labels, match.sourceLabels)) return false;
  if (match.sourceNamespace !== undefined && match.sourceNamespace !== context.namespace) return false;
  return match.port === undefined || match.port === context.port;
}

type Test = (text: string) => boolean;

/** All conditions of a block must hold. */
export function matcherOf(match: HttpMatch): Matcher {
  const tests: Matcher[] = [];
  const { uri, scheme, method, authority } = match;
  if (uri !== undefined) tests.push(onPath(stringTest(uri, match.ignoreUriCase === true)));
  if (method !== undefined) tests.push(onField(stringTest(method), (request) => request.method));
  if (scheme !== undefined) tests.push(onField(stringTest(scheme), (request) => request.scheme));
  if (authority !== undefined) tests.push(onField(stringTest(authority), (request) => request.authority));
  for (const [name, value] of Object.entries(match.headers ?? {})) if (!IGNORED_HEADERS.has(name)) tests.push(onHeader(name.toLowerCase(), value));
  for (const [name, value] of Object.entries(match.withoutHeaders ?? {})) tests.push(withoutHeader(name.toLowerCase(), value));
  for (const [name, value] of Object.entries(match.queryParams ?? {})) tests.push(onQuery(name, value));
  return allOf(tests);
}

/** Istio ignores these as header names; the fields of the same name are what to use. */
const IGNORED_HEADERS = new Set(['uri', 'scheme', 'method', 'authority']);

export function allOf(tests: readonly Matcher[]): Matcher {
  const [first, second] = tests;
  if (first === undefined) return matchAll;
  if (second === undefined) return first;
  if (tests.length === 2) return (request) => first(request) && second(request);
  return (request) => {
    for (const test of tests) if (!test(request)) return false;
    return true;
  };
}

export function onPath(test: Test): Matcher {
  return (request) => test(request.path);
}

export function onField(test: Test, read: (request: RequestView) => string): Matcher {
  return (request) => test(read(request));
}

export function onHeader(name: string, match: StringMatch): Matcher {
  const test = isPresence(match) ? undefined : stringTest(match);
  return (request) => {
    const value = request.header(name);
    return value !== undefined && (test === undefined || test(value));
  };
}

/** The inverse; a missing header counts as an empty one, except where mere presence is asked. */
function withoutHeader(name: string, match: StringMatch): Matcher {
  if (isPresence(match)) return (request) => request.header(name) === undefined;
  const test = stringTest(match);
  return (request) => !test(request.header(name) ?? '');
}

export function onQuery(name: string, match: StringMatch): Matcher {
  const test = isPresence(match) ? undefined : stringTest(match);
  return (request) => {
    const value = queryValue(request.query, name);
    return value !== undefined && (test === undefined || test(value));
  };
}

/** An empty match, or the regular expression `*`, asks for presence only. */
function isPresence({ exact, prefix, regex }: StringMatch): boolean {
  return (exact === undefined && prefix === undefined && regex === undefined) || regex === '*';
}

/** First value of a parameter, decoded; undefined when it is absent, empty for `?name`. */
export function queryValue(query: string, name: string): string | undefined {
  let at = 0;
  while (at <= query.length) {
    const next = query.indexOf('&', at);
    const end = next < 0 ? query.length : next;
    const equals = query.indexOf('=', at);
    const keyEnd = equals >= 0 && equals < end ? equals : end;
    if (decode(query.slice(at, keyEnd)) === name) return keyEnd === end ? '' : decode(query.slice(keyEnd + 1, end));
    at = end + 1;
    if (next < 0) break;
  }
  return undefined;
}

function decode(text: string): string {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function stringTest({ exact, prefix, regex }: StringMatch, ignoreCase = false): Test {
  if (exact !== undefined) {
    const wanted = ignoreCase ? exact.toLowerCase() : exact;
    return ignoreCase ? (text) => text.toLowerCase() === wanted : (text) => text === wanted;
  }
  if (prefix !== undefined) {
    const wanted = ignoreCase ? prefix.toLowerCase() : prefix;
    return ignoreCase ? (text) => text.toLowerCase().startsWith(wanted) : (text) => text.startsWith(wanted);
  }
  return fullMatch(regex ?? '.*');
}

/** A test for one value by a StringMatch, for CORS origins. */
export function anyOf(matches: readonly StringMatch[]): Test {
  const tests = matches.map((match) => stringTest(match));
  return (text) => tests.some((test) => test(text));
}
