/** The servers behind every proxy: nginx with a small fixed answer, and iperf3. */
import { request } from 'node:http';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import type { Bench } from './bench.ts';
import { logTail } from './processes.ts';
import type { Client } from './topology.ts';

export const HTTP_PORT = 8080;
export const BULK_PORT = 5201;
const START_TIMEOUT_MS = 5000;
/** Between two looks at whether requests still arrive. */
const REST_MS = 50;

/** The service's name, sent as Host by every client through every proxy. */
export const HOST = 'echo.bench.svc.cluster.local';

/** The answer: 128 bytes, checked wherever a client can afford to look. */
export const BODY: string = `${'the orlop is the lowest deck of a ship, beneath all the others; '.padEnd(127, '.')}\n`;

export class Backend {
  readonly netns: string;
  readonly address: string;
  readonly #statusSocket: string;
  /** Our own questions, which nginx counts too. */
  #asked = 0;

  private constructor({ netns, address }: Client, statusSocket: string) {
    this.netns = netns;
    this.address = address;
    this.#statusSocket = statusSocket;
  }

  /** Starts both servers at `place` and waits until nginx answers. */
  static async start(bench: Bench, place: Client): Promise<Backend> {
    const path = join(bench.dir, place.netns);
    const [config, log, statusSocket] = [`${path}.conf`, `${path}.log`, `${path}.sock`];
    writeFileSync(config, renderConfig(place.address, `${path}.pid`, statusSocket));
    const where = { netns: place.netns, core: bench.loadCore };
    bench.processes.start(['nginx', '-c', config, '-e', 'stderr'], where, log);
    bench.processes.start(['iperf3', '-s', '-B', place.address, '-p', String(BULK_PORT)], where, `${path}-iperf3.log`);
    const backend = new Backend(place, statusSocket);
    await backend.#started(log);
    return backend;
  }

  async #started(logFile: string): Promise<void> {
    const deadlineMs = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      try {
        await this.#count();
        return;
      } catch (error) {
        if (performance.now() > deadlineMs) throw new Error(`the backend does not start: ${logTail(logFile)}`, { cause: error });
        await delay(20);
      }
    }
  }

  /**
   * Requests answered since the start: what the load generators claim is held against it. Read once no more arrive, since a load
   * that was cut off leaves some under way, and a slow pair of proxies holds them for a while.
   */
  async requestsServed(): Promise<number> {
    for (let before = await this.#count(); ;) {
      await delay(REST_MS);
      const now = await this.#count();
      if (now === before) return now;
      before = now;
    }
  }

  /** Asked over a unix socket, so from any namespace. */
  async #count(): Promise<number> {
    const text = await new Promise<string>((resolve, reject) => {
      request({ socketPath: this.#statusSocket, path: '/', agent: false }, (response) => {
        const parts: string[] = [];
        response.setEncoding('utf8').on('data', (part: string) => parts.push(part)).on('end', () => resolve(parts.join('')));
      }).on('error', reject).end();
    });
    const counters = /^\s*\d+ \d+ (\d+)\s*$/m.exec(text);
    if (counters === null) throw new Error(`nginx's stub_status is not as expected: ${text}`);
    this.#asked += 1;
    return Number(counters[1]) - this.#asked;
  }
}

function renderConfig(address: string, pidFile: string, statusSocket: string): string {
  return `daemon off;
worker_processes 1;
pid ${pidFile};
events { worker_connections 16384; }
http {
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  server {
    listen ${address}:${String(HTTP_PORT)} backlog=4096;
    location / {
      default_type text/plain;
      return 200 "${BODY.replace('\n', '\\n')}";
    }
  }
  server {
    listen unix:${statusSocket};
    location / { stub_status; }
  }
}
`;
}
