/** Who may do what: every field of a rule with what it takes and what it does not, for requests and for opaque connections. */
import { describe, expect, it } from 'vitest';
import { authorize } from '../../src/mesh/authorize.ts';
import type { AuthorizationRequest } from '../../src/mesh/security.ts';
import { bearing, connection, http, policiesOf, policy, WEB } from './security-world.ts';

type Http = Parameters<typeof http>[0];

/** One condition, with requests that meet it and requests that do not. */
interface Row {
  readonly rule: string;
  readonly takes: readonly Http[];
  readonly leaves: readonly Http[];
  /** Only HTTP has it. */
  readonly httpOnly?: boolean;
}

const source = (fields: string): string => `[{from: [{source: {${fields}}}]}]`;
const operation = (fields: string): string => `[{to: [{operation: {${fields}}}]}]`;
const when = (fields: string): string => `[{when: [{${fields}}]}]`;

const ADMIN = { identity: 'spiffe://cluster.local/ns/ops/sa/admin' };
const FOREIGN = { identity: 'spiffe://other.example/ns/shop/sa/web' };
const NOBODY = { identity: '' };
const OUTSIDE = { sourceAddress: '192.0.2.7', remoteAddress: '192.0.2.7' };
const V6 = { sourceAddress: '2001:db8::7', remoteAddress: '2001:db8::7', destinationAddress: '2001:db8::1' };
const USER = bearing({ iss: 'https://idp/tenant', sub: 'ann', azp: 'app1', groups: ['dev', 'ops'], realm: { role: 'writer' }, level: 3 }, { audiences: ['shop', 'bank'] });
const OTHER_USER = bearing({ iss: 'https://idp', sub: 'tenant/ann', groups: ['guest'] }, { audiences: ['mail'] });

