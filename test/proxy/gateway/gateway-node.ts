/** A gateway on loopback: real sockets on both sides, tables written by hand, and applications that say what they got. */
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import type { IncomingMessage, Server as HttpServer } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { systemClock } from '../../../src/core/clock.ts';
import { GATEWAY } from '../../../src/mesh/gateway/table.ts';
import type { GatewayPort, GatewayTable, ServerNameTable, TlsServer, TlsTermination } from '../../../src/mesh/gateway/table.ts';
import { NO_SECURITY } from '../../../src/mesh/security.ts';
import type { InboundSecurity } from '../../../src/mesh/security.ts';
import type { ClusterSpec, HostTable, TcpRoute } from '../../../src/mesh/table.ts';
import { Gateway } from '../../../src/proxy/gateway/gateway.ts';
import { GatewaySecrets } from '../../../src/proxy/gateway/secrets.ts';
import { NetnsDialer } from '../../../src/agent/dialer.ts';
import { connectSocket, dup } from '../../../src/sys/socket.ts';
import type { ExchangeFacts } from '../../../src/telemetry/telemetry.ts';
import { World, clusterOf, forwardTo, routeOf, tableOf } from '../world.ts';

export const IDENTITY = 'spiffe://cluster.local/ns/shop/sa/edge-orlop';

/** What an application got. */
export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
}

export class GatewayNode {
  readonly world = new World(tableOf());
  readonly log: string[] = [];
  readonly secrets = new GatewaySecrets();
  readonly gateway: Gateway;
  readonly #listening: Server[] = [];
  readonly #apps: (HttpServer | Server)[] = [];
  #sockets = 0;

  constructor() {
    const note = (fields: object | string, message = ''): void => void this.log.push(`${message} ${JSON.stringify(fields)}`);
    const dataplane = { ...this.world.dataplane, clock: systemClock, dialer: new NetnsDialer(), log: { level: 'info' as const, debug: note, info: note, warn: note, error: note } };
    this.gateway = new Gateway({
      id: 'shop/edge-orlop', baggage: '', addresses: ['192.0.2.1'], table: gatewayTable([]), sockets: { outbound: (family) => connectSocket({ family }), inbound: () => -1 }, secrets: this.secrets, dataplane,
    });
  }

  /** Put a table in force. */
  use(ports: readonly GatewayPort[], clusters: readonly ClusterSpec[], security: Partial<InboundSecurity> = {}): void {
    this.gateway.update(gatewayTable(ports, clusters, security));
  }

  /** Listen for a port of the gateway; resolves with the port of loopback. */
  async listen(port: number): Promise<number> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    this.#listening.push(server);
    this.#sockets += 1;
    await this.gateway.listen(this.#sockets, dup((server as unknown as { _handle: { fd: number } })._handle.fd), port);
    const bound = (server.address() as AddressInfo).port;
    // The socket goes on listening by its other descriptor.
    server.close();
    return bound;
  }

  /** An application over HTTP/1.1 that answers with what it got, and the cluster that leads to it. */
  async app(name: string): Promise<ClusterSpec> {
    const server = createHttpServer((request, response) => {
      const { method = '', url = '', headers } = request;
      request.resume();
      request.on('end', () => response.setHeader('app', name).end(JSON.stringify({ method, url, headers } satisfies Seen)));
    });
    return this.#serve(name, server, 'http');
  }

  /** An application that sends back what it is sent. */
  async echo(name: string): Promise<ClusterSpec> {
    return this.#serve(name, createServer((socket) => void socket.on('error', () => undefined).pipe(socket)), 'tcp');
  }

  async tcp(name: string, server: Server): Promise<ClusterSpec> {
    return this.#serve(name, server, 'tcp');
  }

  /** Exchanges that are over, as telemetry heard of them. */
  get ended(): readonly ExchangeFacts[] {
    return this.world.ended;
  }

  close(): void {
    this.gateway.close();
    for (const app of this.#apps) {
      app.close();
      if ('closeAllConnections' in app) app.closeAllConnections();
    }
  }

  async #serve(name: string, server: HttpServer | Server, protocol: 'http' | 'tcp'): Promise<ClusterSpec> {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    this.#apps.push(server);
    const { port } = server.address() as AddressInfo;
    const service = { host: `${name}.shop.svc.cluster.local`, name, namespace: 'shop' };
    return clusterOf({ key: name, service, port, protocol, endpoints: [{ address: '127.0.0.1', port, weight: 1, workload: undefined, node: undefined, enrolled: false, identity: '' }] });
  }
}

function gatewayTable(ports: readonly GatewayPort[], clusters: readonly ClusterSpec[] = [], security: Partial<InboundSecurity> = {}): GatewayTable {
  return {
    gateway: { kind: GATEWAY, namespace: 'shop', name: 'edge' },
    serviceAccount: 'edge-orlop',
    identity: IDENTITY,
    table: { ...tableOf({ clusters }), security: { ...NO_SECURITY, ...security } },
    ports: new Map(ports.map((port) => [port.port, port])),
  };
}

/** Virtual hosts that each lead to a cluster; `*.suffix` is a wildcard, `*` takes all. */
export function hosts(byName: Readonly<Record<string, string>>): HostTable {
  const entries = Object.entries(byName).map(([name, cluster]) => ({ name, host: { name, routes: [routeOf({ name, action: forwardTo({ clusters: [{ cluster, weight: 1, headers: undefined }] }) })], service: undefined } }));
  return {
    exact: new Map(entries.filter(({ name }) => !name.startsWith('*')).map(({ name, host }) => [name, host])),
    wildcards: entries.filter(({ name }) => name.startsWith('*')).map(({ name, host }) => ({ suffix: name.slice(1), host })).sort((a, b) => b.suffix.length - a.suffix.length),
  };
}

export function httpPort(port: number, byName: Readonly<Record<string, string>>): GatewayPort {
  return { kind: 'http', port, listeners: ['http'], hosts: hosts(byName) };
}

export function tcpRoute(cluster: string): TcpRoute {
  return { name: cluster, origin: 'TCPRoute shop/x', destinationSubnets: [], clusters: [{ cluster, weight: 1, headers: undefined }], weightTotal: 1 };
}

/** Servers by server name. */
export function tlsPort(port: number, byName: Readonly<Record<string, Partial<TlsServer>>>): GatewayPort {
  const entries = Object.entries(byName).map(([name, server]) => ({ name, server: { listener: name, termination: undefined, hosts: undefined, routes: [], ...server } satisfies TlsServer }));
  const servers: ServerNameTable = {
    exact: new Map(entries.filter(({ name }) => !name.startsWith('*')).map(({ name, server }) => [name, server])),
    wildcards: entries.filter(({ name }) => name.startsWith('*')).map(({ name, server }) => ({ suffix: name.slice(1), server })).sort((a, b) => b.suffix.length - a.suffix.length),
  };
  return { kind: 'tls', port, listeners: entries.map(({ name }) => name), servers };
}

/** With the certificates of these Secrets. */
export function terminated(names: readonly string[], change: Partial<TlsTermination> = {}): TlsTermination {
  return { certificates: names.map((name) => ({ kind: 'Secret', namespace: 'shop', name })), clients: undefined, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3', cipherSuites: [], ...change };
}
