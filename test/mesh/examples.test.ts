/** The examples of lab/examples: nothing in them is wrong beside the application they are for, and each becomes the routes that it asks for. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { renderProblem } from '../../src/mesh/problem.ts';
import { findDestination, findSniRoutes } from '../../src/mesh/route.ts';
import type { Snapshot } from '../../src/mesh/snapshot.ts';
import type { ClusterSpec, ForwardAction } from '../../src/mesh/table.ts';
import { application, errors, request, routeOf, shares, snapshotOf, tableOf } from './world.ts';

const DIRECTORY = join(import.meta.dirname, '../../lab/examples');

const subsetsOf = (host: string, ...names: string[]): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ${host}-subsets}
spec:
  host: ${host}
  subsets: [${names.map((name) => `{name: ${name}, labels: {version: ${name}}}`).join(', ')}]
`;

/** What an example needs around it: the application, the subsets it names, the host it calls outside. */
const APP = application('default', ['productpage', 'reviews', 'ratings', 'httpbin', 'gapp-b'], ['v1', 'v2', 'v3']);
const COMPANIONS: Readonly<Record<string, string>> = {
  '01': subsetsOf('reviews', 'v1'),
  '03': subsetsOf('reviews', 'v1', 'v2'),
  '04': subsetsOf('ratings', 'v1'),
  '05': subsetsOf('ratings', 'v1'),
  '06': subsetsOf('ratings', 'v1'),
  '07': subsetsOf('ratings', 'v1'),
  '08': subsetsOf('ratings', 'v1'),
  '11': 'apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: ext}\nspec: {hosts: [bar.foo.com], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}\n',
  '13': readFileSync(join(DIRECTORY, '12-gateway.yaml'), 'utf8'),
  '14': subsetsOf('httpbin', 'v1', 'v2'),
  '18': subsetsOf('reviews', 'v1', 'v2'),
  '19': subsetsOf('reviews', 'v1', 'v2'),
  '20': subsetsOf('gapp-b', 'base', 'lane-1'),
};

const FILES = readdirSync(DIRECTORY).sort();

function example(number: string): Snapshot {
  const file = FILES.find((name) => name.startsWith(number)) as string;
  return snapshotOf({ 'app.yaml': APP, 'companion.yaml': COMPANIONS[number] ?? '', [file]: readFileSync(join(DIRECTORY, file), 'utf8') });
}

const client = (snapshot: Snapshot): ReturnType<typeof tableOf> => tableOf(snapshot, 'default/productpage-v1');
const key = (service: string, subset: string): string => `outbound|9080|${subset}|${service}.default.svc.cluster.local`;

function forward(snapshot: Snapshot, host: string): ForwardAction {
  return routeOf(client(snapshot), request(host))?.action as ForwardAction;
}

function cluster(snapshot: Snapshot, service: string, subset: string): ClusterSpec {
  return client(snapshot).clusters.get(key(service, subset)) as ClusterSpec;
}

describe('every example', () => {
  it.each(FILES)('%s has no errors', (file) => {
    expect(errors(example(file.slice(0, 2))).map(renderProblem)).toEqual([]);
  });
});

describe('01 route to a subset', () => {
  it('sends everything to v1, by whatever name the service is called', () => {
    const table = client(example('01'));
    for (const host of ['reviews', 'reviews:9080', 'Reviews.default', 'reviews.default.svc', 'reviews.default.svc.cluster.local', 'reviews.default.svc.cluster.local.']) {
      expect(shares(routeOf(table, request(host, '/reviews/0'))), host).toEqual({ [key('reviews', 'v1')]: 1 });
    }
  });

  it('gives the subset the pods with its label', () => {
    expect(cluster(example('01'), 'reviews', 'v1').endpoints.map(({ workload }) => workload)).toEqual(['default/reviews-v1']);
  });

  it('leaves other services as they are', () => {
    expect(shares(routeOf(client(example('01')), request('ratings')))).toEqual({ [key('ratings', '')]: 1 });
  });
});

describe('02 and 09 subset policies', () => {
  it('a subset takes the policy of the host', () => {
    expect(['', 'v1', 'v2'].map((subset) => cluster(example('02'), 'reviews', subset).balancer)).toEqual(['RANDOM', 'RANDOM', 'RANDOM']);
  });

  it('unless it has its own', () => {
    expect(['', 'v1', 'v2', 'v3'].map((subset) => cluster(example('09'), 'reviews', subset).balancer)).toEqual(['RANDOM', 'RANDOM', 'ROUND_ROBIN', 'RANDOM']);
  });
});

describe('03 split', () => {
  it('75 to 25', () => {
    expect(shares(routeOf(client(example('03')), request('reviews')))).toEqual({ [key('reviews', 'v1')]: 0.75, [key('reviews', 'v2')]: 0.25 });
  });
});

describe('04 and 05 timeout and retries', () => {
  it('a timeout of ten seconds, with Istio\'s default retries', () => {
    const { timeoutMs, retry } = forward(example('04'), 'ratings');
    expect(timeoutMs).toBe(10_000);
    expect(retry).toMatchObject({ attempts: 2, perTryTimeoutMs: 0, backoffBaseMs: 25, backoffMaxMs: 250, avoidPreviousHosts: true });
    expect(retry.on).toMatchObject({ connectFailure: true, refusedStream: true, fiveHundreds: false, gatewayError: false, reset: false });
    expect(retry.on.grpcStatuses).toEqual(new Set([1, 14]));
    expect(retry.on.statuses.size).toBe(0);
  });

  it('three retries of two seconds each, and no timeout of the whole', () => {
    expect(forward(example('05'), 'ratings')).toMatchObject({ timeoutMs: 0, retry: { attempts: 3, perTryTimeoutMs: 2_000 } });
  });
});