const TABLE: readonly Row[] = [
  { rule: source('principals: [cluster.local/ns/shop/sa/web]'), takes: [{}], leaves: [ADMIN, FOREIGN, NOBODY] },
  { rule: source('principals: ["cluster.local/ns/shop/*"]'), takes: [{}], leaves: [ADMIN, FOREIGN, NOBODY] },
  { rule: source('principals: ["*/sa/web"]'), takes: [{}, FOREIGN], leaves: [ADMIN, NOBODY] },
  { rule: source('principals: ["*"]'), takes: [{}, ADMIN, FOREIGN], leaves: [NOBODY] },
  { rule: source('notPrincipals: [cluster.local/ns/shop/sa/web]'), takes: [ADMIN, FOREIGN, NOBODY], leaves: [{}] },
  { rule: source('notPrincipals: ["*"]'), takes: [NOBODY], leaves: [{}, ADMIN] },
  { rule: source('namespaces: [shop]'), takes: [{}, FOREIGN], leaves: [ADMIN, NOBODY] },
  { rule: source('namespaces: ["o*", "*s"]'), takes: [ADMIN], leaves: [{}, NOBODY] },
  { rule: source('notNamespaces: [shop]'), takes: [ADMIN, NOBODY], leaves: [{}, FOREIGN] },
  { rule: source('serviceAccounts: [shop/web]'), takes: [{}], leaves: [ADMIN, NOBODY, { identity: 'spiffe://cluster.local/ns/other/sa/web' }] },
  { rule: source('serviceAccounts: [web]'), takes: [{}], leaves: [ADMIN, NOBODY, { identity: 'spiffe://cluster.local/ns/other/sa/web' }] },
  { rule: source('notServiceAccounts: [web]'), takes: [ADMIN, NOBODY], leaves: [{}] },
  { rule: source('trustDomains: [cluster.local]'), takes: [{}, ADMIN], leaves: [FOREIGN, NOBODY] },
  { rule: source('trustDomains: ["*.example"]'), takes: [FOREIGN], leaves: [{}, NOBODY] },
  { rule: source('notTrustDomains: [cluster.local]'), takes: [FOREIGN, NOBODY], leaves: [{}] },
  { rule: source('ipBlocks: [10.244.0.0/16]'), takes: [{}, { sourceAddress: '::ffff:10.244.1.1' }], leaves: [OUTSIDE, V6] },
  { rule: source('ipBlocks: [192.0.2.7, "2001:db8::/32"]'), takes: [OUTSIDE, V6], leaves: [{}, { sourceAddress: '192.0.2.8' }] },
  { rule: source('notIpBlocks: [10.244.0.0/16]'), takes: [OUTSIDE, V6], leaves: [{}] },
  { rule: source('remoteIpBlocks: [203.0.113.0/24]'), takes: [{ remoteAddress: '203.0.113.5' }], leaves: [{}, { sourceAddress: '203.0.113.5' }] },
  { rule: source('notRemoteIpBlocks: [203.0.113.0/24]'), takes: [{}], leaves: [{ remoteAddress: '203.0.113.5' }] },
  { rule: source('requestPrincipals: [https://idp/tenant/ann]'), takes: [USER], leaves: [{}, OTHER_USER], httpOnly: true },
  { rule: source('requestPrincipals: ["https://idp/tenant/*"]'), takes: [USER], leaves: [{}, OTHER_USER], httpOnly: true },
  { rule: source('requestPrincipals: ["*/ann"]'), takes: [USER], leaves: [{}, OTHER_USER], httpOnly: true },
  { rule: source('requestPrincipals: ["*"]'), takes: [USER, OTHER_USER], leaves: [{}, bearing({ iss: 'https://idp' })], httpOnly: true },
  { rule: source('notRequestPrincipals: ["*"]'), takes: [{}], leaves: [USER, OTHER_USER], httpOnly: true },
  { rule: operation('hosts: [cart]'), takes: [{}, { host: 'CART' }, { host: 'cart:8080' }, { host: 'Cart.' }], leaves: [{ host: 'cart2' }], httpOnly: true },
  { rule: operation('hosts: ["*.Example.com"]'), takes: [{ host: 'a.example.COM' }, { host: 'a.example.com:80' }], leaves: [{}, { host: 'example.com' }], httpOnly: true },
  { rule: operation('notHosts: [cart]'), takes: [{ host: 'web' }], leaves: [{}, { host: 'CART:80' }], httpOnly: true },
  { rule: operation('ports: ["9080"]'), takes: [{}], leaves: [{ destinationPort: 9081 }] },
  { rule: operation('notPorts: ["9080"]'), takes: [{ destinationPort: 9081 }], leaves: [{}] },
  { rule: operation('methods: [GET]'), takes: [{}], leaves: [{ method: 'POST' }, { method: 'get' }], httpOnly: true },
  { rule: operation('methods: ["P*"]'), takes: [{ method: 'POST' }, { method: 'PUT' }], leaves: [{}], httpOnly: true },
  { rule: operation('notMethods: [GET]'), takes: [{ method: 'POST' }], leaves: [{}], httpOnly: true },
  { rule: operation('paths: [/items]'), takes: [{}, { path: '/items?x=1' }], leaves: [{ path: '/items/' }, { path: '/Items' }], httpOnly: true },
  { rule: operation('paths: ["/items*", "*.png"]'), takes: [{}, { path: '/items/1' }, { path: '/a.png' }], leaves: [{ path: '/a' }], httpOnly: true },
  { rule: operation('paths: ["/items/{*}/parts"]'), takes: [{ path: '/items/1/parts' }], leaves: [{ path: '/items//parts' }, { path: '/items/1/2/parts' }, { path: '/items/1/parts/3' }], httpOnly: true },
  { rule: operation('paths: ["/items/{**}"]'), takes: [{ path: '/items/' }, { path: '/items/1/2' }], leaves: [{}, { path: '/item/1' }], httpOnly: true },
  { rule: operation('paths: ["/{**}/parts"]'), takes: [{ path: '/a/b/parts' }], leaves: [{ path: '/a/parts/b' }], httpOnly: true },
  { rule: operation('notPaths: ["/admin*"]'), takes: [{}], leaves: [{ path: '/admin/x' }], httpOnly: true },
  { rule: operation('methods: [GET], paths: [/items]'), takes: [{}], leaves: [{ method: 'POST' }, { path: '/other' }], httpOnly: true },
  { rule: when('key: "request.headers[X-Version]", values: [canary]'), takes: [{ headers: { 'x-version': 'canary' } }], leaves: [{}, { headers: { 'x-version': 'v1' } }, { headers: { 'x-version': 'canary, v1' } }], httpOnly: true },
  { rule: when('key: "request.headers[x-version]", values: ["*"]'), takes: [{ headers: { 'x-version': 'a' } }], leaves: [{}, { headers: { 'x-version': '' } }], httpOnly: true },
  { rule: when('key: "request.headers[x-version]", notValues: [canary]'), takes: [{}, { headers: { 'x-version': 'v1' } }], leaves: [{ headers: { 'x-version': 'canary' } }], httpOnly: true },
  { rule: when('key: source.ip, values: [10.244.4.9]'), takes: [{}], leaves: [OUTSIDE] },
  { rule: when('key: source.ip, notValues: [10.244.4.9]'), takes: [OUTSIDE], leaves: [{}] },
  { rule: when('key: remote.ip, values: ["2001:db8::/64"]'), takes: [V6], leaves: [{}] },
  { rule: when('key: remote.ip, notValues: ["2001:db8::/64"]'), takes: [{}], leaves: [V6] },
  { rule: when('key: source.namespace, values: [shop]'), takes: [{}], leaves: [ADMIN, NOBODY] },
  { rule: when('key: source.namespace, notValues: [shop]'), takes: [ADMIN, NOBODY], leaves: [{}] },
  { rule: when('key: source.principal, values: ["*/sa/admin"]'), takes: [ADMIN], leaves: [{}, NOBODY] },
  { rule: when('key: source.principal, notValues: ["*/sa/admin"]'), takes: [{}, NOBODY], leaves: [ADMIN] },
  { rule: when('key: source.serviceAccount, values: [ops/admin]'), takes: [ADMIN], leaves: [{}, NOBODY] },
  { rule: when('key: source.serviceAccount, notValues: [ops/admin]'), takes: [{}, NOBODY], leaves: [ADMIN] },
  { rule: when('key: source.trustDomain, values: [other.example]'), takes: [FOREIGN], leaves: [{}, NOBODY] },
  { rule: when('key: source.trustDomain, notValues: [other.example]'), takes: [{}, NOBODY], leaves: [FOREIGN] },
  { rule: when('key: request.auth.principal, values: ["*/ann"]'), takes: [USER], leaves: [{}, OTHER_USER], httpOnly: true },
  { rule: when('key: request.auth.principal, notValues: ["*/ann"]'), takes: [{}, OTHER_USER], leaves: [USER], httpOnly: true },
  { rule: when('key: request.auth.audiences, values: [bank]'), takes: [USER], leaves: [{}, OTHER_USER], httpOnly: true },
  { rule: when('key: request.auth.audiences, notValues: [bank]'), takes: [{}, OTHER_USER], leaves: [USER], httpOnly: true },
  { rule: when('key: request.auth.presenter, values: ["app*"]'), takes: [USER], leaves: [{}, OTHER_USER], httpOnly: true },
  { rule: when('key: request.auth.presenter, notValues: ["app*"]'), takes: [{}, OTHER_USER], leaves: [USER], httpOnly: true },
  { rule: when('key: "request.auth.claims[groups]", values: [ops]'), takes: [USER], leaves: [{}, OTHER_USER], httpOnly: true },
  { rule: when('key: "request.auth.claims[groups]", notValues: [ops]'), takes: [{}, OTHER_USER], leaves: [USER], httpOnly: true },
  { rule: when('key: "request.auth.claims[realm][role]", values: [writer]'), takes: [USER], leaves: [{}, OTHER_USER], httpOnly: true },
  { rule: when('key: "request.auth.claims[level]", values: ["3", "*"]'), takes: [], leaves: [{}, USER], httpOnly: true },
  { rule: when('key: "request.auth.claims[constructor]", values: ["*"]'), takes: [], leaves: [USER], httpOnly: true },
  { rule: when('key: destination.ip, values: [10.244.4.0/24]'), takes: [{}], leaves: [V6] },
  { rule: when('key: destination.ip, notValues: [10.244.4.0/24]'), takes: [V6], leaves: [{}] },
  { rule: when('key: destination.port, values: ["9080"]'), takes: [{}], leaves: [{ destinationPort: 1 }] },
  { rule: when('key: destination.port, notValues: ["9080"]'), takes: [{ destinationPort: 1 }], leaves: [{}] },
  { rule: when('key: connection.sni, values: ["*.example.com"]'), takes: [{ sni: 'a.example.com' }], leaves: [{}, { sni: 'example.com' }] },
  { rule: when('key: connection.sni, notValues: ["*.example.com"]'), takes: [{}], leaves: [{ sni: 'a.example.com' }] },
  { rule: when('key: source.namespace, values: ["*"], notValues: [shop]'), takes: [ADMIN], leaves: [{}, NOBODY] },
  { rule: '[{}]', takes: [{}, NOBODY, OUTSIDE], leaves: [] },
  { rule: '[{from: [{source: {namespaces: [ops]}}, {source: {principals: [cluster.local/ns/shop/sa/web]}}], to: [{operation: {ports: ["1"]}}, {operation: {ports: ["9080"]}}]}]', takes: [{}, ADMIN], leaves: [NOBODY, { destinationPort: 2 }] },
  { rule: '[{from: [{source: {namespaces: [ops]}}]}, {from: [{source: {namespaces: [shop]}}]}]', takes: [{}, ADMIN], leaves: [NOBODY] },
];

