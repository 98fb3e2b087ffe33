/** What a Gateway compiles to: ports, hosts, servers, clusters. */
import { describe, expect, it } from 'vitest';
import { compileGateway, gatewaysOf } from '../../../src/mesh/gateway/compile.ts';
import { findGatewayHost, findServer, findServerHost } from '../../../src/mesh/gateway/find.ts';
import type { GatewayTable, HttpPort, TlsPort } from '../../../src/mesh/gateway/table.ts';
import { renderProblem } from '../../../src/mesh/problem.ts';
import { findRoute } from '../../../src/mesh/route.ts';
import type { Snapshot } from '../../../src/mesh/snapshot.ts';
import { application, errors, request, snapshotOf } from '../world.ts';
import { gatewayApi } from './world.ts';

const APP = `${application('shop', ['cart', 'cart-v2', 'web'])}---${application('other', ['client'])}`;
const CLASS = 'apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: orlop}\nspec: {controllerName: orlop.io/gateway-controller}\n';
const key = (service: string): string => `outbound|9080||${service}.shop.svc.cluster.local`;
const to = (name: string): string => `{name: ${name}, port: 9080}`;
const route = (name: string, more: string, options = {}): string => gatewayApi('HTTPRoute', name, `{parentRefs: [{name: door}], ${more}}`, options);
const gateway = (listeners: string, more = ''): string => gatewayApi('Gateway', 'door', `{gatewayClassName: orlop, listeners: [${listeners}]${more}}`);
const HTTP = '{name: http, port: 80, protocol: HTTP}';

function world(documents: string): Snapshot {
  const snapshot = snapshotOf({ 'app.yaml': APP, 'class.yaml': CLASS, 'gateway.yaml': documents });
  expect(errors(snapshot).map(renderProblem)).toEqual([]);
  return snapshot;
}

function compiled(documents: string): GatewayTable {
  const table = compileGateway(world(documents), { kind: 'Gateway', namespace: 'shop', name: 'door' });
  if (table === undefined) throw new Error('no table');
  return table;
}

const httpPort = (table: GatewayTable, number = 80): HttpPort => table.ports.get(number) as HttpPort;
const tlsPort = (table: GatewayTable, number = 443): TlsPort => table.ports.get(number) as TlsPort;

/** Where a request in plaintext ends: the origin of its route; undefined: 404. */
function taken(table: GatewayTable, host: string, target = '/', number = 80): string | undefined {
  const found = findGatewayHost(httpPort(table, number).hosts, host);
  return found === undefined ? undefined : findRoute(found, request(host, target))?.origin;
}

describe('a gateway', () => {
  it('has an identity of its own, in the namespace of its Gateway', () => {
    const table = compiled(gateway(HTTP));
    expect(table).toMatchObject({ serviceAccount: 'door-orlop', identity: 'spiffe://cluster.local/ns/shop/sa/door-orlop' });
    expect(table.table.podAt('10.244.4.1')).toMatchObject({ workload: 'shop/cart-v1' });
  });

  it('is Orlop\'s by the class of its Gateway', () => {
    const foreign = gateway(HTTP).replace('gatewayClassName: orlop', 'gatewayClassName: other');
    expect(gatewaysOf(world(gateway(HTTP)))).toEqual([{ kind: 'Gateway', namespace: 'shop', name: 'door' }]);
    expect(gatewaysOf(world(foreign))).toEqual([]);
    expect(compileGateway(world(foreign), { kind: 'Gateway', namespace: 'shop', name: 'door' })).toBeUndefined();
  });

  it('has the clusters that its routes name, and no others', () => {
    const table = compiled(gateway(HTTP) + route('r', `rules: [{backendRefs: [${to('cart')}], filters: [{type: RequestMirror, requestMirror: {backendRef: ${to('cart-v2')}}}]}]`));
    expect([...table.table.clusters.keys()].sort()).toEqual([key('cart-v2'), key('cart')]);
  });
});

