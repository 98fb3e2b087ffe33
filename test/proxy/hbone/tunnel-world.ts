/** Pods with tunnels between them, over real sockets of loopback: only their applications are the test's. */
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { FakeClock, systemClock } from '../../../src/core/clock.ts';
import type { Clock } from '../../../src/core/clock.ts';
import type { MeshError } from '../../../src/core/errors.ts';
import { seededRandom } from '../../../src/core/random.ts';
import { Buffers } from '../../../src/proxy/buffers.ts';
import type { Connection } from '../../../src/proxy/connection.ts';
import type { DataPlane } from '../../../src/proxy/dataplane.ts';
import { TunnelListener } from '../../../src/proxy/hbone/tunnel-listener.ts';
import { Tunnels } from '../../../src/proxy/hbone/tunnels.ts';
import type { ConnectionHandler } from '../../../src/proxy/newcomer.ts';
import type { OpaqueSession } from '../../../src/proxy/opaque.ts';
import { Identities } from '../../../src/proxy/tls/identities.ts';
import type { Transport, TransportOwner } from '../../../src/proxy/transport.ts';
import type { WorkloadHandle } from '../../../src/proxy/workload.ts';
import { listenTcp } from '../../../src/sys/socket.ts';
import { collectingLog } from '../../certs/workload-world.ts';
import type { LogLine } from '../../certs/workload-world.ts';
import { MeshCa } from '../tls/mesh-ca.ts';

export const PORT = 8080;

export function identityOf(name: string): string {
  return `spiffe://cluster.local/ns/shop/sa/${name}`;
}

/** One end of a connection in a tunnel: what it was told, and what it does with it. */
export class End implements TransportOwner {
  transport!: Transport;
  readonly connection: Connection | undefined;
  received = '';
  receivedBytes = 0;
  ends = 0;
  drains = 0;
  readonly made = Promise.withResolvers<undefined>();
  /** With the error, if there was one. */
  readonly over = Promise.withResolvers<Error | undefined>();
  readonly halfOver = Promise.withResolvers<undefined>();
  onBytes: (end: End, text: string) => void = () => undefined;

  constructor(connection?: Connection) {
    this.connection = connection;
  }

  connected(): void {
    this.made.resolve(undefined);
  }

  bytes(buffer: Buffer, length: number): void {
    this.receivedBytes += length;
    const text = buffer.toString('latin1', 0, length);
    if (this.receivedBytes < 1000) this.received += text;
    this.onBytes(this, text);
  }

  ended(): void {
    this.ends += 1;
    this.halfOver.resolve(undefined);
  }

  drained(): void {
    this.drains += 1;
  }

  closed(error: Error | undefined): void {
    this.over.resolve(error);
  }
}

export class TunnelPod {
  readonly handle: WorkloadHandle;
  readonly tunnels: Tunnels;
  /** Connections that came out of tunnels to it. */
  readonly arrived: End[] = [];
  /** What its application does with a connection. */
  serve: (end: End) => void = (end) => {
    end.onBytes = (self, text) => self.transport.write(text);
  };
  /** Why its application is not reached; undefined when it is. */
  refuses: MeshError | undefined;
  listener: TunnelListener | undefined;

  constructor(world: TunnelWorld, name: string, address: string) {
    this.handle = { id: `shop/${name}`, identity: identityOf(name), baggage: `service.name=${name}`, addresses: [address] } as unknown as WorkloadHandle;
    this.tunnels = new Tunnels(this.handle, world.dataplane);
    this.tunnels.retain(world.podAt);
  }

  /** Resolves with the next connection that arrives. */
  async arrival(number = 1): Promise<End> {
    while (this.arrived.length < number) await soon();
    return this.arrived[number - 1] as End;
  }

  readonly handler: ConnectionHandler = {
    fault: () => undefined,
    isTcpProbe: () => false,
    accepted: () => () => undefined,
    mayBeOpaque: () => true,
    protocol: () => 'tcp',
    rememberOpaque: () => undefined,
    http: () => {
      throw new Error('nothing is read as HTTP here');
    },
    opaque: (connection, observer) => {
      const { refuses } = this;
      queueMicrotask(() => (refuses === undefined ? observer.connected?.() : observer.failed(refuses)));
      const end = new End(connection);
      const join = (transport: Transport): void => {
        this.arrived.push(end);
        end.transport = transport;
        transport.owner = end;
        this.serve(end);
      };
      return { join, abandon: () => undefined } as unknown as OpaqueSession;
    },
  };
}