/** The same, without what only HTTP has. */
function opaque(change: Http): AuthorizationRequest {
  const { method: _method, host: _host, path: _path, headers: _headers, authentication: _authentication, ...rest } = change as NonNullable<Http>;
  return connection(rest);
}

describe.each(TABLE)('$rule', ({ rule, takes, leaves, httpOnly = false }) => {
  const allow = policiesOf(policy('ALLOW', rule));
  const deny = policiesOf(policy('DENY', rule));
  const audit = policiesOf(policy('AUDIT', rule));

  it('decides on requests: what it takes is allowed, refused or noted, and nothing else', () => {
    for (const [requests, taken] of [[takes, true], [leaves, false]] as const) {
      for (const request of requests) {
        const told = JSON.stringify(request);
        expect(authorize(allow, http(request)).allowed, told).toBe(taken);
        expect(authorize(deny, http(request)).allowed, told).toBe(!taken);
        const noted = authorize(audit, http(request));
        expect([noted.allowed, noted.audited.length], told).toEqual([true, taken ? 1 : 0]);
      }
    }
  });

  it(httpOnly ? 'allows no opaque connection, and as DENY ignores what only HTTP has' : 'decides on opaque connections alike', () => {
    for (const [requests, taken] of [[takes, true], [leaves, false]] as const) {
      for (const request of requests) {
        const told = JSON.stringify(request);
        expect(authorize(allow, opaque(request)).allowed, told).toBe(!httpOnly && taken);
        expect(authorize(deny, opaque(request)).allowed, told).toBe(!httpOnly && !taken);
        expect(authorize(audit, opaque(request)).audited.length, told).toBe(httpOnly || taken ? 1 : 0);
      }
    }
  });
});

