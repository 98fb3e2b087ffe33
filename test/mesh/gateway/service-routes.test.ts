/** Routes of the Gateway API whose parent is a Service: who takes them, in which order, and what they do. */
import { describe, expect, it } from 'vitest';
import { findVirtualHost } from '../../../src/mesh/route.ts';
import { renderProblem } from '../../../src/mesh/problem.ts';
import type { Route, Table } from '../../../src/mesh/table.ts';
import { istio } from '../compile/istio.ts';
import { application, errors, request, routeOf, shares, snapshotOf, tableOf } from '../world.ts';
import { gatewayApi } from './world.ts';

const EXTERNAL = '---\napiVersion: v1\nkind: Service\nmetadata: {name: elsewhere, namespace: shop}\nspec: {type: ExternalName, externalName: client.other.svc.cluster.local, ports: [{name: http, port: 80}]}\n';
const APP = `${application('shop', ['cart', 'cart-v2', 'web'])}---${application('other', ['client'])}${EXTERNAL}`;
const key = (service: string, port = 9080): string => `outbound|${port}||${service}.shop.svc.cluster.local`;
const PARENT = 'parentRefs: [{group: "", kind: Service, name: cart}]';

function table(documents: string, client = 'shop/web-v1'): Table {
  const snapshot = snapshotOf({ 'app.yaml': APP, 'routes.yaml': documents });
  expect(errors(snapshot).map(renderProblem)).toEqual([]);
  return tableOf(snapshot, client);
}

const to = (name: string, more = ''): string => `{name: ${name}, port: 9080${more}}`;
const taken = (of: Table, target = '/', headers: Readonly<Record<string, string>> = {}, method = 'GET'): string | undefined => routeOf(of, request('cart.shop', target, headers, method))?.origin;

