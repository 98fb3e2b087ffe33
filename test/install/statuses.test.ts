/** What the control plane said in the status of objects, taken back from a cluster. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ClusterObjects } from '../../src/install/cluster-objects.ts';
import type { Finding } from '../../src/install/preflight.ts';
import { takeBackStatuses } from '../../src/install/statuses.ts';
import { ApiServer } from '../kube-api/api-server.ts';

const SERVICES = { apiVersion: 'networking.istio.io/v1', kind: 'VirtualService' };
const GATEWAY_API = 'gateway.networking.k8s.io/v1';
const CONDITIONS = ['Accepted', 'ResolvedRefs', 'Honored', 'Programmed'].map((type) => ({ type, status: 'True', observedGeneration: 1 }));
const OTHERS = { type: 'Reconciled', status: 'True' };
const managedFields = [{ manager: 'orlop-control', operation: 'Update', fieldsV1: { 'f:status': {} } }];

let server: ApiServer;
let objects: ClusterObjects;
let progress: string[];
let findings: Finding[];

beforeEach(async () => {
  progress = [];
  findings = [];
  server = new ApiServer();
  await server.start();
  objects = new ClusterObjects(server.client());
});

afterEach(async () => {
  objects.client.close();
  await server.stop();
});

async function takeBack(dryRun = false): Promise<number> {
  return takeBackStatuses(objects, { dryRun, onProgress: (text) => progress.push(text), onFinding: (finding) => findings.push(finding) });
}

function putServices(count: number): void {
  for (let i = 0; i < count; i += 1) server.put({ ...SERVICES, metadata: { name: `web-${i}`, namespace: 'shop' }, spec: {}, status: { conditions: i % 2 === 0 ? [OTHERS, ...CONDITIONS] : [OTHERS], observedGeneration: 1 } });
}

const writes = (): string[] => server.requests.filter((line) => line.startsWith('PATCH'));

it('in a large cluster, of each object that we spoke of and of no other; a second time there is nothing to do', async () => {
  putServices(1_100);
  expect(await takeBack()).toBe(550);
  expect(progress).toEqual(['what Orlop says in the status of 550 virtualservices.networking.istio.io is taken back']);
  expect(findings).toEqual([]);
  expect(server.all('VirtualService').every(({ status }) => JSON.stringify((status as { conditions: unknown }).conditions) === JSON.stringify([OTHERS]))).toBe(true);
  expect(writes()).toHaveLength(550);
  expect(await takeBack()).toBe(0);
  expect(writes()).toHaveLength(550);
});

it('asked what it would do, it changes nothing', async () => {
  putServices(2);
  expect(await takeBack(true)).toBe(1);
  expect(progress).toEqual(['what Orlop says in the status of 1 virtualservices.networking.istio.io would be taken back']);
  expect(writes()).toEqual([]);
});

it('an object that another has changed meanwhile keeps the change; one that has gone is nobody\'s fault', async () => {
  putServices(3);
  const changed = { ...SERVICES, metadata: { name: 'web-0', namespace: 'shop' }, spec: {}, status: { conditions: CONDITIONS, validationMessages: ['new'] } };
  server.intercept = ({ method, url = '' }) => {
    if (method === 'PATCH' && url.includes('web-2')) server.delete('VirtualService', 'web-2', 'shop');
    if (method === 'PATCH' && url.includes('web-0') && writes().filter((line) => line.includes('web-0')).length === 1) server.put(changed);
    return undefined;
  };
  expect(await takeBack()).toBe(1);
  expect(findings).toEqual([]);
  expect(server.get('VirtualService', 'web-0', 'shop')?.['status']).toEqual({ validationMessages: ['new'] });
});

it('without the right to it says what stays, and goes on with other kinds', async () => {
  putServices(3);
  server.put({ apiVersion: 'security.istio.io/v1', kind: 'AuthorizationPolicy', metadata: { name: 'a', namespace: 'shop' }, status: { conditions: CONDITIONS } });
  server.put({ ...SERVICES, kind: 'DestinationRule', metadata: { name: 'a', namespace: 'shop' }, status: { conditions: CONDITIONS } });
  server.intercept = ({ method, url = '' }) => {
    const refused = (method === 'PATCH' && url.includes('virtualservices')) || url.includes('/authorizationpolicies');
    return refused ? { status: 403, body: { reason: 'Forbidden', message: 'not yours' } } : undefined;
  };
  expect(await takeBack()).toBe(1);
  expect(server.get('DestinationRule', 'a', 'shop')?.['status']).toBeUndefined();
  expect(findings.map(({ level, text }) => `${level} ${text}`).sort()).toEqual([
    'error what Orlop says in the status of 2 virtualservices.networking.istio.io stays: the API server answered 403: not yours',
    'error what Orlop says in the status of authorizationpolicies.security.istio.io stays: the API server answered 403: not yours',
  ]);
});

it('a Gateway that has gone over to another controller\'s class is that one\'s', async () => {
  const status = { conditions: CONDITIONS, listeners: [{ name: 'web' }] };
  for (const [name, controllerName] of [['orlop', 'orlop.io/gateway-controller'], ['other', 'example.com/controller']]) {
    server.put({ apiVersion: GATEWAY_API, kind: 'GatewayClass', metadata: { name, managedFields }, spec: { controllerName }, status: { conditions: CONDITIONS } });
  }
  for (const gatewayClassName of ['orlop', 'other', 'deleted']) {
    server.put({ apiVersion: GATEWAY_API, kind: 'Gateway', metadata: { name: gatewayClassName, namespace: 'shop', managedFields }, spec: { gatewayClassName }, status });
    server.put({ apiVersion: GATEWAY_API, kind: 'ListenerSet', metadata: { name: gatewayClassName, namespace: 'shop', managedFields }, spec: { parentRef: { name: gatewayClassName } }, status });
  }
  expect(await takeBack()).toBe(5);
  const left = ['GatewayClass', 'Gateway', 'ListenerSet'].flatMap((kind) => server.all(kind)).filter(({ status: of }) => of !== undefined).map(({ kind, metadata }) => `${kind} ${metadata.name}`);
  expect(left).toEqual(['GatewayClass other', 'Gateway other', 'ListenerSet other']);
});