describe('action and match', () => {
  const everything = '[{}]';
  const get = operation('methods: [GET]');
  const post = operation('methods: [POST]');

  it.each([
    { policies: [], allowed: true, reason: 'open' },
    { policies: [policy('ALLOW', get)], allowed: true, reason: 'allowed' },
    { policies: [policy('ALLOW', post)], allowed: false, reason: 'no match' },
    { policies: [policy('ALLOW', '[]')], allowed: false, reason: 'no match' },
    { policies: [policy('ALLOW', post), policy('ALLOW', get)], allowed: true, reason: 'allowed' },
    { policies: [policy('DENY', get)], allowed: false, reason: 'denied' },
    { policies: [policy('DENY', post)], allowed: true, reason: 'open' },
    { policies: [policy('DENY', post), policy('DENY', get)], allowed: false, reason: 'denied' },
    { policies: [policy('ALLOW', everything), policy('DENY', get)], allowed: false, reason: 'denied' },
    { policies: [policy('ALLOW', get), policy('DENY', post)], allowed: true, reason: 'allowed' },
    { policies: [policy('AUDIT', everything)], allowed: true, reason: 'open' },
    { policies: [policy('CUSTOM', get, { more: ', provider: {name: nobody}' })], allowed: false, reason: 'no provider' },
    { policies: [policy('CUSTOM', post, { more: ', provider: {name: nobody}' })], allowed: true, reason: 'open' },
    { policies: [policy('ALLOW', get), policy('CUSTOM', get, { more: ', provider: {name: nobody}' })], allowed: false, reason: 'no provider' },
  ])('$policies.length policies: $reason', ({ policies, allowed, reason }) => {
    expect(authorize(policiesOf(...policies), http())).toMatchObject({ allowed, reason });
  });

  it('names the policy and the rule that decided', () => {
    const policies = policiesOf(policy('DENY', '[{to: [{operation: {paths: [/a]}}]}, {to: [{operation: {methods: [GET]}}]}]', { name: 'no-get' }));
    expect(authorize(policies, http())).toMatchObject({ policy: 'AuthorizationPolicy shop/no-get', rule: 1 });
  });
});

