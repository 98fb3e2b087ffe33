/** Which route a request takes: what the tables decide, against a reading of Istio's API that is as plain as possible. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { renderProblem } from '../../src/mesh/problem.ts';
import type { HttpMatch, StringMatch } from '../../src/mesh/resources.ts';
import { application, errors, request, routeOf, shares, snapshotOf, tableOf } from './world.ts';

const APP = application('shop', ['cart', 'web'], ['v1', 'v2']);
const PORT = 9080;
const CLIENT_LABELS: Readonly<Record<string, string>> = { app: 'web', version: 'v1' };

interface Asked {
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly method: string;
  readonly authority: string;
  readonly headers: Readonly<Record<string, string>>;
}

function text({ exact, prefix, regex }: StringMatch, value: string): boolean {
  if (exact !== undefined) return value === exact;
  if (prefix !== undefined) return value.startsWith(prefix);
  return new RegExp(`^(?:${regex ?? ''})$`, 's').test(value);
}

function isPresence({ exact, prefix, regex }: StringMatch): boolean {
  return regex === '*' || (exact ?? prefix ?? regex) === undefined;
}

function lower({ exact, prefix, regex }: StringMatch): StringMatch {
  return regex === undefined ? (exact === undefined ? { prefix: (prefix ?? '').toLowerCase() } : { exact: exact.toLowerCase() }) : { regex };
}

/** One block by the book. */
function takes(match: HttpMatch, asked: Asked): boolean {
  const uri = match.uri === undefined || (match.ignoreUriCase === true && match.uri.regex === undefined ? text(lower(match.uri), asked.path.toLowerCase()) : text(match.uri, asked.path));
  const has = (wanted: Readonly<Record<string, StringMatch>> | undefined, values: Readonly<Record<string, string>>): boolean =>
    Object.entries(wanted ?? {}).every(([name, one]) => values[name] !== undefined && (isPresence(one) || text(one, values[name])));
  const lacks = Object.entries(match.withoutHeaders ?? {}).every(([name, one]) => (isPresence(one) ? asked.headers[name] === undefined : !text(one, asked.headers[name] ?? '')));
  return (
    uri && lacks && has(match.headers, asked.headers) && has(match.queryParams, asked.query) &&
    (match.method === undefined || text(match.method, asked.method)) &&
    (match.authority === undefined || text(match.authority, asked.authority)) &&
    (match.port === undefined || match.port === PORT) &&
    (match.sourceNamespace === undefined || match.sourceNamespace === 'shop') &&
    Object.entries(match.sourceLabels ?? {}).every(([key, value]) => CLIENT_LABELS[key] === value)
  );
}

const word = fc.constantFrom('', 'a', 'ab', 'A', 'b', 'abc');
const path = fc.constantFrom('/', '/a', '/A', '/ab', '/a/b', '/abc', '/b');

function matchOf(value: fc.Arbitrary<string>, regexes: readonly string[]): fc.Arbitrary<StringMatch> {
  return fc.oneof(value.map((exact) => ({ exact })), value.map((prefix) => ({ prefix })), fc.constantFrom(...regexes).map((regex) => ({ regex })));
}

const onWord = matchOf(word, ['a.*', '[ab]', '', 'a|b', '.*']);
const onValue = fc.oneof(onWord, fc.constant({}), fc.constant({ regex: '*' }));
const onValues = fc.dictionary(fc.constantFrom('x', 'y'), onValue, { minKeys: 1, maxKeys: 2 });

const block: fc.Arbitrary<HttpMatch> = fc.record({
  uri: matchOf(path, ['/a.*', '/', '/[ab]+']), ignoreUriCase: fc.boolean(), headers: onValues, withoutHeaders: onValues, queryParams: onValues,
  method: fc.constantFrom<StringMatch>({ exact: 'GET' }, { regex: 'GET|PUT' }, { prefix: 'P' }), authority: fc.constantFrom<StringMatch>({ exact: 'cart' }, { prefix: 'cart.' }),
  port: fc.constantFrom(PORT, 80), sourceLabels: fc.constantFrom<Record<string, string>>({ app: 'web' }, { app: 'other' }, { app: 'web', version: 'v2' }), sourceNamespace: fc.constantFrom('shop', 'other'),
}, { requiredKeys: [] });

const asked: fc.Arbitrary<Asked> = fc.record({
  path, method: fc.constantFrom('GET', 'PUT', 'POST'), authority: fc.constantFrom('cart', 'cart.shop'),
  query: fc.dictionary(fc.constantFrom('x', 'y'), word, { maxKeys: 2 }), headers: fc.dictionary(fc.constantFrom('x', 'y'), word, { maxKeys: 2 }),
});

