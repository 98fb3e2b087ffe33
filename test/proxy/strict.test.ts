/** A STRICT port on a real socket: plaintext is reset before a byte is read, and somebody is told. */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import type { InboundSecurity, Mtls } from '../../src/mesh/security.ts';
import { NO_SECURITY } from '../../src/mesh/security.ts';
import type { Table } from '../../src/mesh/table.ts';
import { Pod } from '../../src/proxy/pod.ts';
import { dup } from '../../src/sys/socket.ts';
import { World, tableOf } from './world.ts';

const STRICT: Mtls = { default: 'STRICT', defaultOrigin: 'PeerAuthentication shop/default', ports: new Map(), portOrigins: new Map() };
const service = { host: 'reviews.default.svc.cluster.local', name: 'reviews', namespace: 'default' };

class Node {
  readonly world = new World(tableOf());
  readonly log: string[] = [];
  readonly pod: Pod;
  readonly #port: number;

  private constructor(security: Partial<InboundSecurity>, port: number) {
    this.#port = port;
    const note = (fields: object | string, message = ''): void => void this.log.push(`${message} ${JSON.stringify(fields)}`);
    const dataplane = { ...this.world.dataplane, log: { level: 'info', debug: note, info: note, warn: note, error: note } };
    this.pod = new Pod({ id: 'default/reviews', identity: 'spiffe://cluster.local/ns/default/sa/reviews', baggage: '', addresses: ['10.1.0.1'], table: this.table(security), sockets: { outbound: () => -1, inbound: () => -1 }, dataplane });
  }

  static async start(security: Partial<InboundSecurity>): Promise<Node> {
    const listening = createServer();
    listening.listen(0, '127.0.0.1');
    await once(listening, 'listening');
    const made = new Node(security, (listening.address() as AddressInfo).port);
    const fd = dup((listening as unknown as { _handle: { fd: number } })._handle.fd);
    // The socket goes on listening by its other descriptor.
    listening.close();
    await made.pod.listen(fd, 'inbound', () => ({ address: '10.1.0.1', port: 9080 }));
    return made;
  }

  table(security: Partial<InboundSecurity>): Table {
    return { ...tableOf({ inbound: new Map([[9080, { protocol: 'http', service }]]) }), security: { ...NO_SECURITY, ...security } };
  }

  client(): Socket {
    const socket = connect(this.#port, '127.0.0.1');
    socket.on('error', () => undefined);
    return socket;
  }

  close(): void {
    this.pod.close();
  }
}

let node: Node;

afterEach(() => node.close());

async function closedBy(socket: Socket): Promise<string> {
  if (socket.destroyed) return 'ECONNRESET';
  return new Promise((resolve) => {
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
    socket.on('end', () => resolve('FIN'));
    socket.resume();
  });
}

test('plaintext is reset; log and metrics say who, where to, why and what to do', async () => {
  node = await Node.start({ mtls: STRICT });
  const socket = node.client();
  const closed = closedBy(socket);
  socket.write('GET / HTTP/1.1\r\nHost: reviews\r\n\r\n');
  expect(await closed).toMatch(/ECONNRESET|EPIPE/);
  expect(node.world.dials).toEqual([]);
  expect(node.world.tcp).toEqual(['destination opened ', 'destination closed NR']);
  expect(node.log).toHaveLength(1);
  expect(node.log[0]).toMatch(/plaintext refused: enrol the client .*"workload":"default\/reviews","client":"127\.0\.0\.1".*"port":9080,"reason":"PeerAuthentication shop\/default is STRICT for port 9080"/);
});

test('a thousand refusals are a few lines', async () => {
  node = await Node.start({ mtls: STRICT });
  for (let i = 0; i < 20; i += 1) await closedBy(node.client());
  expect(node.log).toHaveLength(1);
  expect(node.world.tcp).toHaveLength(40);
});

test('an open connection is reset when its port becomes STRICT', async () => {
  node = await Node.start({});
  const socket = node.client();
  const closed = closedBy(socket);
  await vi.waitUntil(() => node.pod.openConnections === 1, 10_000);
  node.pod.update(node.table({ mtls: STRICT }));
  expect(await closed).toBe('ECONNRESET');
});

test('a probe that only connects ends well, and is nobody\'s concern; one that speaks is reset', async () => {
  node = await Node.start({ mtls: STRICT, probes: [{ kind: 'tcp', port: 9080, path: '' }] });
  node.world.nodeAddresses.add('127.0.0.1');
  const probe = node.client();
  await once(probe, 'connect');
  probe.end();
  expect(await closedBy(probe)).toBe('FIN');
  const other = node.client();
  await once(other, 'connect');
  other.write('GET / HTTP/1.1\r\n\r\n');
  expect(await closedBy(other)).toMatch(/ECONNRESET|EPIPE/);
  expect([node.log, node.world.tcp, node.world.dials]).toEqual([[], [], []]);
  await vi.waitUntil(() => node.pod.openConnections === 0, 10_000);
});
