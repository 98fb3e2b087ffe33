/** What would become of a request from outside. */
import { describe, expect, it } from 'vitest';
import { explain } from '../../../src/mesh/explain.ts';
import type { Explanation } from '../../../src/mesh/explain.ts';
import { application, snapshotOf } from '../world.ts';
import { gatewayApi } from './world.ts';

const APP = application('shop', ['cart', 'web']);
const CLASS = 'apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: orlop}\nspec: {controllerName: orlop.io/gateway-controller}\n';
const LISTENERS = '{name: http, port: 80, protocol: HTTP}, {name: https, port: 443, protocol: HTTPS, hostname: a.org, tls: {certificateRefs: [{name: c}]}}, {name: tcp, port: 5432, protocol: TCP}';
const DOOR = gatewayApi('Gateway', 'door', `{gatewayClassName: orlop, listeners: [${LISTENERS}]}`)
  + gatewayApi('HTTPRoute', 'r', '{parentRefs: [{name: door}], rules: [{matches: [{path: {value: /cart}}], backendRefs: [{name: cart, port: 9080}, {name: nobody, port: 1}]}, {matches: [{path: {value: /old}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: b.org}}]}]}')
  + gatewayApi('TCPRoute', 't', '{parentRefs: [{name: door}], rules: [{backendRefs: [{name: web, port: 9080}]}]}');
const DENY = '---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: no-admin, namespace: shop}\nspec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: door}], action: DENY, rules: [{to: [{operation: {paths: [/cart/admin]}}]}]}\n';

function ask(to: string, path = '/cart', more = '', from = 'gateway/shop/door'): Explanation | string {
  return explain(snapshotOf({ 'app.yaml': APP, 'class.yaml': CLASS, 'g.yaml': DOOR + more }), { from, to, method: 'GET', path, headers: new Map() });
}

describe('a request from outside', () => {
  it('is explained as far as the pods that the gateway sends it to', () => {
    expect(ask('a.org:80')).toMatchObject({
      client: 'gateway/shop/door', identity: 'spiffe://cluster.local/ns/shop/sa/door-orlop', to: 'a.org:80', protocol: 'http', route: 'HTTPRoute shop/r rules[0]', answer: '500 for 50 %: there is no Service shop/nobody',
      targets: [{ cluster: 'outbound|9080||cart.shop.svc.cluster.local', share: 50, endpoints: [{ workload: 'shop/cart-v1', kind: 'hbone', allowed: true }] }],
    });
    expect(ask('a.org:443')).toMatchObject({ route: 'HTTPRoute shop/r rules[0]' });
    expect(ask('any.org:5432')).toMatchObject({ protocol: 'tcp', route: 'TCPRoute shop/t rules[0]' });
  });

  it('may be answered by the gateway', () => {
    const answer = (...asked: Parameters<typeof ask>): unknown => (ask(...asked) as Explanation).answer;
    expect(answer('a.org', '/old')).toBe('redirect 302');
    expect(answer('a.org', '/none')).toBe('404 NR: no route of *:80 takes it');
    expect(answer('b.org:443')).toBe('no server of port 443 has the name b.org: the handshake fails');
    expect(answer('a.org', '/cart/admin', DENY)).toBe('403: AuthorizationPolicy shop/no-admin rules[0] of the gateway');
  });

  it('to what there is not is told so', () => {
    expect(ask('a.org:81')).toBe('the gateway has no port 81; it has 80, 443, 5432');
    expect(ask('a.org', '/', '', 'gateway/shop/window')).toBe('Orlop serves no gateway shop/window; there is gateway/shop/door');
  });
});
