/** Istio's Gateways with the VirtualServices bound to them, as one gateway of the nodes. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compileGateway, gatewaysOf } from '../../../src/mesh/gateway/compile.ts';
import { findGatewayHost, findServer } from '../../../src/mesh/gateway/find.ts';
import type { GatewayTable, HttpPort, TlsPort } from '../../../src/mesh/gateway/table.ts';
import { renderProblem } from '../../../src/mesh/problem.ts';
import { findRoute } from '../../../src/mesh/route.ts';
import type { Route } from '../../../src/mesh/table.ts';
import { istio } from '../compile/istio.ts';
import { application, errors, request, snapshotOf } from '../world.ts';

const APP = `${application('shop', ['cart', 'web'])}---${application('default', ['productpage'])}`;
const ID = { kind: 'Gateway.networking.istio.io', namespace: 'istio-system', name: 'ingressgateway' } as const;
const key = (service: string): string => `outbound|9080||${service}.shop.svc.cluster.local`;
const HTTP = (hosts = '"*"', more = ''): string => `{port: {number: 80, protocol: HTTP, name: http}, hosts: [${hosts}]${more}}`;
const gateway = (servers: string, name = 'door', namespace = 'shop'): string => istio('Gateway', name, `{selector: {istio: ingressgateway}, servers: [${servers}]}`, namespace);
const rule = (spec: string, name = 'r', namespace = 'shop'): string => istio('VirtualService', name, `{${spec}}`, namespace);
const to = (service: string): string => `route: [{destination: {host: ${service}}}]`;

function compiled(documents: string): GatewayTable {
  const snapshot = snapshotOf({ 'app.yaml': APP, 'g.yaml': documents });
  expect(errors(snapshot).map(renderProblem)).toEqual([]);
  const table = compileGateway(snapshot, ID);
  if (table === undefined) throw new Error('no table');
  return table;
}

const tls = (table: GatewayTable, name: string, port = 443): ReturnType<typeof findServer> => findServer(table.ports.get(port) as TlsPort, name);

function taken(table: GatewayTable, host: string, target = '/', port = 80): Route | undefined {
  const found = findGatewayHost((table.ports.get(port) as HttpPort).hosts, host);
  return found === undefined ? undefined : findRoute(found, request(host, target));
}

const example = (name: string): string => readFileSync(join(import.meta.dirname, '../../../lab/examples', name), 'utf8');

describe('the examples', () => {
  it('12 and 13: the routes of the application on port 80, for every host', () => {
    const table = compiled(`${example('12-gateway.yaml')}---\n${example('13-gateway-routes.yaml')}`);
    expect(['/productpage', '/api/v1/products/0', '/other'].map((target) => taken(table, 'any.example.com', target)?.origin)).toEqual(['VirtualService default/bookinfo http[0]', 'VirtualService default/bookinfo http[0]', undefined]);
    expect([...table.table.clusters.keys()]).toEqual(['outbound|9080||productpage.default.svc.cluster.local']);
  });

  it('15: TLS for its host, with the certificate of its credential', () => {
    const table = compiled(example('15-gateway-tls.yaml'));
    expect(tls(table, 'ext-host.example.com')?.termination).toEqual({
      certificates: [{ kind: 'Secret', namespace: 'default', name: 'ext-host-cert' }, { kind: 'Secret', namespace: 'istio-system', name: 'ext-host-cert' }],
      clients: undefined, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3', cipherSuites: [],
    });
    expect(tls(table, 'other.example.com')).toBeUndefined();
  });
});

describe('the gateway of the nodes', () => {
  it('is there when an Istio Gateway is, has the root namespace\'s identity, and is one for all of them', () => {
    const snapshot = snapshotOf({ 'app.yaml': APP, 'g.yaml': gateway(HTTP()) + gateway(HTTP().replace('80', '81'), 'other') });
    expect(gatewaysOf(snapshot)).toEqual([ID]);
    expect(compileGateway(snapshot, ID)).toMatchObject({ identity: 'spiffe://cluster.local/ns/istio-system/sa/ingressgateway-orlop' });
    expect([...(compileGateway(snapshot, ID)?.ports.keys() ?? [])]).toEqual([80, 81]);
    expect(gatewaysOf(snapshotOf({ 'app.yaml': APP }))).toEqual([]);
  });

  it('leaves Gateways to the pods that they select', () => {
    const snapshot = snapshotOf({ 'app.yaml': APP, 'g.yaml': istio('Gateway', 'theirs', `{selector: {app: web}, servers: [${HTTP()}]}`) });
    expect(gatewaysOf(snapshot)).toEqual([]);
    expect(compileGateway(snapshot, ID)).toBeUndefined();
  });
});

describe('VirtualServices', () => {
  it('take effect at the gateways that they name, in the mesh only where they name it', () => {
    const both = gateway(HTTP(), 'a') + gateway(HTTP().replace('80', '81'), 'b');
    for (const [name, ports] of [['a', [80]], ['./b', [81]], ['shop/a, mesh', [80]], ['a, b', [80, 81]]] as const) {
      const table = compiled(both + rule(`hosts: [a.org], gateways: [${name}], http: [{${to('cart')}}]`));
      expect([80, 81].filter((port) => taken(table, 'a.org', '/', port) !== undefined), name).toEqual(ports);
    }
    expect(taken(compiled(both + rule(`hosts: [a.org], http: [{${to('cart')}}]`)), 'a.org')).toBeUndefined();
  });

  it('of a match that names another gateway are for that alone', () => {
    const table = compiled(gateway(HTTP(), 'a') + gateway(HTTP().replace('80', '81'), 'b') + rule(`hosts: [a.org], gateways: [a, b], http: [{match: [{gateways: [b]}], ${to('web')}}, {${to('cart')}}]`));
    expect([80, 81].map((port) => taken(table, 'a.org', '/', port)?.origin)).toEqual(['VirtualService shop/r http[1]', 'VirtualService shop/r http[0]']);
  });

  it('have the hosts that server and rule have in common', () => {
    const table = compiled(gateway(HTTP('"*.example.com", b.org')) + rule(`hosts: [a.example.com, "*.org", c.net], gateways: [door], http: [{${to('cart')}}]`));
    expect(['a.example.com', 'x.example.com', 'b.org', 'c.org', 'c.net'].map((host) => taken(table, host) !== undefined)).toEqual([true, false, true, false, false]);
  });

  it('of other namespaces than the host of the server names are left out', () => {
    const served = (host: string): boolean => taken(compiled(gateway(HTTP(`"${host}"`)) + rule(`hosts: [a.org], gateways: [shop/door], http: [{route: [{destination: {host: cart.shop.svc.cluster.local}}]}]`, 'r', 'other')), 'a.org') !== undefined;
    expect(['*/a.org', 'other/a.org', 'shop/a.org', './a.org', 'a.org'].map(served)).toEqual([true, true, false, false, true]);
  });

  it('for one host are merged, and routes for everything come last', () => {
    const table = compiled(gateway(HTTP()) + rule(`hosts: [a.org], gateways: [door], http: [{${to('web')}}]`, 'all') + rule(`hosts: [a.org], gateways: [door], http: [{match: [{uri: {prefix: /a}}], ${to('cart')}}]`, 'some'));
    expect(['/a', '/b'].map((target) => taken(table, 'a.org', target)?.origin)).toEqual(['VirtualService shop/some http[0]', 'VirtualService shop/all http[0]']);
  });
});

