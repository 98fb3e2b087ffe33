/** What holds for any configuration. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { buildSnapshot } from '../../src/mesh/build.ts';
import { compile } from '../../src/mesh/compile/compile.ts';
import { parseDuration } from '../../src/mesh/duration.ts';
import { bySpecificity, covers, hostOf } from '../../src/mesh/host.ts';
import { KINDS } from '../../src/mesh/parse/istio-schemas.ts';
import type { Schema } from '../../src/mesh/parse/schema.ts';
import { fullMatch, regexFault } from '../../src/mesh/regex.ts';
import { application, errors, snapshotOf, tableOf } from './world.ts';

const FIELDS = [
  'hosts', 'http', 'tcp', 'tls', 'match', 'route', 'destination', 'host', 'subset', 'subsets', 'name', 'labels', 'weight', 'uri', 'exact', 'prefix', 'regex', 'headers', 'fault', 'delay', 'abort',
  'percentage', 'value', 'httpStatus', 'fixedDelay', 'timeout', 'retries', 'attempts', 'redirect', 'rewrite', 'mirror', 'mirrors', 'corsPolicy', 'allowOrigins', 'delegate', 'directResponse', 'status',
  'trafficPolicy', 'loadBalancer', 'simple', 'connectionPool', 'outlierDetection', 'portLevelSettings', 'port', 'number', 'exportTo', 'gateways', 'sniHosts', 'resolution', 'endpoints', 'address',
  'addresses', 'ports', 'protocol', 'workloadSelector', 'selector', 'clusterIP', 'targetPort', 'sourceLabels', 'destinationSubnets', 'mtls', 'mode', 'portLevelMtls', 'jwtRules', 'issuer', 'action', 'provider', 'rules', 'from', 'to', 'when', 'source', 'operation', 'principals', 'paths', 'key', 'values', 'tls',
  'containers', 'podIPs', 'ip', 'annotations', 'data', 'mesh',
];
const WORDS = ['cart', 'web', 'cart', 'web', 'cart', 'web', 'shop/cart', '*', '*.x', '.', '~', 'v1', '10s', '1', 'HTTP', 'STATIC', 'DNS', 'NONE', '10.0.0.1', '10.0.0.0/8', '::1', 'a(b', '[', '^$', '', 'mesh', 'enabled', 'http: [', 'None', 'RANDOM'];

/** Trees of the API's own words in any order: mistakes of the kind that people make, and many more. */
const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 7, withCrossShrink: true },
    fc.constantFrom(...WORDS), fc.integer({ min: -2, max: 70_000 }), fc.boolean(), fc.constant(null), fc.double(),
    fc.array(tie('tree'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...FIELDS), tie('tree'), { maxKeys: 4 }),
    fc.dictionary(fc.constantFrom(...FIELDS), tie('tree'), { maxKeys: 4 }),
  ),
}));

const object = fc.record({
  apiVersion: fc.constantFrom('networking.istio.io/v1', 'security.istio.io/v1', 'v1', 'discovery.k8s.io/v1'),
  kind: fc.constantFrom('VirtualService', 'DestinationRule', 'ServiceEntry', 'WorkloadEntry', 'PeerAuthentication', 'RequestAuthentication', 'AuthorizationPolicy', 'Service', 'Pod', 'EndpointSlice', 'Namespace', 'ConfigMap', 'List'),
  metadata: fc.oneof(fc.record({ name: fc.constantFrom('cart', 'web', 'istio'), namespace: fc.constantFrom('shop', 'istio-system') }), tree),
  spec: tree,
  status: tree,
  data: tree,
}, { requiredKeys: ['kind', 'metadata', 'spec'] });

/** Strings of which a rule knows the few that it takes: among any others there would hardly be one. */
const WORDS_OF: Readonly<Record<string, readonly string[]>> = {
  protocol: ['HTTP', 'HTTP2', 'GRPC', 'HTTPS', 'TLS', 'TCP', 'cart'],
  hosts: ['cart', 'web', 'shop/cart', '*', '*.x', './web', 'a(b'],
};

