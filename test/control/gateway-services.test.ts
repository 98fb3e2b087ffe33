/** What the control plane keeps so that gateways can be reached: Services, their endpoints, and ports of the nodes that are given once. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { AgentPod } from '../../src/control/agent-pods.ts';
import { GatewayServices } from '../../src/control/gateway-services.ts';
import { buildSnapshot } from '../../src/mesh/build.ts';
import type { Snapshot } from '../../src/mesh/snapshot.ts';
import { GATEWAY } from '../../src/mesh/gateway/table.ts';
import { RecordedLog } from '../certs/recorded-log.ts';
import { ApiServer } from '../kube-api/api-server.ts';

const CLASS = { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'GatewayClass', metadata: { name: 'orlop' }, spec: { controllerName: 'orlop.io/gateway-controller' } };

let server: ApiServer;
let log: RecordedLog;
let objects: object[];
let agents: AgentPod[];
let services: GatewayServices;

beforeEach(async () => {
  server = new ApiServer();
  await server.start();
  log = new RecordedLog();
  objects = [CLASS, ...['n1', 'n2'].map((name) => ({ apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { name } } }))];
  agents = [{ node: 'n1', addresses: ['192.0.2.1', '2001:db8::1'], ready: true }, { node: 'n2', addresses: ['192.0.2.2'], ready: false }];
  services = new GatewayServices({ client: server.client(), snapshot, agents: () => agents, log });
});

afterEach(async () => {
  await server.stop();
});

/** Of the test's objects, and of the Services that are stored. */
function snapshot(): Snapshot {
  return buildSnapshot([...objects, ...server.all('Service').map((one) => ({ ...one, apiVersion: 'v1', kind: 'Service' }))].map((object, i) => ({ name: `${i}.yaml`, text: JSON.stringify(object) })));
}

function gateway(name: string, ports: readonly number[], annotations: Readonly<Record<string, string>> = {}, spec: object = {}): object {
  return {
    apiVersion: 'gateway.networking.k8s.io/v1', kind: 'Gateway', metadata: { name, namespace: 'shop', uid: `uid-${name}`, annotations },
    spec: { gatewayClassName: 'orlop', listeners: ports.map((port) => ({ name: `p${port}`, protocol: 'HTTP', port })), ...spec },
  };
}

const spec = (name: string): Record<string, unknown> => server.get('Service', name, 'shop')?.['spec'] as Record<string, unknown>;
const ports = (name: string): unknown => (spec(name)['ports'] as { port: number; targetPort: number }[]).map(({ port, targetPort }) => [port, targetPort]);

it('a Gateway has a Service that it owns, with ports of the nodes that no other has, and keeps them', async () => {
  objects.push(gateway('a', [80, 443], {}, { infrastructure: { labels: { team: 'x' }, annotations: { 'cloud/kind': 'internal' } }, addresses: [{ value: '203.0.113.7' }] }), gateway('b', [80]));
  expect(await services.step()).toBe(false);
  expect([ports('a-orlop'), ports('b-orlop')]).toEqual([[[80, 24000], [443, 24001]], [[80, 24002]]]);
  expect(spec('a-orlop')).toMatchObject({ type: 'LoadBalancer', externalTrafficPolicy: 'Local', loadBalancerIP: '203.0.113.7' });
  expect(server.get('Service', 'a-orlop', 'shop')?.metadata).toMatchObject({ labels: { team: 'x' }, annotations: { 'cloud/kind': 'internal' }, ownerReferences: [{ kind: 'Gateway', name: 'a', uid: 'uid-a' }] });
  objects.splice(objects.findIndex((one) => (one as { metadata: { name: string } }).metadata.name === 'a'), 1, gateway('a', [443, 8080]));
  await services.step();
  expect(ports('a-orlop')).toEqual([[443, 24001], [8080, 24003]]);
});

it('a port is given once, also while what was given is not known to be stored, and one that two have got is taken from the younger', async () => {
  const behind = buildSnapshot([CLASS, gateway('a', [80]), gateway('b', [80])].map((object, i) => ({ name: `${i}.yaml`, text: JSON.stringify(object) })));
  const late = new GatewayServices({ client: server.client(), snapshot: () => behind, agents: () => agents, log });
  await late.step();
  await late.step();
  expect([ports('a-orlop'), ports('b-orlop')]).toEqual([[[80, 24000]], [[80, 24001]]]);
  const twice = (name: string, createdAt: string): void => server.put({ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'shop', creationTimestamp: createdAt, labels: { 'app.kubernetes.io/managed-by': 'orlop' } }, spec: { ports: [{ name: 'port-80', port: 80, targetPort: 24007, protocol: 'TCP' }] } });
  twice('a-orlop', '2026-02-01T00:00:00Z');
  twice('b-orlop', '2026-01-01T00:00:00Z');
  objects.push(gateway('a', [80]), gateway('b', [80]));
  await services.step();
  expect([ports('a-orlop'), ports('b-orlop')]).toEqual([[[80, 24000]], [[80, 24007]]]);
});

