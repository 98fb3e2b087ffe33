/** Layers that change messages or answer by themselves: header operations, rewrite, CORS, redirect, direct response. */
import { describe, expect, test } from 'vitest';
import type { CorsPolicy, HeaderValue, Route } from '../../../src/mesh/table.ts';
import { CLUSTER, World, answer, forwardTo, headersOf, routeOf, tableOf } from '../world.ts';

function withRoute(route: Partial<Route>): World {
  return new World(tableOf({ routes: [routeOf(route)] }));
}

const text = (name: string, value: string): HeaderValue => ({ name, parts: [value] });
const op = (name: string, operator: string, argument = ''): HeaderValue => ({ name, parts: [{ operator, argument }] });

describe('header operations', () => {
  test('remove, then set, then add; the route first, then the destination', () => {
    const world = withRoute({
      headers: headersOf({
        request: { remove: ['x-gone'], set: [text('x-set', 'route')], add: [text('x-add', 'route')] },
        response: { remove: ['x-powered-by'], set: [text('x-by', 'route')] },
      }),
      action: forwardTo({ clusters: [{ cluster: CLUSTER, weight: 1, headers: headersOf({ request: { set: [text('x-set', 'destination')] }, response: { add: [text('x-by', 'destination')] } }) }] }),
    });
    world.script = answer(200, { 'X-Powered-By': 'php' });
    const client = world.send({ headers: { 'X-Gone': '1', 'X-Set': 'client', 'x-add': 'client' } });
    const { headers } = world.requests[0]?.head ?? {};
    expect(headers?.has('x-gone')).toBe(false);
    expect(headers?.joined('x-set')).toBe('destination');
    expect(headers?.joined('x-add')).toBe('client, route');
    expect(client.headers?.has('x-powered-by')).toBe(false);
    expect(client.headers?.joined('x-by')).toBe('route, destination');
  });

  test('Host in request.set changes the authority', () => {
    const world = withRoute({ headers: headersOf({ request: { set: [text('Host', 'other.example')] } }) });
    world.send();
    expect(world.requests[0]?.head.authority).toBe('other.example');
    expect(world.requests[0]?.head.headers.joined('host')).toBe('other.example');
    expect(world.ended[0]?.authority).toBe('reviews');
  });

  test('substitution operators', () => {
    const set = [
      op('x-req', 'REQ', 'X-Id'),
      op('x-alt', 'REQ', 'X-None?X-Id'),
      op('x-remote', 'DOWNSTREAM_REMOTE_ADDRESS'),
      op('x-remote-ip', 'DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT'),
      op('x-protocol', 'PROTOCOL'),
      op('x-route', 'ROUTE_NAME'),
      op('x-start', 'START_TIME'),
      { name: 'x-mixed', parts: ['100% of ', { operator: 'REQ', argument: ':path' }] },
      op('x-missing', 'REQ', 'x-none'),
    ];
    const world = withRoute({ headers: headersOf({ request: { set }, response: { set: [op('x-upstream', 'UPSTREAM_HOST'), op('x-code', 'RESPONSE_CODE')] } }) });
    const client = world.send({ path: '/p', headers: { 'x-id': '42' } });
    const got = (name: string): string | undefined => world.requests[0]?.head.headers.get(name);
    expect(set.map(({ name }) => got(name))).toEqual(['42', '42', '10.0.0.1:50000', '10.0.0.1', 'HTTP/1.1', 'default', '2026-01-01T00:00:00.000Z', '100% of /p', undefined]);
    expect(client.headers?.get('x-upstream')).toBe('10.1.0.1:9080');
    expect(client.headers?.get('x-code')).toBe('200');
  });
});

test('rewrite changes what the endpoint sees and not what is logged', () => {
  const world = withRoute({ action: forwardTo({ rewrite: { authority: 'inner', path: { kind: 'prefix', matchedPrefix: '/v1', value: '/api' } } }) });
  world.send({ path: '/v1/items?x=1' });
  expect(world.requests[0]?.head).toMatchObject({ target: '/api/items?x=1', authority: 'inner' });
  expect(world.ended[0]).toMatchObject({ path: '/v1/items?x=1', authority: 'reviews' });
});