describe('whose policies', () => {
  it('of the root namespace and of the workload\'s own, by selector', () => {
    const select = (labels: string): { more: string } => ({ more: `, selector: {matchLabels: ${labels}}` });
    const policies = policiesOf(
      policy('DENY', '[{}]', { name: 'root', namespace: 'istio-system' }),
      policy('DENY', '[{}]', { name: 'own' }),
      policy('DENY', '[{}]', { name: 'selected', ...select('{app: cart}') }),
      policy('DENY', '[{}]', { name: 'root-selected', namespace: 'istio-system', ...select('{app: cart, version: v1}') }),
      policy('DENY', '[{}]', { name: 'others', ...select('{app: web}') }),
      policy('DENY', '[{}]', { name: 'elsewhere', namespace: 'ops' }),
    );
    expect(policies.deny.map(({ origin }) => origin.split('/')[1])).toEqual(['own', 'root', 'root-selected', 'selected']);
  });

  it('of a Service that the workload is behind', () => {
    const policies = policiesOf(
      policy('DENY', '[{}]', { name: 'cart', more: ', targetRefs: [{kind: Service, name: cart}]' }),
      policy('DENY', '[{}]', { name: 'web', more: ', targetRefs: [{kind: Service, name: web}]' }),
    );
    expect(policies.deny.map(({ origin }) => origin)).toEqual(['AuthorizationPolicy shop/cart']);
  });
});

describe('trust domains', () => {
  const config = `apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "{trustDomain: new.example, trustDomainAliases: [old.example]}"}
---
`;

  it.each(['cluster.local', 'new.example', 'old.example', '*.example'])('a principal of %s is one of the mesh, by each of its names', (domain) => {
    const policies = policiesOf(config, policy('ALLOW', source(`principals: ["${domain}/ns/shop/sa/web"]`)));
    for (const [own, allowed] of [['new.example', true], ['old.example', true], ['third.test', false]] as const) {
      expect(authorize(policies, http({ identity: `spiffe://${own}/ns/shop/sa/web` })).allowed, own).toBe(allowed);
    }
  });

  it('a principal of another mesh is nobody of ours', () => {
    const policies = policiesOf(config, policy('ALLOW', source('principals: [third.test/ns/shop/sa/web]')));
    expect(authorize(policies, http({ identity: 'spiffe://new.example/ns/shop/sa/web' })).allowed).toBe(false);
    expect(authorize(policies, http({ identity: 'spiffe://third.test/ns/shop/sa/web' })).allowed).toBe(true);
  });
});

describe('an attribute that is not known', () => {
  const rule = when('key: experimental.envoy.filters.a.b, values: [x]');

  it('makes its rule take nothing, and no other', () => {
    expect(authorize(policiesOf(policy('ALLOW', rule)), http()).allowed).toBe(false);
    expect(authorize(policiesOf(policy('DENY', rule)), http()).allowed).toBe(true);
    expect(authorize(policiesOf(policy('DENY', `${rule.slice(0, -1)}, {}]`)), http())).toMatchObject({ allowed: false, rule: 1 });
  });
});