describe('backends of a gateway', () => {
  it('whose port declares no protocol are spoken to in HTTP/1.1, whatever clients outside speak', () => {
    const service = (port: string): string => `---\napiVersion: v1\nkind: Service\nmetadata: {name: plain, namespace: shop}\nspec: {clusterIP: 10.96.1.9, selector: {app: cart}, ports: [{${port}port: 80, targetPort: 9080}]}\n`;
    const protocol = (port: string): unknown => compiled(gateway(HTTP) + service(port) + route('r', 'rules: [{backendRefs: [{name: plain, port: 80}]}]')).table.clusters.get('outbound|80||plain.shop.svc.cluster.local')?.protocol;
    expect([protocol(''), protocol('appProtocol: kubernetes.io/h2c, ')]).toEqual(['http', 'http2']);
  });

  it('that are headless are balanced over, as there is no pod that the client has chosen', () => {
    const headless = '---\napiVersion: v1\nkind: Service\nmetadata: {name: pods, namespace: shop}\nspec: {clusterIP: None, selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 9080}]}\n';
    const { clusters } = compiled(gateway(HTTP) + headless + route('r', 'rules: [{backendRefs: [{name: pods, port: 80}]}]')).table;
    expect(clusters.get('outbound|80||pods.shop.svc.cluster.local')).toMatchObject({ discovery: 'static', endpoints: [{ port: 9080, workload: 'shop/cart-v1' }] });
  });
});

describe('hosts of a port', () => {
  it('are what listener and route have in common', () => {
    const table = compiled(gateway('{name: http, port: 80, protocol: HTTP, hostname: "*.example.com"}') + route('r', `hostnames: [a.example.com, b.other.org], rules: [{backendRefs: [${to('cart')}]}]`));
    expect([taken(table, 'a.example.com'), taken(table, 'b.example.com'), taken(table, 'b.other.org'), taken(table, 'example.com')]).toEqual(['HTTPRoute shop/r rules[0]', undefined, undefined, undefined]);
  });

  it('prefer rules of the more specific name, and then those of the others', () => {
    const table = compiled(gateway(HTTP)
      + route('plain', `hostnames: [a.example.com], rules: [{matches: [{path: {value: /a}}], backendRefs: [${to('cart')}]}]`)
      + route('wild', `hostnames: ["*.example.com"], rules: [{matches: [{path: {value: /a/b}}], backendRefs: [${to('cart')}]}, {backendRefs: [${to('web')}]}]`, { age: 1 })
      + route('every', `rules: [{matches: [{path: {type: Exact, value: /a/b}}], backendRefs: [${to('cart')}]}]`));
    expect(['/a/b', '/c'].map((target) => taken(table, 'a.example.com', target))).toEqual(['HTTPRoute shop/plain rules[0]', 'HTTPRoute shop/wild rules[1]']);
    expect(['/a/b', '/c'].map((target) => taken(table, 'x.example.com', target))).toEqual(['HTTPRoute shop/wild rules[0]', 'HTTPRoute shop/wild rules[1]']);
    expect(['/a/b', '/c'].map((target) => taken(table, 'other.org', target))).toEqual(['HTTPRoute shop/every rules[0]', undefined]);
  });

  it('belong to the most specific listener alone', () => {
    const table = compiled(gateway('{name: all, port: 80, protocol: HTTP}, {name: wild, port: 80, protocol: HTTP, hostname: "*.example.com"}, {name: one, port: 80, protocol: HTTP, hostname: one.example.com}')
      + gatewayApi('HTTPRoute', 'all', `{parentRefs: [{name: door, sectionName: all}], rules: [{backendRefs: [${to('cart')}]}]}`)
      + gatewayApi('HTTPRoute', 'wild', `{parentRefs: [{name: door, sectionName: wild}], hostnames: [one.example.com, two.example.com], rules: [{backendRefs: [${to('cart')}]}]}`)
      + gatewayApi('HTTPRoute', 'one', `{parentRefs: [{name: door, sectionName: one}], rules: [{matches: [{path: {value: /one}}], backendRefs: [${to('cart')}]}]}`));
    expect(['one.example.com', 'two.example.com', 'three.example.com', 'other.org'].map((host) => taken(table, host))).toEqual([undefined, 'HTTPRoute shop/wild rules[0]', undefined, 'HTTPRoute shop/all rules[0]']);
    expect(taken(table, 'one.example.com', '/one')).toBe('HTTPRoute shop/one rules[0]');
  });

  it('of other ports are others\'', () => {
    const table = compiled(gateway(`${HTTP}, {name: alt, port: 8080, protocol: HTTP}`) + gatewayApi('HTTPRoute', 'r', `{parentRefs: [{name: door, port: 8080}], rules: [{backendRefs: [${to('cart')}]}]}`));
    expect([taken(table, 'a.org', '/', 80), taken(table, 'a.org', '/', 8080)]).toEqual([undefined, 'HTTPRoute shop/r rules[0]']);
  });
});