test('a redirect and a direct response are answered here, with the headers of the route', () => {
  const redirecting = withRoute({ action: { kind: 'redirect', status: 302, scheme: undefined, authority: 'new.example', port: 'default', path: undefined } });
  const redirected = redirecting.send({ path: '/here?x=1' });
  expect([redirected.status, redirected.headers?.get('location')]).toEqual([302, 'http://new.example/here?x=1']);

  const direct = withRoute({ action: { kind: 'direct', status: 503, body: Buffer.from('closed') }, headers: headersOf({ response: { set: [text('content-type', 'text/html')] } }) });
  const client = direct.send();
  expect([client.status, client.body, client.headers?.get('content-type'), client.headers?.get('content-length')]).toEqual([503, 'closed', 'text/html', '6']);
  expect(direct.send({ method: 'HEAD' }).body).toBe('');
  expect(direct.requests).toHaveLength(0);
  expect(direct.ended.map((facts) => facts.details)).toEqual(['direct_response', 'direct_response']);
});

const preflight = (origin: string): Parameters<World['send']>[0] => ({ method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'POST' } });

describe('CORS', () => {
  const policy: CorsPolicy = {
    allowsOrigin: (origin) => origin === 'https://app.example',
    allowMethods: 'GET,POST',
    allowHeaders: 'x-token',
    exposeHeaders: 'x-total',
    maxAgeSeconds: 600,
    allowCredentials: true,
    unmatchedPreflights: 'FORWARD',
  };

  test('a preflight of an allowed origin is answered here', () => {
    const world = withRoute({ cors: policy });
    const client = world.send(preflight('https://app.example'));
    expect(client.status).toBe(200);
    expect(['origin', 'methods', 'headers', 'credentials'].map((name) => client.headers?.get(`access-control-allow-${name}`))).toEqual(['https://app.example', 'GET,POST', 'x-token', 'true']);
    expect(client.headers?.get('access-control-max-age')).toBe('600');
    expect(world.requests).toHaveLength(0);
  });

  test('a preflight of another origin is passed on, or answered without a word about CORS', () => {
    const forwarding = withRoute({ cors: policy });
    forwarding.send(preflight('https://evil.example'));
    expect(forwarding.requests).toHaveLength(1);
    const ignoring = withRoute({ cors: { ...policy, unmatchedPreflights: 'IGNORE' } });
    const client = ignoring.send(preflight('https://evil.example'));
    expect([client.status, client.headers?.has('access-control-allow-origin')]).toEqual([200, false]);
    expect(ignoring.requests).toHaveLength(0);
  });

  test('of the Gateway API: a preflight is told what it asks for where everything is allowed, and what answers expose', () => {
    const world = withRoute({ cors: { ...policy, allowMethods: '*', allowHeaders: '*', explicitPreflights: true } });
    const asking = (headers: Record<string, string>): (string | undefined)[] => {
      const client = world.send({ method: 'OPTIONS', headers: { origin: 'https://app.example', 'access-control-request-method': 'PUT', ...headers } });
      return ['allow-methods', 'allow-headers', 'expose-headers'].map((name) => client.headers?.get(`access-control-${name}`));
    };
    expect(asking({ 'access-control-request-headers': 'x-a, x-b' })).toEqual(['PUT', 'x-a, x-b', 'x-total']);
    expect(asking({})).toEqual(['PUT', undefined, 'x-total']);
  });

  test('answers to an allowed origin carry the headers, others do not', () => {
    const world = withRoute({ cors: policy });
    const allowed = world.send({ headers: { origin: 'https://app.example' } });
    expect(allowed.headers?.get('access-control-allow-origin')).toBe('https://app.example');
    expect(allowed.headers?.get('access-control-expose-headers')).toBe('x-total');
    expect(world.send({ headers: { origin: 'https://evil.example' } }).headers?.has('access-control-allow-origin')).toBe(false);
    expect(world.send().headers?.has('access-control-allow-origin')).toBe(false);
  });
});

describe('a destination of its own mind', () => {
  test('redirects its share, and refuses it where its backend is not valid', () => {
    const action = (target: object): World => withRoute({ action: forwardTo({ clusters: [{ cluster: CLUSTER, weight: 1, headers: undefined, ...target }] }) });
    const redirecting = action({ redirect: { kind: 'redirect', status: 308, scheme: 'https', authority: 'new.example', port: 'default', path: undefined } }).send();
    expect([redirecting.status, redirecting.headers?.get('location')]).toEqual([308, 'https://new.example/']);
    const world = action({ invalid: 'there is no Service shop/cart' });
    expect(world.send().status).toBe(500);
    expect(world.requests).toHaveLength(0);
  });

  test('rewrites in place of the route', () => {
    const world = withRoute({ action: forwardTo({ rewrite: { authority: undefined, path: { kind: 'full', value: '/route' } }, clusters: [{ cluster: CLUSTER, weight: 1, headers: undefined, rewrite: { authority: 'own.example', path: { kind: 'full', value: '/own' } } }] }) });
    world.send();
    expect([world.requests[0]?.head.target, world.requests[0]?.head.authority]).toEqual(['/own', 'own.example']);
  });
});
