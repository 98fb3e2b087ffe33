/** Requests to a Kubernetes API server: JSON there and back, and watches as lines that come for as long as the server lets them. */
import { request as httpRequest, Agent as HttpAgent } from 'node:http';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { request as httpsRequest, Agent as HttpsAgent } from 'node:https';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';
import { API_ANSWER_BYTES_MAX } from '../core/limits.ts';
import type { Credentials } from './credentials.ts';

/** A plain object of the API. */
export type ApiObject = Readonly<Record<string, unknown>>;

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface ApiRequest {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly query?: Query | undefined;
  readonly body?: ApiObject;
  /** Of the body; a PATCH is a merge patch unless it says otherwise. */
  readonly contentType?: string | undefined;
  readonly accept?: string;
  readonly signal?: AbortSignal | undefined;
}

/** An answer that is no success: `reason` is the API's own word (NotFound, Conflict, Expired, …). */
export class ApiError extends Error {
  readonly status: number;
  readonly reason: string;
  /** What the server asks for before the next try. */
  readonly retryAfterMs: number | undefined;

  constructor(status: number, reason: string, message: string, retryAfterMs?: number) {
    super(message);
    this.status = status;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }
}

/** Between request and answer. The server itself ends most requests after a minute. */
const ANSWER_TIMEOUT_MS = 30_000;
/** A server that vanished without a word is found out by the kernel. */
const KEEP_ALIVE_MS = 15_000;

export class ApiClient {
  readonly #credentials: Credentials;
  readonly #agent: HttpAgent | HttpsAgent;

  constructor(credentials: Credentials) {
    this.#credentials = credentials;
    const options = { keepAlive: true, keepAliveMsecs: KEEP_ALIVE_MS };
    this.#agent = credentials.server.protocol === 'http:' ? new HttpAgent(options) : new HttpsAgent(options);
  }

  /** For people: where it is. */
  get address(): string {
    return this.#credentials.server.host;
  }

  /** The answer's object. Rejects with an {@link ApiError}, or with what keeps the server from being reached. */
  async send(path: string, options: ApiRequest = {}): Promise<ApiObject> {
    const answer = await this.#open(path, options);
    return JSON.parse(await textOf(answer)) as ApiObject;
  }

  /** Lines of a watch, each one event, until the server ends it, it fails, or `signal` is aborted. `onOpen`: the server has agreed to it. */
  async *lines(path: string, options: ApiRequest, onOpen: () => void): AsyncGenerator<string, void, undefined> {
    const answer = await this.#open(path, options);
    answer.setTimeout(0);
    onOpen();
    let failure: Error | undefined;
    // A reader of lines ends quietly when its stream breaks.
    answer.once('error', (error) => {
      failure = error;
    });
    try {
      for await (const line of createInterface({ input: answer, crlfDelay: Infinity })) if (line !== '') yield line;
    } finally {
      answer.destroy();
    }
    if (failure !== undefined) throw failure;
  }

  close(): void {
    this.#agent.destroy();
  }

  async #open(path: string, { method = 'GET', query = {}, body, contentType, accept = 'application/json', signal }: ApiRequest): Promise<IncomingMessage> {
    const { server } = this.#credentials;
    const { headers, tls } = await this.#credentials.present();
    const text = body === undefined ? undefined : JSON.stringify(body);
    const url = new URL(server.pathname.replace(/\/$/, '') + path, server);
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, String(value));
    const options = { method, agent: this.#agent, signal, ...tls, headers: { ...headers, accept, 'accept-encoding': 'gzip', 'user-agent': 'orlop', ...(text === undefined ? {} : bodyHeaders(contentType ?? (method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'), text)) } };
    const request = server.protocol === 'http:' ? httpRequest(url, options) : httpsRequest(url, options);
    const answer = await answerTo(request, text);
    const { statusCode: status = 0 } = answer;
    if (status >= 200 && status < 300) return answer;
    throw errorOf(status, answer.headers['retry-after'], await textOf(answer));
  }
}

function bodyHeaders(contentType: string, text: string): Record<string, string | number> {
  return { 'content-type': contentType, 'content-length': Buffer.byteLength(text) };
}

async function answerTo(request: ClientRequest, text: string | undefined): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.setTimeout(ANSWER_TIMEOUT_MS, () => request.destroy(new Error(`no answer within ${ANSWER_TIMEOUT_MS / 1000} s`)));
    request.once('response', resolve);
    request.on('error', reject);
    request.end(text);
  });
}

async function textOf(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Large lists come compressed: a tenth of their size on the wire.
  const body: AsyncIterable<Buffer> = answer.headers['content-encoding'] === 'gzip' ? answer.pipe(createGunzip()) : answer;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > API_ANSWER_BYTES_MAX) throw new Error(`the answer has more than ${API_ANSWER_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function errorOf(status: number, retryAfter: string | undefined, body: string): ApiError {
  const seconds = Number(retryAfter);
  const retryAfterMs = retryAfter === undefined || !(seconds >= 0) ? undefined : seconds * 1000;
  const { reason = '', message } = statusOf(body);
  return new ApiError(status, reason, `the API server answered ${status}: ${message ?? body.slice(0, 200).trim()}`, retryAfterMs);
}

/** The API's own word for what went wrong; proxies in between answer in prose. */
function statusOf(body: string): { readonly reason?: string; readonly message?: string } {
  try {
    return JSON.parse(body) as { reason?: string; message?: string };
  } catch {
    return {};
  }
}

/** An answer; undefined where the server says that there is no such thing. */
export async function unlessMissing(answer: Promise<ApiObject>): Promise<ApiObject | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Does the server say that there is no such thing? */
export function isMissing(error: unknown): boolean {
  return error instanceof ApiError && error.status === 404;
}