function ruleOf(http: readonly object[], more: object = {}): string {
  return stringify({ apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata: { name: 'r', namespace: 'shop' }, spec: { hosts: ['cart'], http, ...more } });
}

describe('the first route with a block that takes the request', () => {
  it('is the one of the plain reading, for any blocks and requests', () => {
    fc.assert(fc.property(fc.array(fc.array(block, { minLength: 1, maxLength: 2 }), { minLength: 1, maxLength: 4 }), fc.array(asked, { minLength: 5, maxLength: 5 }), (routes, requests) => {
      const snapshot = snapshotOf({ 'app.yaml': APP, 'rule.yaml': ruleOf(routes.map((match, i) => ({ name: `r${i}`, match, directResponse: { status: 200 + i } }))) });
      expect(errors(snapshot).map(renderProblem)).toEqual([]);
      const table = tableOf(snapshot, 'shop/web-v1');
      for (const one of requests) {
        const query = Object.entries(one.query).map(([name, value]) => (value === '' ? name : `${name}=${value}`)).join('&');
        const found = routeOf(table, request(one.authority, query === '' ? one.path : `${one.path}?${query}`, one.headers, one.method));
        const wanted = routes.findIndex((blocks) => blocks.some((match) => takes(match, one)));
        expect(found?.name ?? 'r-1', JSON.stringify(one)).toBe(`r${wanted}`);
      }
    }), { numRuns: 200 });
  });

  it('is there for a prefix as for text, not as for segments of a path', () => {
    const table = tableOf(snapshotOf({ 'app.yaml': APP, 'rule.yaml': ruleOf([{ match: [{ uri: { prefix: '/foo' } }], directResponse: { status: 200 } }]) }), 'shop/web-v1');
    expect(['/foo', '/foobar', '/foo/bar', '/fo', '/x/foo'].map((target) => routeOf(table, request('cart', target)) !== undefined)).toEqual([true, true, true, false, false]);
  });

  it('reads parameters decoded, and the first of several', () => {
    const table = tableOf(snapshotOf({ 'app.yaml': APP, 'rule.yaml': ruleOf([{ match: [{ queryParams: { q: { exact: 'a b' } } }], directResponse: { status: 200 } }]) }), 'shop/web-v1');
    expect(['/?q=a%20b', '/?p=1&q=a%20b', '/?q=a%20b&q=c', '/?q=c&q=a%20b', '/?xq=a%20b', '/?q'].map((target) => routeOf(table, request('cart', target)) !== undefined)).toEqual([true, true, true, false, false, false]);
  });
});

describe('shares', () => {
  it('are weight by sum; a weight of 0 gets nothing, a single destination everything', () => {
    fc.assert(fc.property(fc.array(fc.nat(100), { minLength: 1, maxLength: 5 }).filter((weights) => weights.length === 1 || weights.some((weight) => weight > 0)), (weights) => {
      const subsets = stringify({ apiVersion: 'networking.istio.io/v1', kind: 'DestinationRule', metadata: { name: 'd', namespace: 'shop' }, spec: { host: 'cart', subsets: weights.map((_, i) => ({ name: `s${i}` })) } });
      const rule = ruleOf([{ route: weights.map((weight, i) => ({ destination: { host: 'cart', subset: `s${i}` }, weight })) }]);
      const found = shares(routeOf(tableOf(snapshotOf({ 'app.yaml': APP, 'd.yaml': subsets, 'rule.yaml': rule }), 'shop/web-v1'), request('cart')));
      const sum = weights.reduce((a, b) => a + b, 0);
      const wanted = weights.length === 1 ? [['s0', 1]] : weights.flatMap((weight, i) => (weight === 0 ? [] : [[`s${i}`, weight / sum]]));
      expect(found).toEqual(Object.fromEntries(wanted.map(([subset, share]) => [`outbound|9080|${subset as string}|cart.shop.svc.cluster.local`, share])));
    }), { numRuns: 50 });
  });
});

describe('wildcard hosts', () => {
  it('the longest suffix wins over shorter ones, and the exact name over all', () => {
    const rule = (name: string, host: string, status: number): string => stringify({ apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata: { name, namespace: 'shop' }, spec: { hosts: [host], http: [{ name, directResponse: { status } }] } });
    const rules = [rule('short', '*.com', 201), rule('long', '*.example.com', 202), rule('exact', 'a.example.com', 203)].join('---\n');
    const table = tableOf(snapshotOf({ 'app.yaml': APP, 'rules.yaml': rules }), 'shop/web-v1');
    const found = ['a.example.com', 'A.Example.Com:8080', 'b.example.com', 'x.b.example.com', 'example.com', 'example.org'].map((host) => routeOf(table, request(host), 80)?.name);
    expect(found).toEqual(['exact', 'exact', 'long', 'long', 'short', undefined]);
  });
});
