/** What can be called: Services of every type and ServiceEntries of every resolution, by address and by name. */
import { describe, expect, it } from 'vitest';
import { renderProblem } from '../../src/mesh/problem.ts';
import { findDestination, findVirtualHost } from '../../src/mesh/route.ts';
import type { Table } from '../../src/mesh/table.ts';
import { application, errors, request, routeOf, shares, snapshotOf, tableOf } from './world.ts';

const APP = application('shop', ['cart', 'web'], ['v1', 'v2']);

function table(yaml: string, client = 'shop/web-v1'): Table {
  const snapshot = snapshotOf({ 'app.yaml': APP, 'more.yaml': yaml });
  expect(errors(snapshot).map(renderProblem)).toEqual([]);
  return tableOf(snapshot, client);
}

function service(name: string, spec: string, annotations = '{}'): string {
  return `---\napiVersion: v1\nkind: Service\nmetadata: {name: ${name}, namespace: shop, annotations: ${annotations}}\nspec: ${spec}\n`;
}

function entry(spec: string): string {
  return `---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: ext, namespace: shop}\nspec: ${spec}\n`;
}

const endpoints = (found: Table, key: string): unknown => found.clusters.get(key)?.endpoints.map(({ address, port }) => `${address}:${port}`);

describe('a Service', () => {
  it('is found by its address and port', () => {
    const found = findDestination(table(''), '10.96.4.1', 9080);
    expect(found).toMatchObject({ port: 9080, protocol: 'http', service: { host: 'cart.shop.svc.cluster.local', name: 'cart', namespace: 'shop' } });
    expect(findDestination(table(''), '10.96.4.1', 80)).toBeUndefined();
    expect(findDestination(table(''), '10.96.99.1', 9080)).toBeUndefined();
  });

  it('of both address families is found by either, however the address is written', () => {
    const found = table(service('dual', '{clusterIPs: [10.96.9.1, "fd00:0:0::0009"], selector: {app: cart}, ports: [{port: 80, name: http}]}'));
    expect(findDestination(found, '10.96.9.1', 80)?.service.name).toBe('dual');
    expect(findDestination(found, 'fd00::9', 80)?.service.name).toBe('dual');
  });

  it('has a protocol by appProtocol, else by the name of the port, else by its number, else by what comes', () => {
    const ports = [
      ['grpc-web-api', '', 80, 'http'], ['grpc-api', '', 81, 'grpc'], ['HTTP2', '', 82, 'http2'], ['tcp-x', '', 83, 'tcp'], ['redis', '', 84, 'tcp'], ['https', '', 443, 'tls'], ['tls-a', '', 444, 'tls'],
      ['anything', '', 85, 'sniff'], ['db', '', 3306, 'tcp'], ['other', 'http', 86, 'http'], ['http-no', 'tcp', 87, 'tcp'], ['h2c', 'kubernetes.io/h2c', 88, 'http2'], ['ws', 'kubernetes.io/ws', 89, 'http'], ['wss', 'kubernetes.io/wss', 90, 'tls'],
    ] as const;
    const written = ports.map(([name, app, port]) => `{name: ${name.toLowerCase()}, port: ${port}${app === '' ? '' : `, appProtocol: ${app}`}}`).join(', ');
    const found = table(service('many', `{clusterIP: 10.96.9.2, ports: [${written}]}`));
    expect(ports.map(([name, , port]) => [name, findDestination(found, '10.96.9.2', port)?.protocol])).toEqual(ports.map(([name, , , protocol]) => [name, protocol]));
  });

  it('leads to the container\'s port, by number or by name', () => {
    const named = APP.replaceAll('ports: [{containerPort: 9080}]', 'ports: [{name: web, containerPort: 8000}]');
    const snapshot = snapshotOf({ 'app.yaml': named, 'more.yaml': service('a', '{clusterIP: 10.96.9.3, selector: {app: cart, version: v1}, ports: [{name: http, port: 80, targetPort: web}, {name: http-b, port: 81, targetPort: 8001}, {name: http-c, port: 82, targetPort: none}]}') });
    const found = tableOf(snapshot, 'shop/web-v1');
    expect([80, 81, 82].map((port) => endpoints(found, `outbound|${port}||a.shop.svc.cluster.local`))).toEqual([['10.244.4.1:8000'], ['10.244.4.1:8001'], []]);
  });

  it('that is headless is found by the addresses of its pods, and keeps to the one that was dialled', () => {
    const found = table(service('db', '{clusterIP: None, selector: {app: cart}, ports: [{name: http, port: 9080}]}'));
    expect(findDestination(found, '10.244.4.2', 9080)?.service.name).toBe('db');
    expect(found.clusters.get('outbound|9080||db.shop.svc.cluster.local')?.discovery).toBe('original');
    expect(shares(routeOf(found, request('db')))).toEqual({ 'outbound|9080||db.shop.svc.cluster.local': 1 });
  });

  it('that is a name for another host is resolved by DNS', () => {
    const found = table(service('ext', '{type: ExternalName, externalName: api.example.com, ports: [{name: http, port: 80}]}'));
    expect(found.clusters.get('outbound|80||ext.shop.svc.cluster.local')).toMatchObject({ discovery: 'dns' });
    expect(endpoints(found, 'outbound|80||ext.shop.svc.cluster.local')).toEqual(['api.example.com:80']);
  });

  it('that is not exported is unknown elsewhere', () => {
    const other = application('till', ['other']);
    const hidden = service('secret', '{clusterIP: 10.96.9.4, selector: {app: cart}, ports: [{name: http, port: 80}]}', '{networking.istio.io/exportTo: "."}');
    expect(findDestination(table(`${other}${hidden}`), '10.96.9.4', 80)?.service.name).toBe('secret');
    expect(findDestination(table(`${other}${hidden}`, 'till/other-v1'), '10.96.9.4', 80)).toBeUndefined();
  });

  it('has its short name in its own namespace only', () => {
    const other = application('till', ['other']);
    expect(findVirtualHost(table(other), 9080, undefined, 'cart')?.service?.name).toBe('cart');
    expect(findVirtualHost(table(other, 'till/other-v1'), 9080, undefined, 'cart')).toBeUndefined();
    expect(findVirtualHost(table(other, 'till/other-v1'), 9080, undefined, 'cart.shop')?.service?.name).toBe('cart');
  });

  it('that was dialled decides, when the Host header names none of the port', () => {
    const found = table('');
    expect(findVirtualHost(found, 9080, findDestination(found, '10.96.4.1', 9080), 'anything.example.org')?.service?.name).toBe('cart');
  });
});

