/** What becomes of a request once its route is found: where it goes, what is changed in it, what is answered at once. */
import { describe, expect, it } from 'vitest';
import { renderProblem } from '../../src/mesh/problem.ts';
import { applyRewrite, redirectLocation } from '../../src/mesh/route.ts';
import type { ForwardAction, RedirectAction, Route } from '../../src/mesh/table.ts';
import { application, errors, request, routeOf, snapshotOf, tableOf } from './world.ts';

const APP = application('shop', ['cart', 'web']);

/** The first route of a VirtualService for `cart` with this entry of `http`, in flow style. */
function route(entry: string, target = '/'): Route {
  const snapshot = snapshotOf({ 'app.yaml': APP, 'rule.yaml': `apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r, namespace: shop}\nspec: {hosts: [cart], http: [${entry}]}\n` });
  expect(errors(snapshot).map(renderProblem)).toEqual([]);
  return routeOf(tableOf(snapshot, 'shop/web-v1'), request('cart', target)) as Route;
}

const forward = (fields: string, target = '/'): ForwardAction => route(`{route: [{destination: {host: cart}}], ${fields}}`, target).action as ForwardAction;

describe('rewrite', () => {
  const rewritten = (fields: string, target: string): string => {
    const { rewrite } = forward(fields, target);
    return rewrite === undefined ? target : applyRewrite(rewrite, target);
  };

  it('replaces the prefix that was matched, and keeps the rest and the query', () => {
    expect(rewritten('match: [{uri: {prefix: /old}}], rewrite: {uri: /new}', '/old/x?q=/old')).toBe('/new/x?q=/old');
    expect(rewritten('match: [{uri: {prefix: /old/}}], rewrite: {uri: /}', '/old/x')).toBe('/x');
  });

  it('replaces the whole path where it was matched otherwise', () => {
    expect(rewritten('match: [{uri: {exact: /old}}], rewrite: {uri: /new}', '/old?q=1')).toBe('/new?q=1');
    expect(rewritten('match: [{uri: {regex: "/o.*"}}], rewrite: {uri: /new}', '/old/x')).toBe('/new');
  });

  it('by regular expression, with groups', () => {
    expect(rewritten(String.raw`rewrite: {uriRegexRewrite: {match: "^/a/([^/]+)/(.*)$", rewrite: '/\2/\1'}}`, '/a/b/c/d?x=1')).toBe('/c/d/b?x=1');
    expect(rewritten("rewrite: {uriRegexRewrite: {match: x, rewrite: '$1'}}", '/x/x')).toBe('/$1/$1');
    expect(rewritten(String.raw`rewrite: {uriRegexRewrite: {match: "(a)(b)?", rewrite: '\10[\0]\2\\$&'}}`, '/aab')).toBe(String.raw`/a0[a]\$&a0[ab]b\$&`);
    expect(rewritten("rewrite: {uriRegexRewrite: {match: 'x*', rewrite: '-'}}", '/axb')).toBe('/-/-a-b-');
  });

  it('of the authority', () => {
    expect(forward('rewrite: {authority: api.example.com}').rewrite).toMatchObject({ authority: 'api.example.com', path: undefined });
  });
});

describe('redirect', () => {
  const location = (fields: string, target = '/a/b?q=1', host = 'cart', more = ''): string => redirectLocation(route(`{${more}redirect: {${fields}}}`, target).action as RedirectAction, request(host, target), 9080);

  it('replaces what it names, and keeps the query', () => {
    expect(location('uri: /new')).toBe('http://cart/new?q=1');
    expect(location('authority: api.example.com')).toBe('http://api.example.com/a/b?q=1');
    expect(location('scheme: https')).toBe('https://cart/a/b?q=1');
    expect(location('port: 8443')).toBe('http://cart:8443/a/b?q=1');
    expect(location('scheme: https, port: 443')).toBe('https://cart/a/b?q=1');
    expect(location('derivePort: FROM_REQUEST_PORT')).toBe('http://cart:9080/a/b?q=1');
  });

  it('keeps the port of the Host header when it changes the path only', () => {
    expect(location('uri: /new', '/a', 'cart:9080')).toBe('http://cart:9080/new');
  });

  it('replaces a prefix', () => {
    expect(location('prefixRewrite: /z', '/a/b', 'cart', 'match: [{uri: {prefix: /a}}], ')).toBe('http://cart/z/b');
  });

  it('is 301 unless it says otherwise', () => {
    expect((route('{redirect: {uri: /x}}').action as RedirectAction).status).toBe(301);
    expect((route('{redirect: {uri: /x, redirectCode: 308}}').action as RedirectAction).status).toBe(308);
  });
});

describe('direct response', () => {
  it('has a body of text, or of bytes', () => {
    expect(route('{directResponse: {status: 503, body: {string: "zu: ü"}}}').action).toEqual({ kind: 'direct', status: 503, body: Buffer.from('zu: ü') });
    expect(route('{directResponse: {status: 200, body: {bytes: "AAH/"}}}').action).toEqual({ kind: 'direct', status: 200, body: Buffer.of(0, 1, 255) });
    expect(route('{directResponse: {status: 204}}').action).toEqual({ kind: 'direct', status: 204, body: Buffer.alloc(0) });
  });
});