export class TunnelWorld {
  readonly ca: MeshCa;
  readonly identities = new Identities();
  readonly lines: LogLine[] = [];
  readonly ended: string[] = [];
  /** Addresses that were dialled, and sockets made for it. */
  readonly dialled: string[] = [];
  readonly dataplane: DataPlane;
  /** Which pod has an address, by its uid. */
  readonly uids = new Map<string, string>();
  readonly podAt = (address: string): string | undefined => this.uids.get(address);
  readonly #ports = new Map<string, number>();
  readonly #sockets: Socket[] = [];
  readonly #listeners: TunnelListener[] = [];
  #pods = 0;

  private constructor(ca: MeshCa, clock: Clock) {
    this.ca = ca;
    this.dataplane = {
      clock,
      random: seededRandom(1),
      log: collectingLog(this.lines),
      telemetry: { exchangeEnded: ({ flags, details, status }: { flags: string; details: string; status: number }) => this.ended.push(`${status} ${flags} ${details}`), tcpOpened: () => undefined, tcpBytes: () => undefined, tcpClosed: () => undefined },
      identities: this.identities,
      buffers: new Buffers(),
      draining: () => false,
      dialer: {
        dial: () => {
          throw new Error('tunnels dial sockets');
        },
        socket: ({ address }) => {
          this.dialled.push(address);
          const socket = connect({ host: address, port: this.#ports.get(address) ?? 1, allowHalfOpen: true });
          this.#sockets.push(socket);
          return socket;
        },
      },
    } as Partial<DataPlane> as DataPlane;
  }

  static async create(clock: Clock = systemClock): Promise<TunnelWorld> {
    return new TunnelWorld(await MeshCa.create(), clock);
  }

  /** A pod on an address of its own, with its certificate unless it is to wait for one. */
  async pod(name: string, { certified = true }: { certified?: boolean } = {}): Promise<TunnelPod> {
    this.#pods += 1;
    const address = `127.0.1.${this.#pods}`;
    this.uids.set(address, `uid of ${name}`);
    const pod = new TunnelPod(this, name, address);
    const port = await freePort(address);
    this.#ports.set(address, port);
    const fd = listenTcp({ address, port, backlog: 128, reusePort: true });
    pod.listener = await TunnelListener.start({ fd, workload: pod.handle, handler: pod.handler, dataplane: this.dataplane });
    this.#listeners.push(pod.listener);
    if (certified) await this.certify(name);
    return pod;
  }

  async certify(name: string): Promise<void> {
    this.identities.set(await this.ca.issue(identityOf(name)));
  }

  /** A TCP connection to where a pod takes tunnels, from an address of loopback, that says nothing. */
  silent(to: TunnelPod, localAddress: string): Socket {
    const [address = ''] = to.handle.addresses;
    const socket = connect({ host: address, port: this.#ports.get(address) ?? 1, localAddress });
    socket.on('error', () => undefined);
    this.#sockets.push(socket);
    return socket;
  }

  /** A connection from one pod to the other's application. */
  open(from: TunnelPod, to: TunnelPod, identities: readonly string[] = [to.handle.identity], port = PORT): End {
    const end = new End();
    const target = { workload: from.handle, direction: 'outbound', address: to.handle.addresses[0] ?? '', port, clientAddress: '', security: undefined } as const;
    end.transport = from.tunnels.open(target, identities, end);
    return end;
  }

  close(): void {
    for (const listener of this.#listeners) listener.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

export function fakeTime(): FakeClock {
  return new FakeClock(Date.now());
}

export async function soon(): Promise<void> {
  await new Promise((resolve) => {
    setTimeout(resolve, 5);
  });
}

async function freePort(address: string): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, address, resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => {
    server.close(resolve);
  });
  return port;
}
