/** What holds for any gateways and routes. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { compileGateway, gatewaysOf } from '../../../src/mesh/gateway/compile.ts';
import { findGatewayHost } from '../../../src/mesh/gateway/find.ts';
import { gatewayStatuses } from '../../../src/mesh/gateway/status.ts';
import { contentIn } from '../../../src/mesh/gateway/status-content.ts';
import type { HttpPort } from '../../../src/mesh/gateway/table.ts';
import { findRoute } from '../../../src/mesh/route.ts';
import { application, errors, request, snapshotOf } from '../world.ts';

const APP = application('shop', ['cart', 'web']);
const CLASS = { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'GatewayClass', metadata: { name: 'orlop' }, spec: { controllerName: 'orlop.io/gateway-controller' } };
const FACTS = { addresses: () => [], obstacle: () => undefined, fault: () => undefined, annotations: () => ({}) };

interface Match {
  readonly path?: { readonly type: string; readonly value: string };
  readonly method?: string;
  readonly headers?: readonly { readonly name: string; readonly value: string }[];
}

interface Route {
  readonly hostnames?: readonly string[];
  readonly rules: readonly { readonly matches?: readonly Match[] }[];
  readonly age: number;
}

const HOSTS = ['a.x', 'b.a.x', 'b.x', 'y', '*.x', '*.a.x'];
const host = fc.constantFrom(...HOSTS);
const match: fc.Arbitrary<Match> = fc.record({
  path: fc.record({ type: fc.constantFrom('Exact', 'PathPrefix'), value: fc.constantFrom('/', '/a', '/a/', '/a/b', '/ab') }),
  method: fc.constantFrom('GET', 'POST'),
  headers: fc.uniqueArray(fc.record({ name: fc.constantFrom('k', 'l'), value: fc.constantFrom('1', '2') }), { selector: ({ name }) => name, minLength: 1, maxLength: 2 }),
}, { requiredKeys: [] });
const route: fc.Arbitrary<Route> = fc.record({
  hostnames: fc.uniqueArray(host, { minLength: 1, maxLength: 3 }),
  rules: fc.array(fc.record({ matches: fc.array(match, { minLength: 1, maxLength: 3 }) }, { requiredKeys: [] }), { minLength: 1, maxLength: 3 }),
  age: fc.nat(2),
}, { requiredKeys: ['rules', 'age'] });
const listenerHosts = fc.uniqueArray(fc.option(host, { nil: '' }), { minLength: 1, maxLength: 3 });

function documents(listeners: readonly string[], routes: readonly Route[]): string {
  const gateway = { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'Gateway', metadata: { name: 'door', namespace: 'shop' }, spec: { gatewayClassName: 'orlop', listeners: listeners.map((hostname, i) => ({ name: `l${i}`, port: 80, protocol: 'HTTP', ...(hostname === '' ? {} : { hostname }) })) } };
  const objects = routes.map(({ hostnames, rules, age }, i) => ({
    apiVersion: 'gateway.networking.k8s.io/v1', kind: 'HTTPRoute', metadata: { name: `r${i}`, namespace: 'shop', creationTimestamp: new Date(1_700_000_000_000 + age * 1000).toISOString() },
    spec: { parentRefs: [{ name: 'door' }], ...(hostnames === undefined ? {} : { hostnames }), rules: rules.map(({ matches }) => ({ ...(matches === undefined ? {} : { matches }), backendRefs: [{ name: 'cart', port: 9080 }] })) },
  }));
  return [CLASS, gateway, ...objects].map((one) => stringify(one)).join('---\n');
}

const isIn = (pattern: string, name: string): boolean => pattern === '' || pattern === name || (pattern.startsWith('*.') && name.endsWith(pattern.slice(1)));
const within = (a: string, b: string): string | undefined => (isIn(a, b) ? b : b === '' || isIn(b, a) ? a : undefined);
const weight = (pattern: string): number[] => [pattern.startsWith('*') ? 0 : pattern.length, pattern.length];

interface Asked {
  readonly host: string;
  readonly path: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
}

function takes({ path, method, headers = [] }: Match, asked: Asked): boolean {
  const { type, value } = path ?? { type: 'PathPrefix', value: '/' };
  const segments = (text: string): string[] => text.split('/').filter((part) => part !== '');
  const onPath = type === 'Exact' ? asked.path === value : segments(value).every((part, i) => segments(asked.path)[i] === part);
  return onPath && (method === undefined || method === asked.method) && headers.every(({ name, value: wanted }) => asked.headers[name] === wanted);
}

function compare(a: readonly (number | string)[], b: readonly (number | string)[]): number {
  for (const [i, value] of a.entries()) {
    const other = b[i] as number | string;
    if (value !== other) return value > other ? -1 : 1;
  }
  return 0;
}

/** The specification, read naively: of all matches of all routes, the one that none is before. */
function meant(listeners: readonly string[], routes: readonly Route[], asked: Asked): string | undefined {
  const [listener] = listeners.filter((one) => isIn(one, asked.host)).sort((a, b) => compare(weight(a), weight(b)));
  if (listener === undefined) return undefined;
  const found = routes.flatMap(({ hostnames, rules, age }, r) => {
    const names = (hostnames ?? ['']).map((name) => within(listener, name)).filter((name) => name !== undefined && isIn(name, asked.host)) as string[];
    const [name] = names.sort((a, b) => compare(weight(a), weight(b)));
    if (name === undefined) return [];
    return rules.flatMap(({ matches }, i) => (matches ?? [{}]).flatMap((one, j) => {
      if (!takes(one, asked)) return [];
      const { type, value } = one.path ?? { type: 'PathPrefix', value: '/' };
      return [{ origin: `HTTPRoute shop/r${r} rules[${i}]`, rank: [...weight(name), type === 'Exact' ? 1 : 0, type === 'Exact' ? 0 : value.length, one.method === undefined ? 0 : 1, (one.headers ?? []).length, -age, -r, -i, -j] }];
    }));
  });
  return found.sort((a, b) => compare(a.rank, b.rank))[0]?.origin;
}