/** Any value that a schema accepts, for the field `name`; the rules between fields may still refuse it. */
function valid(schema: Schema, name = ''): fc.Arbitrary<unknown> {
  switch (schema.type) {
    case 'string':
    case 'stringOrNumber':
      return fc.constantFrom(...WORDS_OF[name] ?? WORDS);
    case 'text':
      return fc.constantFrom(...WORDS.filter((word) => schema.form.test(word)));
    case 'regex':
    case 'regexOrStar':
      return fc.constantFrom('.*', '/a+', '(?i)x', '');
    case 'duration':
      return fc.constantFrom('0s', '1ms', '10s', '1h');
    case 'boolean':
      return fc.boolean();
    case 'number':
      return fc.integer({ min: schema.min, max: Math.min(schema.max, schema.min + 100) });
    case 'enum':
      return fc.constantFrom(...schema.values, ...schema.notYet);
    case 'list':
      return fc.array(valid(schema.of, name), { minLength: 1, maxLength: 3 });
    case 'map':
      return fc.dictionary(fc.constantFrom('app', 'version', 'x-user', 'http'), valid(schema.of), { maxKeys: 2 });
    case 'object':
      return validObject(schema);
    case 'later':
      return valid(schema.of, name);
    case 'any':
      return fc.constant('anything');
  }
}

/** Fields of which there is one; with others any two would be refused most of the time. */
const ONE_OF: readonly (readonly string[])[] = [['exact', 'prefix', 'regex'], ['route', 'redirect', 'directResponse', 'delegate'], ['httpStatus', 'grpcStatus'], ['mirror', 'mirrors'], ['uri', 'uriRegexRewrite'], ['selector', 'targetRef', 'targetRefs'], ['jwks', 'jwksUri']];

function validObject({ fields, required }: Extract<Schema, { type: 'object' }>): fc.Arbitrary<unknown> {
  const values = Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, valid(field, name)]));
  const groups = ONE_OF.filter((group) => group.every((name) => name in fields));
  const free = Object.keys(fields).filter((name) => !groups.flat().includes(name));
  const chosen = fc.tuple(fc.subarray(free, { maxLength: Math.min(4, free.length) }), ...groups.map((group) => fc.constantFrom(...group)));
  return chosen.chain(([names, ...ones]) => fc.record(Object.fromEntries([...new Set([...required, ...names, ...ones])].map((name) => [name, values[name] as fc.Arbitrary<unknown>]))));
}

/** HTTP routes for a host that is there: most other VirtualServices that one could make up contradict themselves. */
function specOf(kind: string, schema: Schema): fc.Arbitrary<unknown> {
  if (kind !== 'VirtualService' || schema.type !== 'object') return valid(schema);
  return fc.record({ hosts: fc.constant(['cart']), http: valid(schema.fields['http'] as Schema) });
}

function shown(table: unknown): string {
  return JSON.stringify(table, (_, value: unknown) => (value instanceof Map ? [...value].sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)) : value instanceof Set ? [...value] : value));
}

const APP = application('shop', ['cart', 'web'], ['v1']);

describe('a configuration of any content', () => {
  it('becomes a snapshot that can be cloned, and tables, without an exception', () => {
    fc.assert(fc.property(fc.array(object, { maxLength: 4 }), fc.array(object, { maxLength: 4 }), (first, second) => {
      let snapshot = snapshotOf({ 'app.yaml': APP, 'any.yaml': first.map((one) => stringify(one)).join('---\n') });
      snapshot = snapshotOf({ 'app.yaml': APP, 'any.yaml': second.map((one) => stringify(one)).join('---\n') }, snapshot);
      const clone = structuredClone(snapshot);
      for (const workload of clone.workloads) compile(clone, workload);
      expect(clone.services.map(({ host }) => host)).toEqual(expect.arrayContaining(['cart.shop.svc.cluster.local', 'web.shop.svc.cluster.local']));
      for (const { line, file } of snapshot.problems) expect(file === '' || line < 0).toBe(false);
    }), { numRuns: 200 });
  });

  it.each(Object.entries(KINDS).filter(([, { schema }]) => schema !== undefined))('%s: what the schema accepts compiles, or is refused by a rule', (kind, { groups, schema }) => {
    let good = 0;
    fc.assert(fc.property(specOf(kind, schema as Schema), (spec) => {
      const snapshot = snapshotOf({ 'app.yaml': APP, 'any.yaml': stringify({ apiVersion: groups[0], kind, metadata: { name: 'any', namespace: 'shop' }, spec }) });
      for (const workload of snapshot.workloads) compile(snapshot, workload);
      if (errors(snapshot).every(({ code }) => code === 'IST0101')) good += 1;
    }), { numRuns: 100 });
    expect(good).toBeGreaterThan(0);
  });

  it('and of any text', () => {
    fc.assert(fc.property(fc.string({ unit: fc.constantFrom('a', ':', ' ', '\n', '-', '[', ']', '{', '}', '"', '*', '&', '|', '#', '!', '%', '\t', ',', '?', 'kind: ', '---\n') }), (text) => {
      buildSnapshot([{ name: 'any.yaml', text }]);
    }), { numRuns: 500 });
  });
});

