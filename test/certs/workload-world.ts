/** One pod's server on a unix socket of its own, its certificates and its log. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PodServer } from '../../src/certs/workload-api/pod-server.ts';
import type { Clock } from '../../src/core/clock.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { Logger } from '../../src/core/log.ts';
import { RotatingSource } from './rotating-source.ts';

export const IDENTITY = 'spiffe://cluster.local/ns/shop/sa/cart';
export const NEIGHBOUR = 'spiffe://cluster.local/ns/shop/sa/payment';
export const TRUST_DOMAIN_ID = 'spiffe://cluster.local';

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly [field: string]: unknown;
}

export class WorkloadWorld implements AsyncDisposable {
  readonly path: string;
  readonly source = new RotatingSource();
  readonly lines: LogLine[] = [];
  readonly server: PodServer;
  readonly #directory = mkdtempSync(join(tmpdir(), 'orlop-sds-'));
  readonly #listener: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(clock: Clock) {
    this.path = join(this.#directory, 's');
    this.server = new PodServer({ podId: 'shop/cart-1', identity: IDENTITY }, { source: this.source, clock, log: collectingLog(this.lines) });
    this.#listener = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      this.server.take(socket);
    });
  }

  static async open(clock: Clock = systemClock): Promise<WorkloadWorld> {
    const world = new WorkloadWorld(clock);
    await new Promise<void>((resolve) => {
      world.#listener.listen(world.path, resolve);
    });
    return world;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.close('the test is over');
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => {
      this.#listener.close(() => resolve());
    });
    rmSync(this.#directory, { recursive: true });
  }
}

export function collectingLog(lines: LogLine[]): Logger {
  const write = (level: string) => (fields: object | string, message = ''): void => {
    lines.push(typeof fields === 'string' ? { level, message: fields } : { ...fields, level, message });
  };
  return { level: 'debug', debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
}
