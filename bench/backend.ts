/** The servers behind every proxy: nginx with a small fixed answer, and iperf3. */
import { request } from 'node:http';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import type { Bench } from './bench.ts';
import { logTail } from './processes.ts';
import { BACKEND_ADDRESS } from './topology.ts';

export const HTTP_PORT = 8080;
export const BULK_PORT = 5201;
const START_TIMEOUT_MS = 5000;

/** The service's name, sent as Host by every client through every proxy. */
export const HOST = 'echo.bench.svc.cluster.local';

/** The answer: 128 bytes, checked wherever a client can afford to look. */
export const BODY: string = `${'the orlop is the lowest deck of a ship, beneath all the others; '.padEnd(127, '.')}\n`;

export class Backend {
  readonly #statusSocket: string;

  private constructor(statusSocket: string) {
    this.#statusSocket = statusSocket;
  }

  /** Starts both servers and waits until nginx answers. */
  static async start(bench: Bench): Promise<Backend> {
    const statusSocket = join(bench.dir, 'backend.sock');
    const config = join(bench.dir, 'backend.conf');
    writeFileSync(config, renderConfig(bench.dir, statusSocket));
    const place = { netns: bench.topology.backend, core: bench.loadCore };
    bench.processes.start(['nginx', '-c', config, '-e', 'stderr'], place, join(bench.dir, 'backend.log'));
    bench.processes.start(['iperf3', '-s', '-B', BACKEND_ADDRESS, '-p', String(BULK_PORT)], place, join(bench.dir, 'iperf3.log'));
    const backend = new Backend(statusSocket);
    await backend.#started(join(bench.dir, 'backend.log'));
    return backend;
  }

  async #started(logFile: string): Promise<void> {
    const deadlineMs = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      try {
        await this.requestsServed();
        return;
      } catch (error) {
        if (performance.now() > deadlineMs) throw new Error(`the backend does not start: ${logTail(logFile)}`, { cause: error });
        await delay(20);
      }
    }
  }

  /** Requests answered since the start: what the load generators claim is held against it. Asked over a unix socket, so from any namespace. */
  async requestsServed(): Promise<number> {
    const text = await new Promise<string>((resolve, reject) => {
      request({ socketPath: this.#statusSocket, path: '/', agent: false }, (response) => {
        const parts: string[] = [];
        response.setEncoding('utf8').on('data', (part: string) => parts.push(part)).on('end', () => resolve(parts.join('')));
      }).on('error', reject).end();
    });
    const counters = /^\s*\d+ \d+ (\d+)\s*$/m.exec(text);
    if (counters === null) throw new Error(`nginx's stub_status is not as expected: ${text}`);
    return Number(counters[1]);
  }
}

function renderConfig(dir: string, statusSocket: string): string {
  return `daemon off;
worker_processes 1;
pid ${dir}/backend.pid;
events { worker_connections 16384; }
http {
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  server {
    listen ${BACKEND_ADDRESS}:${String(HTTP_PORT)} backlog=4096;
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
