/** What bookinfo's servers share: answering with JSON, saying who they are, calling each other with the trace headers passed on. */
import { createServer, request as httpRequest } from 'node:http';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { whoAmI } from './identity.ts';

/** Headers that an application passes on so that its requests can be followed; Istio's list, W3C's and Zipkin's, and the user. */
const PASSED_ON = [
  'x-request-id', 'traceparent', 'tracestate', 'baggage', 'b3', 'x-b3-traceid', 'x-b3-spanid', 'x-b3-parentspanid', 'x-b3-sampled', 'x-b3-flags',
  'x-ot-span-context', 'x-cloud-trace-context', 'end-user', 'cookie', 'authorization', 'x-lane-id', 'user-agent',
];

const CALL_TIMEOUT_MS = 20_000;

export interface Page {
  status?: number;
  contentType?: string;
  body: unknown;
}

export interface Call {
  status: number;
  body: unknown;
}

/** Serve `routes`, by path or the path's first part; anything else is a 404 that says so. */
export function serveSample(routes: Record<string, (url: URL, headers: IncomingHttpHeaders) => Page | Promise<Page>>): void {
  const port = Number(process.env['PORT'] ?? 9080);
  const { app, version, pod } = whoAmI();
  const answer = async (request: IncomingMessage): Promise<Page> => {
    const url = new URL(request.url ?? '/', `http://${app}`);
    const route = routes[url.pathname] ?? routes[`/${url.pathname.split('/')[1] ?? ''}`];
    if (url.pathname === '/health') return { body: { status: `${app} is healthy` } };
    return route === undefined ? { status: 404, body: { error: `${app} has no ${url.pathname}` } } : route(url, request.headers);
  };
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    request.resume();
    const page = await answer(request).catch((error: unknown): Page => ({ status: 500, body: { error: String(error) } }));
    const { status = 200, contentType = 'application/json', body } = page;
    response.writeHead(status, { 'content-type': contentType, 'x-app': app, 'x-version': version, 'x-pod': pod });
    response.end(typeof body === 'string' ? body : `${JSON.stringify(body)}\n`);
  };
  createServer((request, response) => {
    void serve(request, response);
  }).listen(port, '::', () => {
    process.stdout.write(`${app} ${version} listens on ${port}\n`);
  });
}

/** GET another service as part of the request whose headers are given. A failure is status 0 with the reason. */
export async function call(url: string, incoming: IncomingHttpHeaders): Promise<Call> {
  const headers = Object.fromEntries(PASSED_ON.flatMap((name) => (incoming[name] === undefined ? [] : [[name, incoming[name]]])));
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const sent = httpRequest(url, { headers, timeout: CALL_TIMEOUT_MS }, resolve);
      sent.on('error', reject).on('timeout', () => sent.destroy(new Error(`no answer in ${CALL_TIMEOUT_MS} ms`))).end();
    });
    const body = await text(response);
    const isJson = response.headers['content-type']?.startsWith('application/json') === true;
    return { status: response.statusCode ?? 0, body: isJson ? JSON.parse(body) as unknown : body };
  } catch (error) {
    return { status: 0, body: error instanceof Error ? error.message : String(error) };
  }
}
