/**
 * Cross-origin requests (Fetch standard §3.2; Envoy's CORS filter): preflights are answered here, other answers get the
 * headers that let the page of an allowed origin read them. After the fault layer, as in Istio.
 */
import type { CorsPolicy } from '../../mesh/table.ts';
import { DISCARD } from '../exchange.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import { ResponseHead } from '../head.ts';
import type { RequestHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import type { Exchange } from '../record.ts';
import type { Layer } from './layer.ts';
import { ForwardingResponse } from './forwarding-response.ts';

export function cors(policy: CorsPolicy | undefined): Layer | undefined {
  return policy === undefined ? undefined : (next) => new Cors(next, policy);
}

class Cors implements Service {
  readonly #next: Service;
  readonly #policy: CorsPolicy;

  constructor(next: Service, policy: CorsPolicy) {
    this.#next = next;
    this.#policy = policy;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const origin = head.headers.get('origin');
    if (origin === undefined || origin === '') return this.#next.serve(exchange, head, response);
    const allowed = this.#policy.allowsOrigin(origin);
    const preflight = head.method === 'OPTIONS' && (head.headers.get('access-control-request-method') ?? '') !== '';
    if (preflight && (allowed || this.#policy.unmatchedPreflights === 'IGNORE')) {
      exchange.details = 'direct_response';
      answerPreflight(this.#policy, head, allowed ? origin : undefined, response);
      return DISCARD;
    }
    return this.#next.serve(exchange, head, allowed ? new CorsResponse(this.#policy, origin, response) : response);
  }
}

/** `origin` undefined: not an allowed one, so the answer says nothing and the browser refuses. */
function answerPreflight(policy: CorsPolicy, asked: RequestHead, origin: string | undefined, response: ResponseSink): void {
  const head = new ResponseHead(200, '');
  const { headers } = head;
  if (origin !== undefined) {
    allow(policy, origin, headers);
    const methods = told(policy, policy.allowMethods, asked.headers.get('access-control-request-method'));
    const names = told(policy, policy.allowHeaders, asked.headers.get('access-control-request-headers'));
    if (methods !== undefined) headers.set('access-control-allow-methods', methods);
    if (names !== undefined) headers.set('access-control-allow-headers', names);
    if (policy.explicitPreflights === true && policy.exposeHeaders !== undefined) headers.set('access-control-expose-headers', policy.exposeHeaders);
    if (policy.maxAgeSeconds !== undefined) headers.set('access-control-max-age', String(policy.maxAgeSeconds));
  }
  headers.set('content-length', '0');
  response.head(head);
  response.end(undefined);
}

/** A browser that sends credentials takes `*` for a name. */
function told({ explicitPreflights }: CorsPolicy, allowed: string | undefined, asked: string | undefined): string | undefined {
  return allowed === '*' && explicitPreflights === true ? asked : allowed;
}

function allow(policy: CorsPolicy, origin: string, headers: HeaderList): void {
  headers.set('access-control-allow-origin', origin);
  if (policy.allowCredentials === true) headers.set('access-control-allow-credentials', 'true');
}

class CorsResponse extends ForwardingResponse {
  readonly #policy: CorsPolicy;
  readonly #origin: string;

  constructor(policy: CorsPolicy, origin: string, response: ResponseSink) {
    super(response);
    this.#policy = policy;
    this.#origin = origin;
  }

  override head(head: ResponseHead): void {
    allow(this.#policy, this.#origin, head.headers);
    if (this.#policy.exposeHeaders !== undefined) head.headers.set('access-control-expose-headers', this.#policy.exposeHeaders);
    this.response.head(head);
  }
}
