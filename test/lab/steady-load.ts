/**
 * Requests for as long as a file exists, and every one that failed. In a pod:
 *   node test/lab/steady-load.ts FILE CONCURRENCY URL... [--tunnel SOCKET ADDRESS] [--session HOST:PORT]...
 * FILE.begun appears when the first have succeeded. Half of the requests come on connections of their own, half on those that are kept. With --session one TCP connection to a server that
 * sends everything back stays open all the time, and something passes on it again and again. With --tunnel a foreign client besides opens
 * a tunnel of its own to ADDRESS with a certificate just fetched from the workload socket, again and again, while FILE.tunnels exists.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { Agent, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { askThrough, fetchSvid, openTunnel } from './tunnel-client.ts';

const REQUEST_TIMEOUT_MS = 10_000;
const PAUSE_MS = 10;
const TUNNEL_PAUSE_MS = 200;
const SESSION_PAUSE_MS = 50;
const FAILURES_MAX = 50;

export interface LoadReport {
  readonly requests: number;
  readonly statuses: Readonly<Record<string, number>>;
  readonly tunnels: number;
  readonly serials: number;
  readonly roots: number;
  /** What passed on the connections that stayed open, there and back. */
  readonly exchanges: number;
  /** Of all requests, the longest: it is what somebody notices of an upgrade. */
  readonly slowestMs: number;
  readonly failures: readonly string[];
}

const { values: { tunnel, session }, positionals: [file = '', concurrency = '1', ...urls] } = parseArgs({ allowPositionals: true, options: { tunnel: { type: 'string', multiple: true, default: [] }, session: { type: 'string', multiple: true, default: [] } } });
const kept = new Agent({ keepAlive: true });
const single = new Agent({ keepAlive: false });
const statuses: Record<string, number> = {};
const failures: string[] = [];
const serials = new Set<string>();
const roots = new Set<string>();
let requests = 0;
let tunnels = 0;
let exchanges = 0;
let isBegun = false;
let slowestMs = 0;

function failed(what: string, why: unknown): void {
  const reason = why instanceof Error ? ((why as NodeJS.ErrnoException).code ?? why.message) : String(why);
  if (failures.length < FAILURES_MAX) failures.push(`${new Date().toISOString()} ${what}: ${reason}`);
}

/** Whoever watches is told when everything has worked once. */
function begun(): void {
  if (!isBegun && Object.keys(statuses).length > 0 && (session.length === 0 || exchanges > 0)) writeFileSync(`${file}.begun`, '');
  isBegun ||= existsSync(`${file}.begun`);
}

async function ask(url: string, agent: Agent): Promise<void> {
  requests += 1;
  const startedMs = performance.now();
  const { status, body } = await new Promise<{ status: number; body: string }>((resolve, reject) => {
    const sent = httpRequest(url, { agent }, (response) => {
      text(response).then((received) => resolve({ status: response.statusCode ?? 0, body: received }), reject);
    });
    sent.setTimeout(REQUEST_TIMEOUT_MS, () => sent.destroy(new Error('no answer in time'))).on('error', reject).end();
  });
  statuses[status] = (statuses[status] ?? 0) + 1;
  begun();
  if (!url.includes('drip=')) slowestMs = Math.max(slowestMs, performance.now() - startedMs);
  if (status !== 200) failed(url, `${status} ${body.trim()}`);
}

async function requestWorker(number: number): Promise<void> {
  for (let turn = number; existsSync(file); turn += 1) {
    const url = urls[turn % urls.length] ?? '';
    const agent = turn % 4 < 2 ? kept : single;
    await ask(url, agent).catch((error: unknown) => failed(`${url} ${agent === kept ? 'on a kept connection' : 'on its own connection'}`, error));
    await sleep(PAUSE_MS);
  }
}

/** A handshake of its own each time, with the newest certificate there is. */
async function tunnelWorker(socketPath: string, address: string): Promise<void> {
  while (existsSync(file)) {
    if (existsSync(`${file}.tunnels`)) {
      try {
        const { cert, key, ca } = await fetchSvid(socketPath);
        const opened = await openTunnel(address, { cert, key, ca });
        serials.add(opened.tls.getPeerX509Certificate()?.serialNumber ?? '');
        roots.add(ca);
        const answer = await askThrough(opened, `${address}:8080`, 'GET / HTTP/1.1\r\nHost: far\r\nConnection: close\r\n\r\n');
        opened.session.close();
        if (!answer.startsWith('HTTP/1.1 200')) failed('tunnel', answer.split('\r\n')[0]);
        tunnels += 1;
      } catch (error) {
        failed('tunnel', error);
      }
    }
    await sleep(TUNNEL_PAUSE_MS);
  }
}

async function sessionWorker(place: string): Promise<void> {
  const [host = '', port = ''] = place.split(':');
  const socket = connect(Number(port), host).setEncoding('utf8');
  let expected = '';
  let received = '';
  let came = (): void => undefined;
  socket.on('data', (chunk: string) => {
    received += chunk;
    if (received === expected) came();
  });
  socket.on('close', () => {
    if (existsSync(file)) failed(`session with ${place}`, 'closed');
  });
  socket.on('error', (error) => failed(`session with ${place}`, error));
  await once(socket, 'connect');
  for (let turn = 0; existsSync(file) && !socket.destroyed; turn += 1) {
    expected = `${turn}\n`;
    received = '';
    const isBack = new Promise<boolean>((resolve) => {
      came = () => resolve(true);
    });
    socket.write(expected);
    if (await Promise.race([isBack, sleep(REQUEST_TIMEOUT_MS, false, { ref: false })])) {
      exchanges += 1;
      begun();
    } else if (!socket.destroyed) {
      failed(`session with ${place}`, `${turn} came back as "${received}"`);
    }
    await sleep(SESSION_PAUSE_MS);
  }
  socket.destroy();
}

const [socketPath, address] = tunnel;
await Promise.all([
  ...Array.from({ length: Number(concurrency) }, (_, number) => requestWorker(number)),
  ...session.map(async (place) => sessionWorker(place)),
  ...(socketPath !== undefined && address !== undefined ? [tunnelWorker(socketPath, address)] : []),
]);
kept.destroy();
const report: LoadReport = { requests, statuses, tunnels, serials: serials.size, roots: roots.size, exchanges, slowestMs: Math.round(slowestMs), failures };
process.stdout.write(`${JSON.stringify(report)}\n`);
