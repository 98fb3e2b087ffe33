/** What authors of gateways and routes are told, and where. */
import { describe, expect, it } from 'vitest';
import { istio } from '../compile/istio.ts';
import { application, snapshotOf } from '../world.ts';
import { gatewayApi } from './world.ts';

const APP = `${application('shop', ['cart', 'web'])}---${application('other', ['client'])}`;
const CLASS = 'apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: orlop}\nspec: {controllerName: orlop.io/gateway-controller}\n';
const HTTP = '{name: http, port: 80, protocol: HTTP}';
const gateway = (listeners: string, more = ''): string => gatewayApi('Gateway', 'door', `{gatewayClassName: orlop, listeners: [${listeners}]${more}}`);
const CART = 'rules: [{backendRefs: [{name: cart, port: 9080}]}]';
const route = (spec: string, namespace = 'shop'): string => gatewayApi('HTTPRoute', 'r', `{${spec}}`, { namespace });

function told(documents: string): string[] {
  return snapshotOf({ 'app.yaml': APP, 'class.yaml': CLASS, 'g.yaml': documents }).problems.map(({ severity, code, object, field, message }) => `${severity} ${code} ${object} ${field}: ${message}`);
}

describe('of Gateway API objects', () => {
  it('nothing, where nothing is wrong', () => {
    expect(told(gateway(HTTP) + route(`parentRefs: [{name: door}, {group: "", kind: Service, name: cart}], ${CART}`))).toEqual([]);
  });

  it.each([
    ['a class that there is not', gatewayApi('Gateway', 'door', `{gatewayClassName: nope, listeners: [${HTTP}]}`), 'warning IST0101 Gateway shop/door spec.gatewayClassName: there is no GatewayClass nope'],
    ['listeners in conflict', gateway(`${HTTP}, {name: b, port: 80, protocol: TCP}`), 'warning IST0109 Gateway shop/door spec.listeners[0]: port 80 is TCP for Gateway shop/door listener b, and cannot be HTTP too (ProtocolConflict)'],
    ['a protocol that is not spoken', gateway(`${HTTP}, {name: b, port: 53, protocol: UDP}`), 'warning ORLOP026 Gateway shop/door spec.listeners[1]: protocol UDP is not honoured; these are: HTTP, HTTPS, TLS, TCP (UnsupportedProtocol)'],
    ['a certificate that may not be named', gateway('{name: s, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c, namespace: other}]}}'), 'warning IST0101 Gateway shop/door spec.listeners[0]: no ReferenceGrant in other lets a Gateway of shop name Secret c (RefNotPermitted)'],
    ['a ListenerSet that is not let', gateway(HTTP) + gatewayApi('ListenerSet', 's', `{parentRef: {name: door}, listeners: [${HTTP}]}`), 'warning ORLOP026 ListenerSet shop/s spec.parentRef: Gateway shop/door does not let it add listeners'],
    ['a route without a parent', route(CART), 'warning ORLOP026 HTTPRoute shop/r spec: there are no parentRefs, so nothing takes the route'],
    ['a parent that there is not', route(`parentRefs: [{name: nope}], ${CART}`), 'warning IST0101 HTTPRoute shop/r spec.parentRefs[0]: there is no Gateway shop/nope'],
    ['a parent that does not let it', gateway(HTTP) + route(`parentRefs: [{name: door, namespace: shop}], ${CART.replace('cart', 'client')}`, 'other'), 'warning ORLOP026 HTTPRoute other/r spec.parentRefs[0]: no listener of Gateway shop/door that is meant allows a HTTPRoute of namespace other (NotAllowedByListeners)'],
    ['a Service that there is not', route(`parentRefs: [{group: "", kind: Service, name: nope}], ${CART}`), 'warning IST0101 HTTPRoute shop/r spec.parentRefs[0]: there is no Service shop/nope (NoMatchingParent)'],
    ['hosts that the mesh does not look at', route(`parentRefs: [{group: "", kind: Service, name: cart}], hostnames: [a.org], ${CART}`), 'warning ORLOP026 HTTPRoute shop/r spec.hostnames: whoever calls the Service takes the route, whatever host is asked for'],
    ['a backend that there is not', gateway(HTTP) + route('parentRefs: [{name: door}], rules: [{backendRefs: [{name: nope, port: 1}]}]'), 'warning IST0101 HTTPRoute shop/r spec.rules[0].backendRefs[0]: there is no Service shop/nope (BackendNotFound)'],
    ['a policy without authorities', gatewayApi('BackendTLSPolicy', 'p', '{targetRefs: [{group: "", kind: Service, name: cart}], validation: {hostname: x, caCertificateRefs: [{group: x.io, kind: Vault, name: v}]}}'), 'warning ORLOP026 BackendTLSPolicy shop/p spec.validation: authorities of kind Vault.x.io are not honoured; name a ConfigMap'],
  ])('%s', (_, documents, expected) => {
    expect(told(documents)).toContain(expected);
  });

  it.each([
    ['a path that is none', 'matches: [{path: {value: a}}]', 'spec.rules[0].matches[0].path.value'],
    ['an expression that is not RE2', 'matches: [{path: {type: RegularExpression, value: "(?=a)"}}]', 'spec.rules[0].matches[0].path.value'],
    ['a filter without its field', 'filters: [{type: URLRewrite}]', 'spec.rules[0].filters[0]'],
    ['filters that exclude each other', 'filters: [{type: URLRewrite, urlRewrite: {hostname: a.b}}, {type: RequestRedirect, requestRedirect: {hostname: a.b}}]', 'spec.rules[0].filters'],
    ['a status that is no redirect', 'filters: [{type: RequestRedirect, requestRedirect: {statusCode: 304}}]', 'spec.rules[0].filters[0].requestRedirect.statusCode'],
    ['a prefix that is not known', 'matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]', 'spec.rules[0]'],
    ['a backend without a port', 'backendRefs: [{name: cart}]', 'spec.rules[0].backendRefs[0]'],
    ['a try that is longer than the whole', 'timeouts: {request: 1s, backendRequest: 2s}', 'spec.rules[0].timeouts.backendRequest'],
    ['a field that there is not', 'matchs: []', 'spec.rules[0].matchs'],
  ])('%s is an error', (_, rule, field) => {
    const problems = snapshotOf({ 'app.yaml': APP, 'g.yaml': route(`parentRefs: [{group: "", kind: Service, name: cart}], rules: [{${rule}}]`) }).problems.filter(({ severity }) => severity === 'error');
    expect(problems.map((one) => one.field)).toEqual([field]);
  });
});