describe('compile', () => {
  it('is pure: the same files give the same table, whatever was compiled before', () => {
    const rules = 'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a, namespace: shop}\nspec: {hosts: [cart], http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: web}}]}, {route: [{destination: {host: cart}}]}]}\n';
    const one = snapshotOf({ 'app.yaml': APP, 'rules.yaml': rules });
    const two = snapshotOf({ 'rules.yaml': rules, 'app.yaml': APP });
    tableOf(two, 'shop/cart-v1');
    expect(shown(tableOf(two, 'shop/web-v1'))).toBe(shown(tableOf(one, 'shop/web-v1')));
  });
});

describe('hosts', () => {
  const label = fc.stringMatching(/^[a-z][a-z0-9]{0,3}$/);
  const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));

  it('a pattern covers what a naive reading of it covers', () => {
    fc.assert(fc.property(name, name, (suffix, host) => {
      expect(covers(`*.${suffix}`, host)).toBe(host.length > suffix.length + 1 && host.slice(-suffix.length - 1) === `.${suffix}`);
      expect(covers(suffix, host)).toBe(suffix === host);
      expect(covers('*', host)).toBe(true);
      expect(covers(`*.${suffix}`, `${host}.${suffix}`)).toBe(true);
      expect(covers(`*.${suffix}`, suffix)).toBe(false);
    }));
  });

  it('exact names come before wildcards, longer wildcards before shorter ones', () => {
    expect(['*', '*.com', 'a.com', '*.b.com'].sort(bySpecificity)).toEqual(['a.com', '*.b.com', '*.com', '*']);
  });

  it('of a request are read without port, case and final dot', () => {
    fc.assert(fc.property(name, fc.integer({ min: 1, max: 65_535 }), fc.boolean(), fc.boolean(), fc.boolean(), (host, port, withPort, withDot, upper) => {
      const written = `${upper ? host.toUpperCase() : host}${withDot ? '.' : ''}${withPort ? `:${port}` : ''}`;
      expect(hostOf(written)).toBe(host);
    }));
    expect(['[::1]', '[::1]:80', '::1', '10.0.0.1:80', '', ':80'].map(hostOf)).toEqual(['::1', '::1', '::1', '10.0.0.1', '', '']);
  });
});

describe('durations', () => {
  it('are sums of numbers with units', () => {
    fc.assert(fc.property(fc.nat(48), fc.nat(59), fc.nat(59), fc.nat(999), (h, m, s, ms) => {
      expect(parseDuration(`${h}h${m}m${s}s${ms}ms`)).toBe(((h * 60 + m) * 60 + s) * 1000 + ms);
    }));
    expect(['1.5s', '0s', '0', '250ms', '1h30m', '2m'].map(parseDuration)).toEqual([1500, 0, 0, 250, 5_400_000, 120_000]);
  });

  it('anything else is none', () => {
    expect(['', '1', 's', '-1s', '1 s', '1d', '1s1', 'forever', '1e3s'].map(parseDuration)).toEqual(Array.from({ length: 9 }));
  });
});

describe('regular expressions', () => {
  it('match the whole text, as the language\'s own do where both have the same syntax', () => {
    const pattern = fc.array(fc.constantFrom('a', 'b', '.', 'a*', '(a|b)', '[ab]+', 'b?', 'a{2}'), { minLength: 1, maxLength: 5 }).map((parts) => parts.join(''));
    fc.assert(fc.property(pattern, fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 8 }), (source, text) => {
      expect(fullMatch(source)(text)).toBe(new RegExp(`^(?:${source})$`, 's').test(text));
    }));
  });

  it('take linear time', () => {
    expect(fullMatch('(a*)*(a*)*(a*)*b')('a'.repeat(5_000))).toBe(false);
  });

  it('are refused when they are not RE2, or too long', () => {
    expect([String.raw`(?=a)`, String.raw`(a)\1`, '(', 'a'.repeat(1025)].filter((source) => regexFault(source) === undefined)).toEqual([]);
    expect(['(?i)jason', '.*', String.raw`^\d+$`, 'a'.repeat(1024)].filter((source) => regexFault(source) !== undefined)).toEqual([]);
  });
});