describe('listeners', () => {
  it('take routes of the namespaces that they choose', () => {
    const listener = (from: string): string => `{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: ${from}}}`;
    const foreign = gatewayApi('HTTPRoute', 'r', `{parentRefs: [{name: door, namespace: shop}], rules: [{backendRefs: [{name: client, port: 9080}]}]}`, { namespace: 'other' });
    const namespace = '---\napiVersion: v1\nkind: Namespace\nmetadata: {name: other, labels: {team: a}}\n';
    const allowed = ['{from: Same}', '{from: All}', '{from: Selector, selector: {matchLabels: {team: a}}}', '{from: Selector, selector: {matchLabels: {team: b}}}', '{from: Selector, selector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [other]}]}}'];
    expect(allowed.map((from) => taken(compiled(gateway(listener(from)) + foreign + namespace), 'a.org'))).toEqual([undefined, 'HTTPRoute other/r rules[0]', 'HTTPRoute other/r rules[0]', undefined, 'HTTPRoute other/r rules[0]']);
  });

  it('that cannot be told apart open no port', () => {
    expect([...compiled(gateway('{name: a, port: 80, protocol: HTTP, hostname: a.org}, {name: b, port: 80, protocol: HTTP, hostname: a.org}, {name: c, port: 81, protocol: HTTP}')).ports.keys()]).toEqual([81]);
    expect([...compiled(gateway('{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: TCP}, {name: c, port: 81, protocol: TCP}')).ports.keys()]).toEqual([81]);
  });

  it('of ListenerSets join the Gateway\'s where it lets them', () => {
    const set = gatewayApi('ListenerSet', 'more', '{parentRef: {name: door}, listeners: [{name: http, port: 8081, protocol: HTTP}, {name: taken, port: 80, protocol: HTTP}]}')
      + gatewayApi('HTTPRoute', 'r', `{parentRefs: [{kind: ListenerSet, name: more}], rules: [{backendRefs: [${to('cart')}]}]}`);
    expect([...compiled(gateway(HTTP) + set).ports.keys()]).toEqual([80]);
    const table = compiled(gateway(HTTP, ', allowedListeners: {namespaces: {from: Same}}') + set);
    expect([taken(table, 'a.org', '/', 8081), taken(table, 'a.org', '/', 80)]).toEqual(['HTTPRoute shop/r rules[0]', undefined]);
  });
});