describe('routes of a Service', () => {
  it('take the requests of all clients, in shares of their weights', () => {
    const route = gatewayApi('HTTPRoute', 'split', `{${PARENT}, rules: [{backendRefs: [${to('cart', ', weight: 3')}, ${to('cart-v2')}, ${to('web', ', weight: 0')}]}]}`);
    for (const client of ['shop/web-v1', 'other/client-v1']) {
      expect(shares(routeOf(table(route, client), request('cart.shop'))), client).toEqual({ [key('cart')]: 0.75, [key('cart-v2')]: 0.25 });
    }
  });

  it('of one port leave the others alone', () => {
    const route = gatewayApi('HTTPRoute', 'one', `{parentRefs: [{group: "", kind: Service, name: cart, port: 80}], rules: [{backendRefs: [${to('cart-v2')}]}]}`);
    expect(taken(table(route))).toBe('no VirtualService');
    const named = gatewayApi('HTTPRoute', 'one', `{parentRefs: [{group: "", kind: Service, name: cart, sectionName: http}], rules: [{backendRefs: [${to('cart-v2')}]}]}`);
    expect(taken(table(named))).toBe('HTTPRoute shop/one rules[0]');
  });

  it('answer 404 to what none of their rules takes', () => {
    const route = gatewayApi('HTTPRoute', 'some', `{${PARENT}, rules: [{matches: [{path: {value: /a}}], backendRefs: [${to('cart')}]}]}`);
    expect([taken(table(route), '/a/b'), taken(table(route), '/ab')]).toEqual(['HTTPRoute shop/some rules[0]', undefined]);
  });

  it('decide in place of VirtualServices', () => {
    const both = gatewayApi('HTTPRoute', 'new', `{${PARENT}, rules: [{backendRefs: [${to('cart-v2')}]}]}`) + istio('VirtualService', 'old', '{hosts: [cart], http: [{route: [{destination: {host: web}}]}]}');
    expect(taken(table(both))).toBe('HTTPRoute shop/new rules[0]');
  });

  it('belong to the address that was dialled, whatever the Host says', () => {
    const of = table(gatewayApi('HTTPRoute', 'split', `{${PARENT}, rules: [{backendRefs: [${to('cart-v2')}]}]}`));
    const [cart, web] = ['10.96.4.1', '10.96.4.3'].map((address) => of.outbound.destinations.get(`${address}:9080`));
    expect(findVirtualHost(of, 9080, cart, 'web')?.name).toBe('cart.shop.svc.cluster.local:9080');
    expect(findVirtualHost(of, 9080, web, 'cart')?.name).toBe('web.shop.svc.cluster.local:9080');
    expect(findVirtualHost(of, 9080, undefined, 'cart')?.name).toBe('cart.shop.svc.cluster.local:9080');
  });

  it('of a client\'s namespace are for its clients alone, and there in place of the Service\'s own', () => {
    const consumer = gatewayApi('HTTPRoute', 'mine', '{parentRefs: [{group: "", kind: Service, name: cart, namespace: shop}], rules: [{backendRefs: [{name: cart, namespace: shop, port: 9080}]}]}', { namespace: 'other' });
    const grant = gatewayApi('ReferenceGrant', 'grant', '{from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: other}], to: [{group: "", kind: Service}]}');
    const producer = gatewayApi('HTTPRoute', 'all', `{${PARENT}, rules: [{backendRefs: [${to('cart-v2')}]}]}`);
    expect(taken(table(consumer + producer + grant, 'other/client-v1'))).toBe('HTTPRoute other/mine rules[0]');
    expect(taken(table(consumer + producer + grant))).toBe('HTTPRoute shop/all rules[0]');
    expect(taken(table(consumer + grant))).toBe('no VirtualService');
  });

  it('send clients to the Service that they call without a grant, and nowhere else', () => {
    const consumer = (backend: string): string => gatewayApi('HTTPRoute', 'mine', `{parentRefs: [{group: "", kind: Service, name: cart, namespace: shop}], rules: [{backendRefs: [{name: ${backend}, namespace: shop, port: 9080}]}]}`, { namespace: 'other' });
    const action = (backend: string): unknown => routeOf(table(consumer(backend), 'other/client-v1'), request('cart.shop'))?.action;
    expect(action('cart')).toMatchObject({ clusters: [{ cluster: key('cart') }] });
    expect(action('web')).toMatchObject({ clusters: [{ invalid: 'no ReferenceGrant in shop lets a HTTPRoute of other name Service web' }] });
  });

  it('are asked in the order of their matches, then of their age, then of their names', () => {
    const rule = (match: string): string => `{matches: [${match}], backendRefs: [${to('cart')}]}`;
    const first = gatewayApi('HTTPRoute', 'b', `{${PARENT}, rules: [${rule('{path: {value: /}}')}, ${rule('{path: {value: /long/er}}')}, ${rule('{path: {type: Exact, value: /long}}')}, ${rule('{headers: [{name: X-A, value: "1"}]}')}]}`, { age: 1 });
    const second = gatewayApi('HTTPRoute', 'a', `{${PARENT}, rules: [${rule('{path: {value: /long}}')}, ${rule('{path: {value: /long/er}, method: POST}')}, ${rule('{headers: [{name: X-A, value: "1"}], queryParams: [{name: q, value: "1"}]}')}]}`, { age: 2 });
    const of = table(first + second);
    expect(taken(of, '/other')).toBe('HTTPRoute shop/b rules[0]');
    expect(taken(of, '/long')).toBe('HTTPRoute shop/b rules[2]');
    expect(taken(of, '/long/x')).toBe('HTTPRoute shop/a rules[0]');
    expect(taken(of, '/long/er')).toBe('HTTPRoute shop/b rules[1]');
    expect(taken(of, '/long/er', {}, 'POST')).toBe('HTTPRoute shop/a rules[1]');
    expect(taken(of, '/', { 'x-a': '1' })).toBe('HTTPRoute shop/b rules[3]');
    expect(taken(of, '/?q=1', { 'x-a': '1' })).toBe('HTTPRoute shop/a rules[2]');
  });

  it('of the same match go to the older, then to the first by name', () => {
    const route = (name: string, age: number): string => gatewayApi('HTTPRoute', name, `{${PARENT}, rules: [{backendRefs: [${to('cart')}]}]}`, { age });
    expect(taken(table(route('a', 2) + route('b', 1)))).toBe('HTTPRoute shop/b rules[0]');
    expect(taken(table(route('b', 1) + route('a', 1)))).toBe('HTTPRoute shop/a rules[0]');
  });

  it('for gRPC match service and method, and claim the port from HTTPRoutes', () => {
    const grpc = gatewayApi('GRPCRoute', 'calls', `{${PARENT}, rules: [{matches: [{method: {service: shop.Cart}}], backendRefs: [${to('cart')}]}, {matches: [{method: {service: shop.Cart, method: Add}}], backendRefs: [${to('cart-v2')}]}, {matches: [{method: {method: Get}}], backendRefs: [${to('web')}]}]}`);
    const of = table(grpc + gatewayApi('HTTPRoute', 'rest', `{${PARENT}, rules: [{backendRefs: [${to('cart')}]}]}`));
    expect([taken(of, '/shop.Cart/Add'), taken(of, '/shop.Cart/Get'), taken(of, '/shop.Other/Get'), taken(of, '/shop.Other/Add')]).toEqual(['GRPCRoute shop/calls rules[1]', 'GRPCRoute shop/calls rules[0]', 'GRPCRoute shop/calls rules[2]', undefined]);
  });

  it('for connections take them unopened', () => {
    const of = table(gatewayApi('TCPRoute', 'bytes', `{${PARENT}, rules: [{backendRefs: [${to('cart-v2')}]}]}`));
    expect(of.outbound.destinations.get('10.96.4.1:9080')).toMatchObject({ protocol: 'tcp', virtualHost: undefined, tcpRoutes: [{ origin: 'TCPRoute shop/bytes rules[0]', clusters: [{ cluster: key('cart-v2') }] }] });
  });
});