describe('a request at a gateway', () => {
  it('takes the rule that the specification puts first', () => {
    const asked = fc.record({ host: fc.constantFrom('a.x', 'b.a.x', 'b.x', 'c.x', 'x', 'y', 'z'), path: fc.constantFrom('/', '/a', '/a/', '/a/b', '/a/b/c', '/ab'), method: fc.constantFrom('GET', 'POST'), headers: fc.record({ k: fc.constantFrom('1', '2'), l: fc.constantFrom('1', '2') }, { requiredKeys: [] }) });
    fc.assert(fc.property(listenerHosts, fc.array(route, { minLength: 1, maxLength: 4 }), fc.array(asked, { minLength: 1, maxLength: 12 }), (listeners, routes, requests) => {
      const snapshot = snapshotOf({ 'app.yaml': APP, 'gateway.yaml': documents(listeners, routes) });
      expect(errors(snapshot)).toEqual([]);
      const port = compileGateway(snapshot, { kind: 'Gateway', namespace: 'shop', name: 'door' })?.ports.get(80) as HttpPort;
      for (const one of requests) {
        const found = findGatewayHost(port.hosts, one.host);
        const taken = found === undefined ? undefined : findRoute(found, request(one.host, one.path, one.headers, one.method))?.origin;
        expect(taken, JSON.stringify(one)).toBe(meant(listeners, routes, one));
      }
    }), { numRuns: 100 });
  });

  it('is taken by the same rule in whatever order the objects are told of', () => {
    fc.assert(fc.property(listenerHosts, fc.array(route, { minLength: 2, maxLength: 4 }), fc.constantFrom('a.x', 'b.a.x', 'y'), fc.constantFrom('/', '/a', '/a/b'), (listeners, routes, name, path) => {
      const text = documents(listeners, routes);
      const turned = text.split('---\n').toReversed().join('---\n');
      const [one, other] = [text, turned].map((each) => {
        const port = compileGateway(snapshotOf({ 'app.yaml': APP, 'gateway.yaml': each }), { kind: 'Gateway', namespace: 'shop', name: 'door' })?.ports.get(80) as HttpPort;
        const found = findGatewayHost(port.hosts, name);
        return found === undefined ? undefined : findRoute(found, request(name, path))?.origin;
      });
      expect(one).toBe(other);
    }), { numRuns: 25 });
  });
});

