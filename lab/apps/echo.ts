/**
 * Says what it received and who it is. Knobs in the query: ?status=503, ?delay=250 (ms), ?size=10000 (bytes of padding),
 * ?drip=2000 (ms over which a body of as many KiB as 20 ms fit into it comes bit by bit), ?fail=n (the first n requests that carry this `fail`, by path, get 503; then it answers), ?close (end the connection without an answer).
 */
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { whoAmI } from './identity.ts';

const PORTS = (process.env['PORTS'] ?? '8080').split(',').map(Number);

const DRIP_MS = 20;
const DRIP_BYTES = 1024;

const failures = new Map<string, number>();

/** Should this request fail? Counted per path, so that several tests may use one pod. */
function failsNow(url: URL): boolean {
  const wanted = Number(url.searchParams.get('fail') ?? 0);
  const seen = failures.get(url.pathname) ?? 0;
  if (seen >= wanted) return false;
  failures.set(url.pathname, seen + 1);
  return true;
}

function reply(request: IncomingMessage, url: URL, body: string): string {
  const { remoteAddress, remotePort, localAddress, localPort } = request.socket;
  return `${JSON.stringify({
    ...whoAmI(),
    method: request.method, path: request.url, httpVersion: request.httpVersion, headers: request.headers, rawHeaders: request.rawHeaders,
    client: { address: remoteAddress?.replace(/^::ffff:/, ''), port: remotePort }, server: { address: localAddress?.replace(/^::ffff:/, ''), port: localPort },
    trailers: request.trailers, body, ...(url.searchParams.has('size') && { padding: 'x'.repeat(Number(url.searchParams.get('size'))) }),
  })}\n`;
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://echo');
  const body = await text(request);
  const delayMs = Number(url.searchParams.get('delay') ?? 0);
  if (delayMs > 0) await new Promise((resolve) => {
    setTimeout(resolve, delayMs);
  });
  if (url.searchParams.has('close')) {
    request.socket.destroy();
    return;
  }
  const status = failsNow(url) ? 503 : Number(url.searchParams.get('status') ?? 200);
  if (url.searchParams.has('drip')) {
    await drip(response, Number(url.searchParams.get('drip')));
    return;
  }
  const { pod, version } = whoAmI();
  response.writeHead(status, { 'content-type': 'application/json', 'x-pod': pod, 'x-version': version });
  response.end(request.method === 'HEAD' ? undefined : reply(request, url, body));
}

async function drip(response: ServerResponse, durationMs: number): Promise<void> {
  const pieces = Math.ceil(durationMs / DRIP_MS);
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': String(pieces * DRIP_BYTES) });
  for (let i = 0; i < pieces && !response.destroyed; i += 1) {
    response.write('x'.repeat(DRIP_BYTES));
    await new Promise((resolve) => {
      setTimeout(resolve, DRIP_MS);
    });
  }
  response.end();
}

for (const port of PORTS) {
  createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  }).listen(port, '::', () => {
    process.stdout.write(`echo listens on ${port}\n`);
  });
}