describe('a backend that cannot be used', () => {
  it.each([
    ['does not exist', `{name: nobody, port: 9080}`, 'there is no Service shop/nobody'],
    ['has no such port', `{name: cart, port: 1}`, 'Service shop/cart has no TCP port 1'],
    ['is no Service', `{group: example.com, kind: Bucket, name: cart}`, 'backends of kind Bucket.example.com are not honoured; name a Service'],
    ['stands for another name', '{name: elsewhere, port: 80}', 'Service shop/elsewhere is an ExternalName, which no route may lead to'],
    ['is of a namespace that does not let it be named', `{name: client, namespace: other, port: 9080}`, 'no ReferenceGrant in other lets a HTTPRoute of shop name Service client'],
  ])('because it %s has its share answered 500', (_, backend, reason) => {
    const of = table(gatewayApi('HTTPRoute', 'half', `{${PARENT}, rules: [{backendRefs: [${backend}, ${to('cart')}]}]}`));
    const action = routeOf(of, request('cart.shop'))?.action;
    expect(action).toMatchObject({ kind: 'forward', weightTotal: 2, clusters: [{ weight: 1, invalid: reason }, { cluster: key('cart'), weight: 1 }] });
  });

  it.each([['no backend', '[]'], ['weights of 0 only', `[${to('cart', ', weight: 0')}]`]])('a rule with %s answers 500', (_, backends) => {
    const of = table(gatewayApi('HTTPRoute', 'none', `{${PARENT}, rules: [{backendRefs: ${backends}}]}`));
    expect(routeOf(of, request('cart.shop'))?.action).toMatchObject({ clusters: [{ weight: 1, invalid: 'the rule has no backend with a weight above 0' }], weightTotal: 1 });
  });
});