/** Words of the API in any order. */
const KINDS = ['GatewayClass', 'Gateway', 'ListenerSet', 'HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute', 'ReferenceGrant', 'BackendTLSPolicy'];
const named = { group: fc.constantFrom('', 'gateway.networking.k8s.io', 'x.io'), kind: fc.constantFrom('Service', 'Gateway', 'ListenerSet', 'Secret', 'ConfigMap', 'Wrong'), name: fc.constantFrom('cart', 'door', 'good', 'orlop', 'nobody'), namespace: fc.constantFrom('shop', 'other'), port: fc.constantFrom(80, 9080) };
const parent = fc.record({ ...named, sectionName: fc.constantFrom('http', 'l0') }, { requiredKeys: ['name'] });
const backend = fc.record({ ...named, weight: fc.nat(2) }, { requiredKeys: ['name'] });
const bare = fc.record({ group: fc.constantFrom('', 'x.io'), kind: fc.constantFrom('Service', 'Secret', 'ConfigMap'), name: fc.constantFrom('cart', 'nobody') });
const anyListener = fc.record({ name: fc.constantFrom('l0', 'l1', 'http'), port: fc.constantFrom(80, 443), protocol: fc.constantFrom('HTTP', 'HTTPS', 'TLS', 'TCP', 'UDP'), hostname: host, tls: fc.record({ mode: fc.constantFrom('Terminate', 'Passthrough'), certificateRefs: fc.array(fc.record({ name: fc.constantFrom('a', 'b') }), { maxLength: 2 }) }), allowedRoutes: fc.record({ namespaces: fc.record({ from: fc.constantFrom('All', 'Same', 'Selector') }), kinds: fc.array(fc.record({ kind: fc.constantFrom(...KINDS) }), { maxLength: 2 }) }, { requiredKeys: [] }) }, { requiredKeys: ['name', 'port', 'protocol'] });
const spec = fc.record({
  controllerName: fc.constant('orlop.io/gateway-controller'), gatewayClassName: fc.constantFrom('orlop', 'other'), listeners: fc.array(anyListener, { maxLength: 3 }), parentRef: fc.record({ name: fc.constantFrom('door', 'cart') }),
  parentRefs: fc.array(parent, { maxLength: 2 }), hostnames: fc.array(host, { maxLength: 2 }),
  rules: fc.array(fc.record({ backendRefs: fc.array(backend, { maxLength: 2 }) }), { maxLength: 2 }),
  from: fc.array(fc.record({ group: fc.constant('gateway.networking.k8s.io'), kind: fc.constantFrom(...KINDS), namespace: fc.constantFrom('shop', 'other') }), { maxLength: 2 }), to: fc.array(bare, { maxLength: 2 }),
  targetRefs: fc.array(bare, { maxLength: 2 }), validation: fc.record({ hostname: fc.constant('x'), caCertificateRefs: fc.array(bare, { maxLength: 2 }), wellKnownCACertificates: fc.constant('System') }, { requiredKeys: ['hostname'] }),
}, { requiredKeys: [] });

/** Of each kind, the fields that it has: unknown ones would refuse every object. */
const FIELDS: Readonly<Record<string, readonly string[]>> = {
  GatewayClass: ['controllerName'], Gateway: ['gatewayClassName', 'listeners'], ListenerSet: ['parentRef', 'listeners'], HTTPRoute: ['parentRefs', 'hostnames', 'rules'], GRPCRoute: ['parentRefs', 'hostnames', 'rules'],
  TLSRoute: ['parentRefs', 'hostnames', 'rules'], TCPRoute: ['parentRefs', 'rules'], ReferenceGrant: ['from', 'to'], BackendTLSPolicy: ['targetRefs', 'validation'],
};
const object = fc.tuple(fc.constantFrom(...KINDS), fc.constantFrom('door', 'cart', 'orlop'), fc.constantFrom('shop', 'other'), spec).map(([kind, name, namespace, all]) => ({
  apiVersion: 'gateway.networking.k8s.io/v1', kind, metadata: { name, namespace }, spec: Object.fromEntries(Object.entries(all).filter(([field]) => FIELDS[kind]?.includes(field) === true)),
}));

/** One that is right whatever is beside it, so that routes have something to be attached to. */
const GOOD = { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'Gateway', metadata: { name: 'good', namespace: 'shop' }, spec: { gatewayClassName: 'sound', listeners: [{ name: 'http', port: 80, protocol: 'HTTP' }] } };

describe('any objects', () => {
  it('compile, and something is said of them', () => {
    fc.assert(fc.property(fc.array(object, { maxLength: 8 }), (objects) => {
      const snapshot = snapshotOf({ 'app.yaml': APP, 'any.yaml': [CLASS, { ...CLASS, metadata: { name: 'sound' } }, GOOD, ...objects].map((one) => stringify(one)).join('---\n') });
      const compiled = gatewaysOf(snapshot).filter((id) => compileGateway(snapshot, id) !== undefined);
      expect(compiled).toContainEqual({ kind: 'Gateway', namespace: 'shop', name: 'good' });
      for (const { content } of gatewayStatuses(snapshot, FACTS)) {
        const written = contentIn({}, content, 1, 'now');
        // What is written once is not written again.
        expect(contentIn(written, content, 1, 'later')).toEqual(written);
      }
    }), { numRuns: 150 });
  });
});