describe('servers', () => {
  const secure = (protocol: string, tlsSpec: string, host = 'a.org'): string => `{port: {number: 443, protocol: ${protocol}, name: s}, hosts: ["${host}"], tls: ${tlsSpec}}`;

  it('redirect to https where they are told to', () => {
    const table = compiled(gateway(HTTP('a.org', ', tls: {httpsRedirect: true}')) + rule(`hosts: [a.org], gateways: [door], http: [{${to('cart')}}]`));
    expect(taken(table, 'a.org')?.action).toMatchObject({ kind: 'redirect', status: 301, scheme: 'https' });
  });

  it('ask clients for certificates, or take those that have one', () => {
    const clients = (tlsSpec: string): unknown => tls(compiled(gateway(secure('HTTPS', tlsSpec))), 'a.org')?.termination?.clients;
    expect(clients('{mode: SIMPLE, credentialName: c}')).toBeUndefined();
    expect(clients('{mode: MUTUAL, serverCertificate: /c.pem, privateKey: /k.pem, caCertificates: /ca.pem, subjectAltNames: [x]}')).toEqual({ mode: 'require', authorities: [{ kind: 'file', path: '/ca.pem' }], subjectAltNames: ['x'] });
    expect(clients('{mode: OPTIONAL_MUTUAL, credentialName: c}')).toMatchObject({ mode: 'optional', authorities: expect.arrayContaining([{ kind: 'Secret', namespace: 'shop', name: 'c-cacert' }]) });
  });

  it('pass TLS through by server name', () => {
    const table = compiled(gateway(secure('TLS', '{mode: PASSTHROUGH}', '*.org')) + rule(`hosts: ["*.org"], gateways: [door], tls: [{match: [{sniHosts: [a.org]}], ${to('cart')}}]`));
    expect(tls(table, 'a.org')).toMatchObject({ termination: undefined, hosts: undefined, routes: [{ clusters: [{ cluster: key('cart') }] }] });
    expect(tls(table, 'b.org')).toMatchObject({ routes: [] });
    expect(table.table.clusters.has(key('cart'))).toBe(true);
  });

  it('end TLS for bytes, and take bytes as they are', () => {
    const table = compiled(gateway(`${secure('TLS', '{mode: SIMPLE, credentialName: c}')}, {port: {number: 5432, protocol: TCP, name: t}, hosts: ["*"]}`) + rule(`hosts: ["a.org"], gateways: [door], tcp: [{match: [{port: 443}], ${to('cart')}}, {match: [{port: 5432}], ${to('web')}}]`));
    expect(tls(table, 'a.org')).toMatchObject({ termination: { certificates: [{ name: 'c' }, { name: 'c' }] }, hosts: undefined, routes: [{ clusters: [{ cluster: key('cart') }] }] });
    expect(table.ports.get(5432)).toMatchObject({ kind: 'tcp', routes: [{ clusters: [{ cluster: key('web') }] }] });
  });

  it('that are not honoured open no port, and are named', () => {
    const snapshot = snapshotOf({ 'app.yaml': APP, 'g.yaml': gateway(secure('TLS', '{mode: AUTO_PASSTHROUGH}')) });
    expect(compileGateway(snapshot, ID)).toBeUndefined();
    expect(snapshot.problems.map(({ code, field }) => `${code} ${field}`)).toEqual(['ORLOP010 spec.servers[0].tls.mode']);
  });
});

describe('policies', () => {
  it('of the default gateway are those with the labels of its pods elsewhere', () => {
    const policy = (labels: string): string => `---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: istio-system}\nspec: {selector: {matchLabels: {${labels}}}, action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}\n`;
    const denied = (labels: string): number => compiled(gateway(HTTP()) + policy(labels)).table.security.authorization.deny.length;
    expect([denied('istio: ingressgateway'), denied('app: other')]).toEqual([1, 0]);
  });
});
