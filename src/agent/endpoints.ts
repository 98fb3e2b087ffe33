/**
 * What the agent answers on the node itself: metrics and readiness on ports, admin on a unix socket. The listening sockets of the ports
 * pass from one agent to the next, so that nobody who asks during an upgrade is refused.
 */
import type { Server } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LISTEN_BACKLOG } from '../core/limits.ts';
import type { Inherited } from '../redirect/listeners.ts';
import { Netns } from '../sys/netns.ts';
import { closeFd, dup, listenTcp } from '../sys/socket.ts';
import { SysError } from '../sys/sys-error.ts';
import { listenAt } from '../sys/unix-socket.ts';
import { httpServer } from '../telemetry/http-endpoints.ts';
import type { Routes } from '../telemetry/http-endpoints.ts';

const TAKEN_RETRY_MS = 50;

export interface EndpointRoutes {
  readonly metrics: Routes;
  readonly ready: Routes;
  readonly admin: Routes;
}

export interface EndpointsOptions {
  readonly metricsPort: number;
  readonly readyPort: number;
  readonly runDirectory: string;
  readonly routes: EndpointRoutes;
}

export class Endpoints {
  readonly #options: EndpointsOptions;
  readonly #servers: Server[] = [];
  readonly #fds: number[] = [];
  #takeAway: () => void = () => undefined;

  constructor(options: EndpointsOptions) {
    this.#options = options;
  }

  /** Answer from now on. Rejects with a sentence that names the flag to change when a port is still taken after `patienceMs`. */
  async open(inherited: Inherited = () => undefined, patienceMs = 0): Promise<void> {
    const { metricsPort, readyPort, runDirectory, routes } = this.#options;
    const endMs = performance.now() + patienceMs;
    await this.#serve(routes.metrics, await socketAt(metricsPort, '--metrics-port', { inherited, endMs }));
    await this.#serve(routes.ready, await socketAt(readyPort, '--ready-port', { inherited, endMs }));
    const admin = httpServer(routes.admin);
    this.#servers.push(admin);
    this.#takeAway = await listenAt(admin, join(runDirectory, 'admin.sock'), 0o600);
  }

  /** The sockets that another agent may go on with. */
  get fds(): readonly number[] {
    return this.#fds;
  }

  /** Answer no more. What listens at the admin socket's path by now stays. */
  close(): void {
    this.#takeAway();
    for (const server of this.#servers) server.close();
    for (const server of this.#servers.splice(0)) server.closeAllConnections();
    for (const fd of this.#fds.splice(0)) closeFd(fd);
  }

  async #serve(routes: Routes, fd: number): Promise<void> {
    this.#fds.push(fd);
    const server = httpServer(routes);
    this.#servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ fd: dup(fd) }, resolve);
    });
  }
}

/** On every address of the node, of both families where it has both. */
async function socketAt(port: number, flag: string, { inherited, endMs }: { inherited: Inherited; endMs: number }): Promise<number> {
  using netns = Netns.self();
  const { cookie } = netns;
  for (;;) {
    const fd = inherited({ cookie, address: '::', port }) ?? inherited({ cookie, address: '0.0.0.0', port }) ?? listenOn('::', port) ?? listenOn('0.0.0.0', port);
    if (fd !== undefined) return fd;
    if (performance.now() >= endMs) throw new Error(`port ${port} is taken in this network namespace; choose another with ${flag}`);
    await sleep(TAKEN_RETRY_MS);
  }
}

/** Undefined where the port is taken, or the node is without this family. */
function listenOn(address: string, port: number): number | undefined {
  try {
    return listenTcp({ address, port, backlog: LISTEN_BACKLOG });
  } catch (error) {
    if (error instanceof SysError && (error.code === 'EADDRINUSE' || error.code === 'EAFNOSUPPORT' || error.code === 'EADDRNOTAVAIL')) return undefined;
    throw error;
  }
}