describe('06 to 08 faults', () => {
  it('a delay of five seconds for one request in ten', () => {
    expect(routeOf(client(example('06')), request('ratings'))?.fault).toEqual({ delay: { percent: 10, delayMs: 5_000 }, abort: undefined });
  });

  it('an abort for one request in ten', () => {
    expect(routeOf(client(example('07')), request('ratings'))?.fault).toEqual({ delay: undefined, abort: { percent: 10, status: 400, grpcStatus: undefined } });
  });

  it('only for clients with the labels', () => {
    const snapshot = example('08');
    expect(routeOf(tableOf(snapshot, 'default/reviews-v2'), request('ratings'))?.fault).toMatchObject({ delay: { percent: 100, delayMs: 5_000 }, abort: { percent: 10 } });
    for (const other of ['default/reviews-v1', 'default/productpage-v2']) {
      const route = routeOf(tableOf(snapshot, other), request('ratings'));
      expect(route?.fault, other).toBeUndefined();
      expect(shares(route)).toEqual({ [key('ratings', 'v1')]: 1 });
    }
  });
});

describe('10 and 17 limits and ejection', () => {
  it('a hundred connections to v1, any number to the others', () => {
    const snapshot = example('10');
    expect(cluster(snapshot, 'reviews', 'v1').limits.maxConnections).toBe(100);
    expect(cluster(snapshot, 'reviews', '').limits.maxConnections).toBe(Infinity);
    expect(cluster(snapshot, 'reviews', 'v1').outlier).toBeUndefined();
  });

  it('out for 15 minutes after the seventh error', () => {
    const { limits, outlier } = cluster(example('17'), 'ratings', '');
    expect(limits).toMatchObject({ maxConnections: 1, maxPendingRequests: 1, maxRequestsPerConnection: 1 });
    expect(outlier).toMatchObject({ consecutive5xx: 7, consecutiveGatewayErrors: 0, intervalMs: 300_000, baseEjectionMs: 900_000, maxEjectionPercent: 10, minHealthPercent: 0 });
  });
});

describe('11, 13 and 16 outside the mesh', () => {
  it('a timeout for a host outside', () => {
    const table = client(example('11'));
    const route = routeOf(table, request('bar.foo.com'), 80);
    expect(route?.action).toMatchObject({ timeoutMs: 10_000 });
    expect(shares(route)).toEqual({ 'outbound|80||bar.foo.com': 1 });
    expect(table.clusters.get('outbound|80||bar.foo.com')).toMatchObject({ discovery: 'dns', endpoints: [{ address: 'bar.foo.com', port: 80 }] });
  });

  it('routes of a gateway are not for the mesh', () => {
    expect(shares(routeOf(client(example('13')), request('productpage', '/other')))).toEqual({ [key('productpage', '')]: 1 });
    expect(routeOf(client(example('13')), request('elsewhere.example.com', '/productpage'), 80)).toBeUndefined();
  });

  it('a TLS host is known by its server name', () => {
    const table = client(example('16'));
    expect(findSniRoutes(table, 443, 'www.example.com')?.[0]?.clusters).toEqual([{ cluster: 'outbound|443||www.example.com', weight: 1, headers: undefined }]);
    expect(findSniRoutes(table, 443, 'example.com')).toBeUndefined();
    expect(findDestination(table, '203.0.113.7', 443)).toBeUndefined();
  });
});

describe('14 mirror', () => {
  it('sends all to v1 and a copy of each to v2', () => {
    const action = forward(example('14'), 'httpbin');
    expect(action.clusters.map((one) => one.cluster)).toEqual([key('httpbin', 'v1')]);
    expect(action.mirrors).toEqual([{ cluster: key('httpbin', 'v2'), percent: 100 }]);
  });
});

describe('18 to 20 by header, and all together', () => {
  it('jason gets v2, everyone else v1', () => {
    const table = client(example('18'));
    expect(shares(routeOf(table, request('reviews', '/', { 'end-user': 'jason' })))).toEqual({ [key('reviews', 'v2')]: 1 });
    for (const user of ['jasons', 'Jason', '']) expect(shares(routeOf(table, request('reviews', '/', { 'end-user': user }))), user).toEqual({ [key('reviews', 'v1')]: 1 });
    expect(shares(routeOf(table, request('reviews')))).toEqual({ [key('reviews', 'v1')]: 1 });
  });

  it('a host that is no service is known by its name, on any port', () => {
    const table = client(example('19'));
    for (const port of [80, 9080, 12_345]) {
      const route = routeOf(table, request('reviews.bookinfo.com'), port);
      expect(shares(route)).toEqual({ [key('reviews', 'v1')]: 0.75, [key('reviews', 'v2')]: 0.25 });
      expect(route?.action).toMatchObject({ timeoutMs: 10_000, retry: { attempts: 3, perTryTimeoutMs: 2_000 } });
    }
  });

  it('lanes', () => {
    const table = client(example('20'));
    expect(shares(routeOf(table, request('gapp-b', '/', { 'x-lane-id': 'lane-1' })))).toEqual({ [key('gapp-b', 'lane-1')]: 1 });
    expect(shares(routeOf(table, request('gapp-b', '/', { 'x-lane-id': 'lane-2' })))).toEqual({ [key('gapp-b', 'base')]: 1 });
  });
});