describe('of Istio\'s objects', () => {
  const server = (more: string): string => `{port: {number: 443, protocol: HTTPS, name: s}, hosts: ["*"], ${more}}`;

  it('that a VirtualService is overruled by a route of the Gateway API', () => {
    const both = istio('VirtualService', 'old', '{hosts: [cart], http: [{route: [{destination: {host: cart}}]}]}') + route(`parentRefs: [{group: "", kind: Service, name: cart}], ${CART}`);
    expect(told(both)).toEqual(['warning IST0109 VirtualService shop/old spec.hosts[0]: HTTPRoute shop/r is for the Service "cart" too, and on its ports these routes get no traffic from the mesh']);
  });

  it('that a Gateway selects pods, so that the nodes do not serve it', () => {
    expect(told(istio('Gateway', 'g', `{selector: {app: cart}, servers: [{port: {number: 80, protocol: HTTP, name: h}, hosts: ["*"]}]}`))).toEqual(['warning ORLOP026 Gateway.networking.istio.io shop/g spec.selector: it selects pods (shop/cart-v1 is one), so they are to serve it, and the nodes do not']);
  });

  it('that an older Gateway has a port or a host', () => {
    const tls = (name: string): string => istio('Gateway', name, `{servers: [${server('tls: {mode: SIMPLE, credentialName: c}')}]}`);
    expect(told(tls('a') + tls('b'))).toEqual(['warning IST0109 Gateway.networking.istio.io shop/b spec.servers[0].hosts[0]: "*" on port 443 belongs to Gateway shop/a, which is older']);
    expect(told(tls('a') + istio('Gateway', 'b', '{servers: [{port: {number: 443, protocol: HTTP, name: h}, hosts: ["*"]}]}'))).toEqual(['warning IST0109 Gateway.networking.istio.io shop/b spec.servers[0]: port 443 is HTTPS for Gateway shop/a, and cannot be HTTP too']);
  });

  it.each([
    ['no server', '{servers: []}', 'spec.servers'],
    ['HTTPS without TLS', '{servers: [{port: {number: 443, protocol: HTTPS}, hosts: ["*"]}]}', 'spec.servers[0]'],
    ['SIMPLE without a certificate', `{servers: [${server('tls: {mode: SIMPLE}')}]}`, 'spec.servers[0].tls'],
    ['MUTUAL without authorities', `{servers: [${server('tls: {mode: MUTUAL, serverCertificate: /c, privateKey: /k}')}]}`, 'spec.servers[0].tls'],
    ['a redirect of TLS', `{servers: [${server('tls: {httpsRedirect: true}')}]}`, 'spec.servers[0].tls.httpsRedirect'],
    ['an unknown protocol', '{servers: [{port: {number: 80, protocol: SMTP}, hosts: ["*"]}]}', 'spec.servers[0].port.protocol'],
    ['a wildcard in the middle', '{servers: [{port: {number: 80, protocol: HTTP}, hosts: ["a.*.b"]}]}', 'spec.servers[0].hosts[0]'],
  ])('a Gateway with %s is an error', (_, spec, field) => {
    const problems = snapshotOf({ 'app.yaml': APP, 'g.yaml': istio('Gateway', 'g', spec) }).problems.filter(({ severity }) => severity === 'error');
    expect(problems.map((one) => one.field)).toEqual([field]);
  });
});
