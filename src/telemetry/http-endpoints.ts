/** Small HTTP servers of an agent's main thread and of the control plane: metrics, readiness, admin. */
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { chmodSync, rmSync } from 'node:fs';

export interface Reply {
  readonly status?: number;
  readonly type?: string;
  readonly body: string;
}

export type Handler = (url: URL, method: string) => Reply | Promise<Reply>;

/** Paths to handlers; anything else is 404 with a list of what there is. */
export type Routes = Readonly<Record<string, Handler>>;

export function json(value: unknown): Reply {
  return { type: 'application/json', body: `${JSON.stringify(value, undefined, 2)}\n` };
}

/** A server of these routes that does not listen yet. */
export function httpServer(routes: Routes): Server {
  return createServer(handle(routes));
}

/** Listen on a port of every address, or of loopback. Rejects with a sentence that names the flag to change. */
export async function serveOnPort(routes: Routes, port: number, host: string, flag: string): Promise<Server> {
  const server = httpServer(routes);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(new Error(error.code === 'EADDRINUSE' ? `port ${port} is taken in this network namespace; choose another with ${flag}` : error.message));
    });
    server.listen(port, host, resolve);
  });
  return server;
}

/** Listen on a unix socket that only root may use. A socket left behind by an agent that was killed is replaced. */
export async function serveOnSocket(routes: Routes, path: string): Promise<Server> {
  rmSync(path, { force: true });
  const server = httpServer(routes);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  chmodSync(path, 0o600);
  return server;
}

function handle(routes: Routes): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    void answer(routes, request, response);
  };
}

async function answer(routes: Routes, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://local');
  const handler = Object.hasOwn(routes, url.pathname) ? routes[url.pathname] : undefined;
  const reply = handler === undefined ? notFound(routes) : await attempt(handler, url, request.method ?? 'GET');
  response.writeHead(reply.status ?? 200, { 'content-type': reply.type ?? 'text/plain; charset=utf-8', 'content-length': Buffer.byteLength(reply.body) });
  response.end(reply.body);
}

async function attempt(handler: Handler, url: URL, method: string): Promise<Reply> {
  try {
    return await handler(url, method);
  } catch (error) {
    return { status: 500, body: `${error instanceof Error ? error.message : String(error)}\n` };
  }
}

function notFound(routes: Routes): Reply {
  return { status: 404, body: `There is:\n${Object.keys(routes).map((path) => `  ${path}\n`).join('')}` };
}
