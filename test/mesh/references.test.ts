/** What rules name, and what two of them claim. */
import { describe, expect, it } from 'vitest';
import { renderProblem } from '../../src/mesh/problem.ts';
import { application, request, routeOf, shares, snapshotOf, tableOf } from './world.ts';

const APP = application('shop', ['cart', 'web'], ['v1', 'v2']);

function rule(name: string, spec: string, meta = ''): string {
  return `---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ${name}, namespace: shop${meta}}\nspec: ${spec}\n`;
}

function told(yaml: string): string[] {
  return snapshotOf({ 'app.yaml': APP, 'rules.yaml': yaml }).problems.map(renderProblem);
}

describe('what a rule names', () => {
  it('is found under a short name in the namespace of the rule, and under a full name anywhere', () => {
    expect(told(rule('a', '{hosts: [cart], http: [{route: [{destination: {host: cart}}]}]}'))).toEqual([]);
    expect(told(rule('a', '{hosts: [cart], http: [{route: [{destination: {host: cart.shop.svc.cluster.local}}]}]}'))).toEqual([]);
    const elsewhere = rule('a', '{hosts: [cart.example.com], http: [{route: [{destination: {host: cart}}]}]}').replace('namespace: shop', 'namespace: other');
    expect(told(elsewhere)).toEqual([
      'rules.yaml:5: error [IST0101] VirtualService other/a spec.http[0].route[0].destination.host: there is no service "cart.other.svc.cluster.local" → create the Service or a ServiceEntry, or correct the name; until then the route answers 503 NC',
    ]);
  });

  it('may be the host of a ServiceEntry, also under a wildcard', () => {
    const entry = '---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: shop}\nspec: {hosts: [api.example.com, "*.example.net"], ports: [{number: 80, name: http}]}\n';
    for (const host of ['api.example.com', 'a.example.net']) {
      expect(told(entry + rule('a', `{hosts: [${host}], http: [{route: [{destination: {host: ${host}}}]}]}`)), host).toEqual([]);
    }
    expect(told(entry + rule('a', '{hosts: [example.net], http: [{route: [{destination: {host: example.net}}]}]}'))).toHaveLength(1);
  });

  it('may be a subset of any DestinationRule that covers the host', () => {
    const subsets = '---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d, namespace: shop}\nspec: {host: "*.shop.svc.cluster.local", subsets: [{name: v1, labels: {version: v1}}]}\n';
    expect(told(subsets + rule('a', '{hosts: [cart], http: [{route: [{destination: {host: cart, subset: v1}}]}]}'))).toEqual([]);
    expect(told(subsets + rule('a', '{hosts: [cart], http: [{route: [{destination: {host: cart, subset: v3}}]}]}'))).toEqual([
      'rules.yaml:10: error [IST0101] VirtualService shop/a spec.http[0].route[0].destination.subset: unknown subset "v3" → there are v1; add it to the DestinationRule',
    ]);
  });

  it('is looked for in tcp and tls routes too', () => {
    expect(told(rule('a', '{hosts: [cart], tcp: [{match: [{port: 9080, gateways: [edge]}], route: [{destination: {host: nowhere}}]}]}')).map((line) => line.split(': there is')[0])).toEqual([
      'rules.yaml:5: error [IST0101] VirtualService shop/a spec.tcp[0].match[0].gateways[0]',
      'rules.yaml:5: error [IST0101] VirtualService shop/a spec.tcp[0].route[0].destination.host',
    ]);
  });

  it('gateways: by name, by ./name and by namespace/name', () => {
    const gateway = '---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: shop}\nspec: {servers: [{port: {number: 80, protocol: HTTP, name: http}, hosts: ["*"]}]}\n';
    for (const name of ['edge', './edge', 'shop/edge', 'mesh']) {
      expect(told(gateway + rule('a', `{hosts: [cart], gateways: [${name}], http: [{route: [{destination: {host: cart}}]}]}`)).filter((line) => line.includes('error')), name).toEqual([]);
    }
  });
});

describe('a host that two rules claim', () => {
  const first = rule('b', '{hosts: [cart], http: [{route: [{destination: {host: web}}]}]}', ', creationTimestamp: "2025-01-01T00:00:00Z"');
  const second = rule('a', '{hosts: [web, cart.shop.svc.cluster.local], http: [{route: [{destination: {host: cart}}]}]}', ', creationTimestamp: "2026-01-01T00:00:00Z"');

  it('belongs to the older one, which the author of the other is told', () => {
    const snapshot = snapshotOf({ 'app.yaml': APP, 'rules.yaml': second + first });
    expect(snapshot.problems.map(renderProblem)).toEqual([
      'rules.yaml:5: warning [IST0109] VirtualService shop/a spec.hosts[1]: "cart.shop.svc.cluster.local" already belongs to VirtualService shop/b (rules.yaml:7), so these routes get no traffic from the mesh → merge the two, or use delegates',
    ]);
    const table = tableOf(snapshot, 'shop/web-v1');
    expect(shares(routeOf(table, request('cart')))).toEqual({ 'outbound|9080||web.shop.svc.cluster.local': 1 });
    expect(shares(routeOf(table, request('web')))).toEqual({ 'outbound|9080||cart.shop.svc.cluster.local': 1 });
  });

  it('may belong to both where no client sees both', () => {
    const other = second.replace('namespace: shop', 'namespace: other').replace('hosts: [web, ', 'exportTo: ["."], hosts: [').replace('host: cart}', 'host: cart.shop.svc.cluster.local}');
    const here = first.replace('hosts: [cart]', 'exportTo: ["."], hosts: [cart]');
    expect(told(here + other)).toEqual([]);
  });

  it('may belong to a gateway as well', () => {
    const gateway = '---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: shop}\nspec: {servers: [{port: {number: 80, protocol: HTTP, name: http}, hosts: ["*"]}]}\n';
    expect(told(gateway + first + second.replace('hosts: [web, ', 'gateways: [edge], hosts: [')).filter((line) => line.includes('IST0109'))).toEqual([]);
  });
});
