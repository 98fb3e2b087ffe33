/** Who gets which rules and services: gateways, ports, visibility, server names. */
import { describe, expect, it } from 'vitest';
import { compile, workloadClass } from '../../../src/mesh/compile/compile.ts';
import type { Workload } from '../../../src/mesh/snapshot.ts';
import type { Table } from '../../../src/mesh/table.ts';
import { findSniRoutes } from '../../../src/mesh/route.ts';
import { application, errors, request, routeOf, shares, snapshotOf, tableOf } from '../world.ts';
import { istio } from './istio.ts';

const SHOP = application('shop', ['cart', 'web'], ['v1', 'v2']);
const CART = 'outbound|9080||cart.shop.svc.cluster.local';
const WEB = 'outbound|9080||web.shop.svc.cluster.local';

function table(yaml: string, id = 'shop/web-v1'): Table {
  return tableOf(snapshotOf({ 'a.yaml': `${SHOP}---${application('till', ['desk'])}${yaml}` }), id);
}

describe('a VirtualService of a gateway', () => {
  const gateway = istio('Gateway', 'door', '{selector: {istio: ingress}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}');
  const opaque = (found: Table): unknown => found.outbound.destinations.get('10.96.4.1:9080')?.tcpRoutes.map(({ clusters }) => clusters[0]?.cluster);

  it('routes connections of the mesh where a block names the mesh', () => {
    expect(opaque(table(gateway + istio('VirtualService', 'r', '{hosts: [cart], gateways: [door], tcp: [{match: [{gateways: [mesh], port: 9080}], route: [{destination: {host: web}}]}]}')))).toEqual([WEB]);
  });

  it('leaves connections of the mesh alone in routes without a block, though another names the mesh', () => {
    const mixed = '{hosts: [cart], gateways: [door], http: [{match: [{gateways: [mesh]}], route: [{destination: {host: cart}}]}], tcp: [{route: [{destination: {host: web}}]}]}';
    expect(opaque(table(gateway + istio('VirtualService', 'r', mixed)))).toEqual([CART]);
  });
});

describe('a host that no service has', () => {
  it('is routed by port where a rule says so', () => {
    const found = table(istio('VirtualService', 'r', '{hosts: [a.example.com], http: [{match: [{port: 8080}], route: [{destination: {host: web}}]}, {route: [{destination: {host: cart}}]}]}'));
    expect(shares(routeOf(found, request('a.example.com'), 8080))).toEqual({ [WEB]: 1 });
    expect(shares(routeOf(found, request('a.example.com'), 80))).toEqual({ [CART]: 1 });
  });

  it('goes by the longest wildcard, be it of the port or of every port', () => {
    const entry = istio('ServiceEntry', 'e', '{hosts: ["*.com"], ports: [{number: 80, name: http, protocol: HTTP}], resolution: NONE}');
    const found = table(entry + istio('VirtualService', 'r', '{hosts: ["*.example.com"], http: [{route: [{destination: {host: cart}}]}]}'));
    expect(shares(routeOf(found, request('a.example.com'), 80))).toEqual({ [CART]: 1 });
    expect(shares(routeOf(found, request('a.other.com'), 80))).toEqual({ 'outbound|80||*.com': 1 });
  });
});

describe('ServiceEntries of one host', () => {
  const entry = (address: string, namespace: string, name = 'e', port = '{number: 80, name: http, protocol: HTTP}'): string =>
    istio('ServiceEntry', name, `{hosts: [api.example.com], exportTo: ["."], ports: [${port}], resolution: STATIC, endpoints: [{address: ${address}}]}`, namespace);
  const addresses = (found: Table, port = 80): unknown => found.clusters.get(`outbound|${port}||api.example.com`)?.endpoints.map(({ address }) => address);

  it('do not hide those of other namespaces from their own clients', () => {
    const both = entry('192.0.2.1', 'shop') + entry('192.0.2.2', 'till');
    expect(addresses(table(both))).toEqual(['192.0.2.1']);
    expect(addresses(table(both, 'till/desk-v1'))).toEqual(['192.0.2.2']);
  });

  it('add their ports; of one port the oldest counts', () => {
    const found = table(entry('192.0.2.1', 'shop', 'a') + entry('192.0.2.2', 'shop', 'b') + entry('192.0.2.3', 'shop', 'c', '{number: 81, name: http, protocol: HTTP}'));
    expect([addresses(found), addresses(found, 81)]).toEqual([['192.0.2.1'], ['192.0.2.3']]);
  });
});

describe('a server name under a wildcard ServiceEntry', () => {
  it('takes the tls route of its VirtualService; others go where they meant to', () => {
    const entry = istio('ServiceEntry', 'e', '{hosts: ["*.example.com"], ports: [{number: 443, name: tls, protocol: TLS}], resolution: NONE}');
    const found = table(entry + istio('VirtualService', 'r', '{hosts: [www.example.com], tls: [{match: [{sniHosts: [www.example.com]}], route: [{destination: {host: web}}]}]}'));
    const cluster = (name: string): unknown => findSniRoutes(found, 443, name)?.[0]?.clusters[0]?.cluster;
    expect([cluster('www.example.com'), cluster('a.example.com'), cluster('www.other.com')]).toEqual([WEB, 'outbound|443||*.example.com', undefined]);
  });
});

describe('the class of a workload', () => {
  it('tells a label that is empty from one that is not there', () => {
    const snapshot = snapshotOf({ 'a.yaml': SHOP + istio('VirtualService', 'r', '{hosts: [cart], http: [{match: [{sourceLabels: {lane: ""}}], route: [{destination: {host: web}}]}, {route: [{destination: {host: cart}}]}]}') });
    const without = snapshot.workloads[0] as Workload;
    const empty = { ...without, labels: { ...without.labels, lane: '' } };
    expect(workloadClass(snapshot, empty)).not.toBe(workloadClass(snapshot, without));
    expect([without, empty].map((workload) => shares(routeOf(compile(snapshot, workload), request('cart'))))).toEqual([{ [CART]: 1 }, { [WEB]: 1 }]);
  });
});

describe('retries without attempts', () => {
  const rule = (retries: string): string => istio('VirtualService', 'r', `{hosts: [cart], http: [{retries: ${retries}, route: [{destination: {host: cart}}]}]}`);

  it('are none: an empty block switches them off', () => {
    expect(routeOf(table(rule('{}')), request('cart'))?.action).toMatchObject({ retry: { attempts: 0 } });
  });

  it('are refused beside fields that would have no effect', () => {
    expect(errors(snapshotOf({ 'a.yaml': SHOP + rule('{perTryTimeout: 1s}') })).map(({ field }) => field)).toEqual(['spec.http[0].retries']);
  });
});
