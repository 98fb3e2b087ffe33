/** Which ports a node opens for gateways, and what the workers are told: on real sockets of this machine, at ports that nobody has. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Gateways } from '../../src/agent/gateways.ts';
import type { ServedGateway } from '../../src/agent/protocol.ts';
import { SocketKeeper } from '../../src/agent/keeper/socket-keeper.ts';
import { buildSnapshot } from '../../src/mesh/build.ts';
import type { Snapshot } from '../../src/mesh/snapshot.ts';
import { closeFd, dup, localAddress } from '../../src/sys/socket.ts';
import { RecordedLog } from '../certs/recorded-log.ts';
import { KeeperProcess } from '../keeper/keeper-process.ts';
import { answers } from './answers.ts';

const CLASS = { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'GatewayClass', metadata: { name: 'orlop' }, spec: { controllerName: 'orlop.io/gateway-controller' } };
const NODE = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1', labels: { edge: 'yes' } } };

let log: RecordedLog;
let served: Map<string, ServedGateway>;
let told: number;
let identities: string[];
let sources: string[];
let open: Gateways[];

beforeEach(() => {
  log = new RecordedLog();
  served = new Map();
  told = 0;
  identities = [];
  sources = [];
  open = [];
});

afterEach(() => {
  for (const gateways of open) gateways.closeListeners();
});

function gatewaysOf(options: { standalone?: boolean; held?: boolean; keeper?: SocketKeeper } = {}): Gateways {
  const gateways = new Gateways({
    node: 'n1',
    standalone: true,
    held: false,
    keeper: undefined,
    log,
    servers: {
      serve: (one) => {
        told += 1;
        served.set(one.workload, one);
      },
      forgetGateway: (workload) => void served.delete(workload),
    },
    identities: {
      keep: (wanted) => {
        identities.push(...wanted);
        return () => {
          identities = identities.filter((one) => !wanted.includes(one));
        };
      },
    },
    onSources: (wanted) => {
      sources = [...wanted.keys()];
    },
    ...options,
  });
  open.push(gateways);
  return gateways;
}

function gateway(name: string, ports: readonly number[], annotations: Readonly<Record<string, string>> = {}): object {
  return {
    apiVersion: 'gateway.networking.k8s.io/v1', kind: 'Gateway', metadata: { name, namespace: 'shop', annotations },
    spec: { gatewayClassName: 'orlop', listeners: ports.map((port) => ({ name: `p${port}`, protocol: 'HTTP', port })) },
  };
}

function snapshotOf(...objects: readonly object[]): Snapshot {
  return buildSnapshot([CLASS, NODE, ...objects].map((object, i) => ({ name: `${i}.yaml`, text: JSON.stringify(object) })));
}

async function freePorts(count: number): Promise<number[]> {
  const servers: Server[] = [];
  while (servers.length < count) {
    const server = createServer().listen(0);
    await once(server, 'listening');
    servers.push(server);
  }
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map(async (server) => {
    server.close();
    await once(server, 'close');
  }));
  return ports;
}

const portsOf = (workload: string): number[] => [...new Set(served.get(workload)?.sockets.map(({ port }) => port))].sort((a, b) => a - b);

it('opens the ports of its listeners, obtains its identity, and lets go of both', async () => {
  const [port = 0] = await freePorts(1);
  const gateways = gatewaysOf();
  gateways.apply(snapshotOf(gateway('edge', [port])));
  expect(await answers(port)).toBe(true);
  expect(identities).toEqual(['spiffe://cluster.local/ns/shop/sa/edge-orlop']);
  expect(portsOf('shop/edge-orlop')).toEqual([port]);
  gateways.apply(snapshotOf());
  expect(await answers(port)).toBe(false);
  expect([identities, [...served]]).toEqual([[], []]);
});

it('has its ports kept for the next agent, and closed when they go', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'orlop-gateways-'));
  const path = join(directory, 'keeper.sock');
  const process = await KeeperProcess.start(path);
  const keeper = new SocketKeeper({ path, log });
  const [stays, goes] = [24_918, 24_919];
  const service = (ports: readonly (readonly [port: number, nodePort: number])[]): object => ({
    apiVersion: 'v1', kind: 'Service', metadata: { name: 'edge-orlop', namespace: 'shop' },
    spec: { type: 'LoadBalancer', ports: ports.map(([port, targetPort]) => ({ name: `port-${port}`, port, targetPort })) },
  });
  const gateways = gatewaysOf({ keeper, standalone: false });
  gateways.apply(snapshotOf(gateway('edge', [80, 81]), service([[80, stays], [81, goes]])));
  // Of the node it is the same port; behind it is another one of the gateway.
  gateways.apply(snapshotOf(gateway('edge', [8080]), service([[8080, stays]])));
  expect(portsOf('shop/edge-orlop')).toEqual([8080]);
  // As when the agent is killed: its copies are closed, and nothing is said.
  keeper.close({ keep: true });
  gateways.closeListeners();
  expect(await answers(stays)).toBe(true);
  await vi.waitFor(async () => expect(await answers(goes)).toBe(false));
  await process.end();
  rmSync(directory, { recursive: true });
});

it('a change of listeners leaves the sockets of the others as they are', async () => {
  const [kept = 0, gone = 0, fresh = 0] = await freePorts(3);
  const gateways = gatewaysOf();
  gateways.apply(snapshotOf(gateway('edge', [kept, gone])));
  const before = served.get('shop/edge-orlop')?.sockets.filter(({ port }) => port === kept);
  gateways.apply(snapshotOf(gateway('edge', [kept, fresh])));
  expect(served.get('shop/edge-orlop')?.sockets.filter(({ port }) => port === kept)).toEqual(before);
  expect([await answers(kept), await answers(gone), await answers(fresh)]).toEqual([true, false, true]);
  gateways.apply(snapshotOf(gateway('edge', [kept, fresh])));
  expect(told).toBe(2);
});

it('a port that another gateway or program has is said, costs no other, and is opened when it is free', async () => {
  const [taken = 0, free = 0] = await freePorts(2);
  const program = createServer().listen(taken, '0.0.0.0');
  await once(program, 'listening');
  const gateways = gatewaysOf();
  gateways.apply(snapshotOf({ ...gateway('a', [taken, free]), metadata: { name: 'a', namespace: 'shop', creationTimestamp: '2026-01-01T00:00:00Z' } }, { ...gateway('b', [free]), metadata: { name: 'b', namespace: 'shop', creationTimestamp: '2026-02-01T00:00:00Z' } }));
  expect(portsOf('shop/a-orlop')).toContain(free);
  expect(portsOf('shop/b-orlop')).toEqual([]);
  expect(log.text).toMatch(/"gateway":"shop\/a-orlop:\d+","reason":"listen on .*EADDRINUSE/);
  expect(log.text).toContain(`port ${free} of the node belongs to gateway shop/a-orlop`);
  expect(gateways.states().find((one) => one.gateway === 'shop/a-orlop')?.failures).toHaveLength(1);
  program.close();
  await expect.poll(() => gateways.states().flatMap(({ failures }) => failures.filter((line) => line.includes('EADDRINUSE'))), { timeout: 20_000 }).toEqual([]);
});

it('serves what has chosen its node, at the ports that the Service gives, and at none outside their range', async () => {
  const service = (name: string, targetPort: number): object => ({ apiVersion: 'v1', kind: 'Service', metadata: { name: `${name}-orlop`, namespace: 'shop' }, spec: { type: 'LoadBalancer', ports: [{ name: 'port-80', port: 80, targetPort }] } });
  const gateways = gatewaysOf({ standalone: false });
  gateways.apply(snapshotOf(gateway('here', [80], { 'orlop.io/gateway-nodes': 'edge=yes' }), gateway('there', [80], { 'orlop.io/gateway-nodes': 'edge=no' }), gateway('bold', [80]), gateway('early', [80]), service('here', 24917), service('bold', 2222)));
  expect([...served.keys()].sort()).toEqual(['shop/bold-orlop', 'shop/early-orlop', 'shop/here-orlop']);
  expect(served.get('shop/here-orlop')?.sockets).toEqual(expect.arrayContaining([expect.objectContaining({ port: 80, nodePort: 24917 })]));
  expect([portsOf('shop/bold-orlop'), portsOf('shop/early-orlop')]).toEqual([[], []]);
  expect(await answers(24917)).toBe(true);
});

it('ports of nodes are refused where pods may not have them either', () => {
  const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } } };
  gatewaysOf({ standalone: false }).apply(snapshotOf(namespace, gateway('edge', [80], { 'orlop.io/gateway-mode': 'hostPort' })));
  expect([...served]).toEqual([]);
});

it('tells which certificates are needed', () => {
  const tls = { ...gateway('edge', []), spec: { gatewayClassName: 'orlop', listeners: [{ name: 'https', protocol: 'HTTPS', port: 443, tls: { certificateRefs: [{ name: 'cert' }] } }] } };
  gatewaysOf({ standalone: false }).apply(snapshotOf(tls));
  expect(sources).toEqual(['Secret shop/cert']);
});

it('an agent that takes over gets the listening sockets, and clients notice nothing', async () => {
  const [port = 0] = await freePorts(1);
  const snapshot = snapshotOf(gateway('edge', [port]));
  const before = gatewaysOf();
  before.apply(snapshot);
  const passed = new Map(before.hold().map((fd) => [`${localAddress(fd).address} ${port}`, dup(fd)]));
  const next = gatewaysOf({ held: true });
  served.clear();
  next.apply(snapshot);
  expect([...served]).toEqual([]);
  next.resume(({ address, port: wanted }) => {
    const fd = passed.get(`${address} ${wanted}`);
    passed.delete(`${address} ${wanted}`);
    return fd;
  });
  expect(passed.size).toBe(0);
  before.letGo();
  expect(await answers(port)).toBe(true);
  expect(portsOf('shop/edge-orlop')).toEqual([port]);
  for (const fd of passed.values()) closeFd(fd);
});