describe('filters', () => {
  const filtered = (filters: string, match = '{path: {value: /old}}', backends = `[${to('cart')}]`): Route => {
    const of = table(gatewayApi('HTTPRoute', 'x', `{${PARENT}, rules: [{matches: [${match}], filters: [${filters}], backendRefs: ${backends}}]}`));
    const found = routeOf(of, request('cart.shop', '/old'));
    if (found === undefined) throw new Error('no route');
    return found;
  };

  it('change headers as they are written, percent signs included', () => {
    expect(filtered('{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: "%REQ(x)%"}], add: [{name: X-B, value: b}], remove: [X-C]}}, {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [Server]}}').headers).toEqual({
      request: { set: [{ name: 'X-A', parts: ['%REQ(x)%'] }], add: [{ name: 'X-B', parts: ['b'] }], remove: ['x-c'] },
      response: { set: [], add: [], remove: ['server'] },
    });
  });

  it('rewrite host and path', () => {
    expect(filtered('{type: URLRewrite, urlRewrite: {hostname: new.example.com, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new/}}}').action).toMatchObject({ rewrite: { authority: 'new.example.com', path: { kind: 'prefix', matchedPrefix: '/old', value: '/new' } } });
    expect(filtered('{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: ""}}}').action).toMatchObject({ rewrite: { path: { kind: 'full', value: '/' } } });
  });

  it.each([301, 302, 303, 307, 308])('redirect with status %d', (status) => {
    expect(filtered(`{type: RequestRedirect, requestRedirect: {hostname: example.org, statusCode: ${status}}}`, undefined, '[]').action).toMatchObject({ kind: 'redirect', status, authority: 'example.org', port: 9080 });
  });

  it('copy requests in a share of them', () => {
    const mirror = (more: string): string => `{type: RequestMirror, requestMirror: {backendRef: ${to('web')}${more}}}`;
    expect(filtered(`${mirror('')}, ${mirror(', percent: 20')}, ${mirror(', fraction: {numerator: 1, denominator: 1000}')}, ${mirror(', percent: 0')}`).action).toMatchObject({
      mirrors: [{ cluster: key('web'), percent: 100 }, { cluster: key('web'), percent: 20 }, { cluster: key('web'), percent: 0.1 }],
    });
  });

  it('answer preflights of the origins that are allowed', () => {
    const { cors } = filtered('{type: CORS, cors: {allowOrigins: ["https://*.example.com", "http://plain.org:8080"], allowMethods: [GET, PUT], allowCredentials: true}}');
    expect(['https://a.example.com', 'https://a.b.example.com:443', 'https://example.com', 'http://a.example.com', 'http://plain.org:8080', 'http://plain.org'].map((origin) => cors?.allowsOrigin(origin))).toEqual([true, true, false, false, true, false]);
    expect(cors).toMatchObject({ allowMethods: 'GET, PUT', maxAgeSeconds: 5, allowCredentials: true, unmatchedPreflights: 'IGNORE' });
  });

  it('of a backend are for its share alone', () => {
    const { action } = filtered('', undefined, `[{name: cart, port: 9080, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-own, value: "1"}]}}, {type: URLRewrite, urlRewrite: {hostname: own.example.com}}]}, ${to('cart-v2')}]`);
    expect(action).toMatchObject({ clusters: [{ cluster: key('cart'), headers: { request: { set: [{ name: 'x-own' }] } }, rewrite: { authority: 'own.example.com' } }, { cluster: key('cart-v2'), headers: undefined }] });
  });

  it('that are not honoured refuse the requests of their rule, and are named', () => {
    const snapshot = snapshotOf({ 'app.yaml': APP, 'r.yaml': gatewayApi('HTTPRoute', 'x', `{${PARENT}, rules: [{filters: [{type: ExtensionRef, extensionRef: {group: example.com, kind: Magic, name: m}}], backendRefs: [${to('cart')}]}]}`) });
    expect(errors(snapshot)).toEqual([]);
    expect(snapshot.problems.map(({ code, field }) => `${code} ${field}`)).toContain('ORLOP010 spec.rules[0].filters[0].type');
    expect(routeOf(tableOf(snapshot, 'shop/web-v1'), request('cart.shop'))?.action).toMatchObject({ clusters: [{ invalid: 'the filter ExtensionRef is not honoured' }] });
  });
});

describe('timeouts and retries', () => {
  const action = (rule: string): unknown => routeOf(table(gatewayApi('HTTPRoute', 'x', `{${PARENT}, rules: [{${rule}, backendRefs: [${to('cart')}]}]}`)), request('cart.shop'))?.action;

  it('bound the request, and each try', () => {
    expect(action('timeouts: {request: 1s, backendRequest: 250ms}')).toMatchObject({ timeoutMs: 1_000, retry: { perTryTimeoutMs: 250, attempts: 2 } });
  });

  it('repeat what failed, and answers with the codes that are named', () => {
    expect(action('retry: {codes: [500, 503], attempts: 3, backoff: 50ms}')).toMatchObject({ retry: { attempts: 3, backoffBaseMs: 50, on: { statuses: new Set([500, 503]), reset: true, connectFailure: true, fiveHundreds: false } } });
  });
});