describe('dry-run', () => {
  const annotations = '{"istio.io/dry-run": "true"}';

  it('decides nothing, and says what it would', () => {
    const policies = policiesOf(policy('DENY', '[{}]', { name: 'd', annotations }), policy('ALLOW', operation('methods: [POST]'), { name: 'a', annotations }));
    expect(authorize(policies, http())).toMatchObject({ allowed: true, reason: 'open', dryRun: [{ policy: 'AuthorizationPolicy shop/a', rule: -1, result: 'denied' }, { policy: 'AuthorizationPolicy shop/d', rule: 0, result: 'denied' }] });
    expect(authorize(policies, http({ method: 'POST' })).dryRun).toMatchObject([{ policy: 'AuthorizationPolicy shop/a', rule: 0, result: 'allowed' }, { result: 'denied' }]);
  });

  it('is not for AUDIT', () => {
    expect(authorize(policiesOf(policy('AUDIT', '[{}]', { annotations })), http()).audited).toHaveLength(1);
  });
});

describe('CUSTOM', () => {
  const config = `apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - name: one
      envoyExtAuthzHttp: {service: cart.shop.svc.cluster.local, port: 9080, includeHeadersInCheck: [X-Old], headersToDownstreamOnDeny: [X-*], statusOnError: "503"}
    - name: two
      envoyExtAuthzGrpc: {service: ext/missing.example.com, port: 9000, timeout: 2s, failOpen: true}
    - {name: traces, zipkin: {}}
---
`;
  const ask = (provider: string, rules = '[{}]'): string => policy('CUSTOM', rules, { more: `, provider: {name: ${provider}}` });

  it('names whom to ask, defaults filled in', () => {
    const verdict = authorize(policiesOf(config, ask('one')), http());
    expect(verdict).toMatchObject({ allowed: true, custom: { rule: 0, provider: { name: 'one', kind: 'http', cluster: 'outbound|9080||cart.shop.svc.cluster.local', timeoutMs: 600_000, statusOnError: 503, failOpen: false } } });
    expect(verdict.custom?.provider).toMatchObject({ includeRequestHeadersInCheck: ['x-old'], headersToDownstreamOnDeny: ['x-*'], includeRequestBodyInCheck: undefined });
  });

  it('knows when the service of a provider is not there', () => {
    expect(authorize(policiesOf(config, ask('two')), http()).custom?.provider).toMatchObject({ kind: 'grpc', cluster: undefined, timeoutMs: 2000, failOpen: true, statusOnError: 403 });
  });

  it.each([['unknown', [ask('three')]], ['for something else', [ask('traces')]], ['not the only one', [ask('one'), ask('two', operation('methods: [POST]'))]]])('refuses what it takes when the provider is %s', (_, policies) => {
    expect(authorize(policiesOf(config, ...policies), http())).toMatchObject({ allowed: false, reason: 'no provider', custom: undefined });
  });

  it('may be asked by several policies', () => {
    expect(authorize(policiesOf(config, ask('one'), ask('one')), http()).custom?.provider.name).toBe('one');
  });

  it('does not save what DENY refuses', () => {
    expect(authorize(policiesOf(config, ask('one'), policy('DENY', '[{}]')), http())).toMatchObject({ allowed: false, reason: 'denied', custom: { provider: { name: 'one' } } });
  });
});

describe('many values', () => {
  it('are looked up, and the right one is found', () => {
    const values = Array.from({ length: 5000 }, (_, i) => `cluster.local/ns/n${i}/sa/web`);
    const policies = policiesOf(policy('ALLOW', JSON.stringify([{ from: [{ source: { principals: values } }] }])));
    expect(authorize(policies, http({ identity: 'spiffe://cluster.local/ns/n4999/sa/web' })).allowed).toBe(true);
    expect(authorize(policies, http({ identity: WEB })).allowed).toBe(false);
  });
});