describe('a ServiceEntry', () => {
  it('STATIC has its own endpoints, with their ports, labels and weights', () => {
    const found = table(entry('{hosts: [api.example.com], addresses: [192.0.2.10], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 198.51.100.1, weight: 3}, {address: 198.51.100.2, ports: {http: 9999}}]}'));
    expect(endpoints(found, 'outbound|80||api.example.com')).toEqual(['198.51.100.1:8080', '198.51.100.2:9999']);
    expect(found.clusters.get('outbound|80||api.example.com')).toMatchObject({ discovery: 'static', endpoints: [{ weight: 3 }, { weight: 1 }] });
    expect(findDestination(found, '192.0.2.10', 80)?.service.host).toBe('api.example.com');
    expect(shares(routeOf(found, request('api.example.com'), 80))).toEqual({ 'outbound|80||api.example.com': 1 });
  });

  it('DNS resolves its endpoints, or its host where it has none', () => {
    expect(endpoints(table(entry('{hosts: [api.example.com], resolution: DNS, ports: [{number: 80, name: http}]}')), 'outbound|80||api.example.com')).toEqual(['api.example.com:80']);
    expect(endpoints(table(entry('{hosts: [api.example.com], resolution: DNS, endpoints: [{address: eu.example.com}], ports: [{number: 80, name: http}]}')), 'outbound|80||api.example.com')).toEqual(['eu.example.com:80']);
  });

  it('NONE goes where the client meant to go, by address, by network, or by port alone', () => {
    const found = table(entry('{hosts: [db.example.com], addresses: [192.0.2.0/24, 192.0.2.128/25, 203.0.113.1], ports: [{number: 5432, name: tcp, protocol: TCP}]}'));
    expect(found.clusters.get('outbound|5432||db.example.com')).toMatchObject({ discovery: 'original', endpoints: [] });
    expect(['192.0.2.7', '192.0.2.200', '203.0.113.1', '198.51.100.1'].map((address) => findDestination(found, address, 5432)?.service.host)).toEqual(['db.example.com', 'db.example.com', 'db.example.com', undefined]);
    const anywhere = table(entry('{hosts: [db.example.com], ports: [{number: 5432, name: tcp, protocol: TCP}]}'));
    expect(findDestination(anywhere, '198.51.100.1', 5432)?.service.host).toBe('db.example.com');
    expect(findDestination(anywhere, '198.51.100.1', 5433)).toBeUndefined();
  });

  it('with a wildcard is known by the Host header', () => {
    const found = table(entry('{hosts: ["*.example.com"], ports: [{number: 80, name: http, protocol: HTTP}]}'));
    expect(['a.example.com', 'a.b.example.com', 'example.com'].map((host) => findVirtualHost(found, 80, undefined, host)?.service?.host)).toEqual(['*.example.com', '*.example.com', undefined]);
  });

  it('may select pods and WorkloadEntries of its namespace', () => {
    const machine = '---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: vm, namespace: shop}\nspec: {address: 198.51.100.7, labels: {app: cart}}\n';
    const found = table(`${machine}${entry('{hosts: [cart.example.com], location: MESH_INTERNAL, resolution: STATIC, workloadSelector: {labels: {app: cart}}, ports: [{number: 80, name: http, targetPort: 9080}]}')}`);
    expect(endpoints(found, 'outbound|80||cart.example.com')).toEqual(['10.244.4.1:9080', '10.244.4.2:9080', '198.51.100.7:9080']);
  });

  it('for the host of a Service does not replace it', () => {
    const found = table(entry('{hosts: [cart.shop.svc.cluster.local], resolution: STATIC, ports: [{number: 9080, name: http}], endpoints: [{address: 198.51.100.1}]}'));
    expect(endpoints(found, 'outbound|9080||cart.shop.svc.cluster.local')).toEqual(['10.244.4.1:9080', '10.244.4.2:9080']);
  });
});

describe('a delegate', () => {
  const rule = (name: string, spec: string): string => `---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ${name}, namespace: shop}\nspec: ${spec}\n`;

  it('routes within the match of its root; what it leaves open is the root\'s', () => {
    const root = rule('root', '{hosts: [cart], http: [{name: r, match: [{uri: {prefix: /a}}], timeout: 3s, delegate: {name: part}}, {name: rest, directResponse: {status: 404}}]}');
    const part = rule('part', '{http: [{name: x, match: [{uri: {exact: /a/x}}], timeout: 1s, directResponse: {status: 201}}, {name: y, match: [{uri: {prefix: /b}}], directResponse: {status: 202}}, {name: z, route: [{destination: {host: web}}]}]}');
    const found = table(root + part);
    expect(['/a/x', '/a/y', '/b'].map((path) => routeOf(found, request('cart', path))?.name)).toEqual(['r-x', 'r-z', 'rest']);
    expect(routeOf(found, request('cart', '/a/y'))?.action).toMatchObject({ timeoutMs: 3_000 });
  });
});