it('its endpoints are the nodes that it has chosen, ready as their agents are', async () => {
  objects.push(gateway('a', [80]), gateway('b', [80], { 'orlop.io/gateway-nodes': 'name=n2' }));
  await services.step();
  expect(server.get('EndpointSlice', 'a-orlop-ipv4', 'shop')).toMatchObject({
    addressType: 'IPv4', ports: [{ name: 'port-80', port: 24000 }],
    endpoints: [{ addresses: ['192.0.2.1'], nodeName: 'n1', conditions: { ready: true } }, { addresses: ['192.0.2.2'], nodeName: 'n2', conditions: { ready: false } }],
  });
  expect(server.get('EndpointSlice', 'a-orlop-ipv6', 'shop')).toMatchObject({ addressType: 'IPv6', endpoints: [{ addresses: ['2001:db8::1'] }] });
  expect(server.get('EndpointSlice', 'b-orlop-ipv4', 'shop')?.['endpoints']).toHaveLength(1);
  agents = agents.map((one) => ({ ...one, ready: true }));
  await services.step();
  expect(server.get('EndpointSlice', 'b-orlop-ipv4', 'shop')?.['endpoints']).toMatchObject([{ nodeName: 'n2', conditions: { ready: true } }]);
});

it('nothing is written when nothing has changed, and what others add stays', async () => {
  objects.push(gateway('a', [80]));
  await services.step();
  const stored = server.get('Service', 'a-orlop', 'shop') as NonNullable<ReturnType<ApiServer['get']>>;
  server.put({ ...stored, metadata: { ...stored.metadata, annotations: { 'cloud/id': '7' } }, spec: { ...spec('a-orlop'), clusterIP: '10.96.0.9', ports: [{ name: 'port-80', port: 80, targetPort: 24000, protocol: 'TCP', nodePort: 30123 }] }, status: { loadBalancer: { ingress: [{ ip: '203.0.113.9' }, { hostname: 'lb.example' }] } } });
  server.requests.length = 0;
  expect(await services.step()).toBe(true);
  expect(server.requests.filter((line) => !line.startsWith('GET'))).toEqual([]);
  expect(services.addresses({ kind: GATEWAY, namespace: 'shop', name: 'a' })).toEqual([{ type: 'IPAddress', value: '203.0.113.9' }, { type: 'Hostname', value: 'lb.example' }]);
});

it('on ports of the nodes there is no Service: its addresses are those of the nodes that are ready', async () => {
  objects.push(gateway('a', [80]));
  await services.step();
  objects.pop();
  objects.push(gateway('a', [80], { 'orlop.io/gateway-mode': 'hostPort' }));
  await services.step();
  expect(server.all('Service')).toEqual([]);
  expect(services.addresses({ kind: GATEWAY, namespace: 'shop', name: 'a' })).toEqual([{ type: 'IPAddress', value: '192.0.2.1' }]);
});

it('a Service of the same name that is somebody else\'s is left alone, and told of', async () => {
  server.put({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'a-orlop', namespace: 'shop' }, spec: { ports: [{ port: 1 }], selector: { app: 'x' } } });
  objects.push(gateway('a', [80]));
  expect(await services.step()).toBe(false);
  expect(spec('a-orlop')).toEqual({ ports: [{ port: 1 }], selector: { app: 'x' } });
  expect(log.text).toContain('there is a Service shop/a-orlop that is not the gateway\'s');
});

it('one namespace that refuses does not hold up the others', async () => {
  objects.push({ ...gateway('a', [80]), metadata: { name: 'a', namespace: 'closed' } }, gateway('b', [80]));
  server.intercept = (request) => (request.url?.includes('/namespaces/closed/') === true ? { status: 403, body: { reason: 'Forbidden', message: 'no' } } : undefined);
  expect(await services.step()).toBe(false);
  expect(spec('b-orlop')).toBeDefined();
  expect(log.lines).toEqual(['error a gateway cannot be reached: its Service could not be kept']);
});