describe('TLS', () => {
  const certificate = 'tls: {certificateRefs: [{name: cert}]}';

  it('is ended with the certificates of the listener that has the server name', () => {
    const table = compiled(gateway(`{name: a, port: 443, protocol: HTTPS, hostname: a.org, ${certificate}}, {name: b, port: 443, protocol: HTTPS, hostname: "*.b.org", tls: {certificateRefs: [{name: other}]}}`)
      + route('r', `hostnames: [a.org, x.b.org], rules: [{backendRefs: [${to('cart')}]}]`));
    const tls = tlsPort(table);
    const [a, b] = [findServer(tls, 'a.org'), findServer(tls, 'x.b.org')];
    expect([a?.termination?.certificates, b?.termination?.certificates, findServer(tls, 'c.org')]).toEqual([[{ kind: 'Secret', namespace: 'shop', name: 'cert' }], [{ kind: 'Secret', namespace: 'shop', name: 'other' }], undefined]);
    expect(a === undefined || b === undefined ? [] : [findServerHost(tls, a, 'a.org'), findServerHost(tls, a, 'x.b.org'), findServerHost(tls, b, 'y.b.org'), findServerHost(tls, b, 'c.org')]).toMatchObject([{ name: 'a.org:443' }, 'misdirected', { name: '*.b.org:443', routes: [] }, undefined]);
  });

  it('needs a certificate that the Gateway may name', () => {
    const listener = '{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert, namespace: other}]}}';
    const grant = (kind: string): string => gatewayApi('ReferenceGrant', 'g', `{from: [{group: gateway.networking.k8s.io, kind: ${kind}, namespace: shop}], to: [{group: "", kind: Secret, name: cert}]}`, { namespace: 'other' });
    expect(compiled(gateway(listener)).ports.size).toBe(0);
    expect(compiled(gateway(listener) + grant('HTTPRoute')).ports.size).toBe(0);
    expect(compiled(gateway(listener) + grant('Gateway')).ports.size).toBe(1);
  });

  it('is passed through, or ended, for TLSRoutes', () => {
    const table = compiled(gateway(`{name: pass, port: 443, protocol: TLS, hostname: "*.pass.org", tls: {mode: Passthrough}}, {name: end, port: 443, protocol: TLS, hostname: end.org, ${certificate}}`)
      + gatewayApi('TLSRoute', 'r', `{parentRefs: [{name: door}], hostnames: [a.pass.org, end.org], rules: [{backendRefs: [${to('cart')}]}]}`));
    const tls = tlsPort(table);
    expect(['a.pass.org', 'b.pass.org', 'end.org'].map((name) => findServer(tls, name))).toMatchObject([
      { listener: 'pass', termination: undefined, hosts: undefined, routes: [{ clusters: [{ cluster: key('cart') }] }] },
      { listener: 'pass', routes: [] },
      { listener: 'end', termination: { certificates: [{ name: 'cert' }] }, hosts: undefined, routes: [{ clusters: [{ cluster: key('cart') }] }] },
    ]);
  });

  it('asks clients for certificates of the authorities that the port, or else the Gateway, names', () => {
    const validation = (name: string, more = ''): string => `{validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: ${name}}]${more}}}`;
    const table = compiled(gateway(`{name: a, port: 443, protocol: HTTPS, ${certificate}}, {name: b, port: 8443, protocol: HTTPS, ${certificate}}`, `, tls: {frontend: {default: ${validation('one')}, perPort: [{port: 8443, tls: ${validation('two', ', mode: AllowInsecureFallback')}}]}}`));
    expect([443, 8443].map((number) => findServer(tlsPort(table, number), '')?.termination?.clients)).toEqual([
      { mode: 'require', authorities: [{ kind: 'ConfigMap', namespace: 'shop', name: 'one' }], subjectAltNames: [] },
      { mode: 'insecure', authorities: [{ kind: 'ConfigMap', namespace: 'shop', name: 'two' }], subjectAltNames: [] },
    ]);
  });

  it('is spoken to backends as their BackendTLSPolicy says', () => {
    const policy = (validation: string): string => gatewayApi('BackendTLSPolicy', 'p', `{targetRefs: [{group: "", kind: Service, name: cart}], validation: ${validation}}`);
    const plain = gateway(HTTP) + route('r', `rules: [{backendRefs: [${to('cart')}]}]`);
    expect(compiled(plain).table.clusters.get(key('cart'))?.tls).toBeUndefined();
    expect(compiled(plain + policy('{hostname: cart.example.com, caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}], subjectAltNames: [{type: URI, uri: "spiffe://x/y"}]}')).table.clusters.get(key('cart'))?.tls).toMatchObject({ mode: 'SIMPLE', sni: 'cart.example.com', subjectAltNames: ['spiffe://x/y'], authorities: [{ kind: 'ConfigMap', namespace: 'shop', name: 'ca' }] });
    expect(compiled(plain + policy('{hostname: cart.example.com, wellKnownCACertificates: System}')).table.clusters.get(key('cart'))?.tls).not.toHaveProperty('authorities');
    const broken = compiled(plain + policy('{hostname: cart.example.com, caCertificateRefs: [{group: example.com, kind: Vault, name: ca}]}'));
    expect(findRoute(findGatewayHost(httpPort(broken).hosts, 'a.org') as never, request('a.org'))?.action).toMatchObject({ clusters: [{ invalid: 'BackendTLSPolicy shop/p: authorities of kind Vault.example.com are not honoured; name a ConfigMap' }] });
  });
});

describe('bytes', () => {
  it('of a TCP port go where its oldest route says', () => {
    const tcp = (name: string, backend: string, age: number): string => gatewayApi('TCPRoute', name, `{parentRefs: [{name: door}], rules: [{backendRefs: [${to(backend)}]}]}`, { age });
    const table = compiled(gateway('{name: tcp, port: 5432, protocol: TCP}') + tcp('young', 'web', 2) + tcp('old', 'cart', 1));
    expect(table.ports.get(5432)).toMatchObject({ kind: 'tcp', routes: [{ origin: 'TCPRoute shop/old rules[0]' }] });
  });
});

describe('policies', () => {
  const policy = (selection: string, namespace = 'shop'): string => `---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: ${namespace}}\nspec: {${selection}action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}\n`;

  it('whose target is the gateway hold there, as do those of its namespace and of the mesh', () => {
    const denied = (selection: string, namespace?: string): number => compiled(gateway(HTTP) + policy(selection, namespace)).table.security.authorization.deny.length;
    expect(denied('targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: door}], ')).toBe(1);
    expect(denied('selector: {matchLabels: {gateway.networking.k8s.io/gateway-name: door}}, ')).toBe(1);
    expect([denied('', 'shop'), denied('', 'istio-system'), denied('', 'other')]).toEqual([1, 1, 0]);
    expect(denied('selector: {matchLabels: {app: cart}}, ')).toBe(0);
  });

  it('whose target is a gateway that there is not are for nobody, and say so', () => {
    const { problems } = world(gateway(HTTP) + policy('targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: window}], '));
    expect(problems.map(({ code, message }) => `${code} ${message}`)).toContain('IST0101 there is no Gateway shop/window');
  });
});