describe('headers', () => {
  it('are operations on requests and responses, of the route and of the destination', () => {
    const found = route('{headers: {request: {set: {X-A: "1"}, add: {x-b: "2"}, remove: [X-C]}, response: {remove: [server]}}, route: [{destination: {host: cart}, headers: {response: {set: {x-d: "4"}}}}]}');
    expect(found.headers).toEqual({
      request: { set: [{ name: expect.stringMatching(/^x-a$/i) as string, parts: ['1'] }], add: [{ name: 'x-b', parts: ['2'] }], remove: ['x-c'] },
      response: { set: [], add: [], remove: ['server'] },
    });
    expect((found.action as ForwardAction).clusters[0]?.headers?.response.set).toEqual([{ name: 'x-d', parts: ['4'] }]);
  });

  it('may have operators of Envoy in their values', () => {
    const value = (text: string): unknown => route(`{headers: {request: {set: {x: "${text}"}}}, route: [{destination: {host: cart}}]}`).headers?.request.set[0]?.parts;
    expect(value('a%REQ(x-id)%b')).toEqual(['a', { operator: 'REQ', argument: 'x-id' }, 'b']);
    expect(value('%DOWNSTREAM_REMOTE_ADDRESS%')).toEqual([{ operator: 'DOWNSTREAM_REMOTE_ADDRESS', argument: '' }]);
    expect(value('100%%')).toEqual(['100%']);
    expect(value('')).toEqual(['']);
  });
});

describe('faults and mirrors', () => {
  it('happen at their percentages: of a fault none is 0, of a mirror none is 100', () => {
    const fault = (fields: string): unknown => route(`{fault: {${fields}}, route: [{destination: {host: cart}}]}`).fault;
    expect(fault('delay: {fixedDelay: 1s}')).toMatchObject({ delay: { percent: 0 } });
    expect(fault('delay: {fixedDelay: 1s, percentage: {value: 0.1}}, abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}')).toEqual({
      delay: { percent: 0.1, delayMs: 1_000 }, abort: { percent: 100, status: 200, grpcStatus: 14 },
    });
    const mirrors = (fields: string): unknown => forward(fields).mirrors.map(({ cluster, percent }) => [cluster.split('|').at(-1)?.split('.')[0], percent]);
    expect(mirrors('mirror: {host: web}')).toEqual([['web', 100]]);
    expect(mirrors('mirror: {host: web}, mirrorPercentage: {value: 2.5}')).toEqual([['web', 2.5]]);
    expect(mirrors('mirror: {host: web}, mirrorPercent: 5')).toEqual([['web', 5]]);
    expect(mirrors('mirror: {host: web}, mirrorPercentage: {value: 0}')).toEqual([]);
    expect(mirrors('mirrors: [{destination: {host: web}}, {destination: {host: cart}, percentage: {value: 10}}]')).toEqual([['web', 100], ['cart', 10]]);
  });
});

describe('retries', () => {
  const on = (fields: string): ForwardAction['retry'] => forward(`retries: {${fields}}`).retry;

  it('none at all, when attempts is 0', () => {
    expect(on('attempts: 0').attempts).toBe(0);
  });

  it('on what it names: words, numbers, states of gRPC', () => {
    const { on: conditions } = on('attempts: 3, retryOn: "5xx,gateway-error,reset,retriable-4xx,503,cancelled,unavailable"');
    expect(conditions).toMatchObject({ fiveHundreds: true, gatewayError: true, reset: true, retriable4xx: true, connectFailure: false });
    expect([conditions.statuses, conditions.grpcStatuses]).toEqual([new Set([503]), new Set([1, 14])]);
  });

  it('after a time that doubles up to ten times the first', () => {
    expect(on('attempts: 3, backoff: 100ms')).toMatchObject({ backoffBaseMs: 100, backoffMaxMs: 1_000 });
  });
});

describe('CORS', () => {
  const cors = (fields: string): NonNullable<Route['cors']> => route(`{corsPolicy: {${fields}}, route: [{destination: {host: cart}}]}`).cors as NonNullable<Route['cors']>;

  it('allows origins by any of its matches, the old list of names too', () => {
    const { allowsOrigin } = cors('allowOrigins: [{exact: "https://a.example"}, {prefix: "https://b."}, {regex: "https://.*\\\\.c\\\\.example"}]');
    expect(['https://a.example', 'https://b.anything', 'https://x.c.example', 'https://c.example', 'http://a.example'].map(allowsOrigin)).toEqual([true, true, true, false, false]);
    expect(['https://a.example', 'https://b.example'].map(cors('allowOrigin: ["https://a.example"]').allowsOrigin)).toEqual([true, false]);
    expect(cors('allowOrigin: ["*"]').allowsOrigin('anything')).toBe(true);
  });

  it('has its headers ready, and leaves out what it does not say', () => {
    expect(cors('allowOrigins: [{exact: a}], allowMethods: [GET, PUT], allowHeaders: [x-a], exposeHeaders: [x-b], maxAge: 24h, allowCredentials: true, unmatchedPreflights: IGNORE')).toMatchObject({
      allowMethods: 'GET,PUT', allowHeaders: 'x-a', exposeHeaders: 'x-b', maxAgeSeconds: 86_400, allowCredentials: true, unmatchedPreflights: 'IGNORE',
    });
    expect(cors('allowOrigins: [{exact: a}]')).toMatchObject({ allowMethods: undefined, maxAgeSeconds: undefined, allowCredentials: undefined, unmatchedPreflights: 'FORWARD' });
  });
});
