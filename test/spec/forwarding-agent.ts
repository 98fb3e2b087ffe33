/** The smallest agent there can be: accept, ask where the connection was going, connect there, pass bytes both ways. */
import { createServer, Socket } from 'node:net';
import type { Server } from 'node:net';
import { closeListeners, openListeners } from '../../src/redirect/listeners.ts';
import { openOriginalDst } from '../../src/redirect/original-dst.ts';
import { NO_EXCLUSIONS } from '../../src/redirect/exclusions.ts';
import type { Exclusions } from '../../src/redirect/exclusions.ts';
import type { PodListeners, Redirector } from '../../src/redirect/redirector.ts';
import { openBorrowedSocket } from '../../src/redirect/source-address.ts';
import { MARK_OUTBOUND } from '../../src/sys/layout.ts';
import { familyOf } from '../../src/sys/sockaddr.ts';
import { connectSocket, dup } from '../../src/sys/socket.ts';
import type { Host } from '../netns/cluster.ts';

export interface Captured {
  readonly pod: string;
  readonly direction: 'outbound' | 'inbound';
  readonly destination: string;
}

interface Served {
  readonly listeners: PodListeners;
  readonly servers: readonly Server[];
  /** Accept on the listeners, as the workers of a real agent do. */
  readonly serve: () => Server[];
}

export class ForwardingAgent {
  readonly captured: Captured[] = [];
  /** Connections closed because nobody redirected them. */
  refused = 0;
  readonly #redirector: Redirector;
  readonly #served = new Map<string, Served>();
  readonly #sockets = new Set<Socket>();

  constructor(redirector: Redirector) {
    this.#redirector = redirector;
  }

  enrol(pod: Host, exclusions: Partial<Exclusions> = {}): void {
    const all = { ...NO_EXCLUSIONS, ...exclusions };
    const listeners = openListeners(pod.netns, all);
    const descriptor = this.#redirector.enrol({ id: pod.name, netnsPath: pod.netnsPath, addresses: [pod.ipv4, pod.ipv6], exclusions: all }, listeners);
    const lookup = openOriginalDst(descriptor);
    const serve = (fd: number, direction: Captured['direction']): Server => {
      const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
        const family = socket.remoteFamily === 'IPv6' ? 6 : 4;
        const accepted = fdOf(socket);
        const destination = direction === 'outbound'
          ? lookup.outbound(accepted, family)
          : lookup.inbound(accepted, family, socket.localAddress ?? '', socket.localPort ?? 0);
        if (destination === undefined) {
          this.refused += 1;
          socket.destroy();
          return;
        }
        if (this.captured.length > 1000) throw new Error('the agent captures its own connections');
        this.captured.push({ pod: pod.name, direction, destination: `${destination.address} ${destination.port}` });
        const upstream = pod.netns.run(() => direction === 'outbound'
          ? connectSocket({ family: familyOf(destination.address), mark: MARK_OUTBOUND })
          : openBorrowedSocket(family, socket.remoteAddress ?? ''));
        this.#join(socket, new Socket({ fd: upstream, allowHalfOpen: true }), destination.address, destination.port);
      });
      return server.listen({ fd: dup(fd) });
    };
    const serveAll = (): Server[] => [...listeners.outbound.map((fd) => serve(fd, 'outbound')), ...listeners.inbound.map((fd) => serve(fd, 'inbound'))];
    this.#stopServing(pod.name);
    this.#served.set(pod.name, { listeners, servers: serveAll(), serve: serveAll });
  }

  /** No worker accepts for this pod for a while; the listeners stay open, as the main thread of a real agent keeps them. */
  pause(pod: Host): void {
    for (const server of this.#served.get(pod.name)?.servers ?? []) server.close();
  }

  resume(pod: Host): void {
    const served = this.#served.get(pod.name);
    if (served !== undefined) this.#served.set(pod.name, { ...served, servers: served.serve() });
  }

  release(pod: Host): void {
    this.#redirector.release(pod.name);
    this.#stopServing(pod.name);
  }

  /** What the kernel does to a killed agent: sockets close, capture stays. */
  crash(): void {
    this.#redirector.close({ keep: true });
    for (const socket of this.#sockets) socket.destroy();
    for (const name of this.#served.keys()) this.#stopServing(name);
  }

  /** The end of all capture, connections included. */
  uninstall(): void {
    this.#redirector.close({ keep: false });
    for (const socket of this.#sockets) socket.destroy();
    for (const name of this.#served.keys()) this.#stopServing(name);
  }

  #join(downstream: Socket, upstream: Socket, host: string, port: number): void {
    for (const [socket, other] of [[downstream, upstream], [upstream, downstream]] as const) {
      this.#sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    upstream.connect({ host, port }, () => {
      downstream.pipe(upstream);
      upstream.pipe(downstream);
    });
  }

  #stopServing(name: string): void {
    const served = this.#served.get(name);
    if (served === undefined) return;
    this.#served.delete(name);
    for (const server of served.servers) server.close();
    closeListeners(served.listeners);
  }
}

function fdOf(socket: Socket): number {
  return (socket as unknown as { _handle: { fd: number } })._handle.fd;
}
