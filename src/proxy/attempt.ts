/**
 * One try of an exchange at one endpoint: what it occupies is counted when it begins and given back exactly once, whichever of
 * answer, failure or cancellation ends it; and outlier detection learns how it went.
 */
import type { Clock } from '../core/clock.ts';
import type { MeshError } from '../core/errors.ts';
import type { Budget } from './budget.ts';
import type { Endpoint } from './endpoint.ts';
import type { RequestSink, ResponseSink } from './exchange.ts';
import type { RequestHead, ResponseHead } from './head.ts';
import type { HeaderList } from './headers.ts';
import type { PooledRequest } from './pool.ts';
import type { Exchange } from './record.ts';

/** The cluster's side of an attempt. */
export interface AttemptHost {
  readonly clock: Clock;
  readonly budget: Budget;
  answered(endpoint: Endpoint, status: number): void;
  failed(endpoint: Endpoint, timeout: boolean): void;
  /** The endpoint has one exchange less. */
  released(endpoint: Endpoint): void;
}

export class Attempt implements PooledRequest {
  readonly exchange: Exchange;
  readonly requestHead: RequestHead;
  /** The upstream is gone; what the client still sends has nowhere to go. */
  failed = false;
  /** Answered completely, failed or given up. */
  over = false;
  readonly #host: AttemptHost;
  readonly #endpoint: Endpoint;
  readonly #response: ResponseSink;
  #begun = false;
  #answered = false;
  /** After a 101 (or a 2xx to CONNECT) each direction ends on its own. */
  #tunnel = false;
  #halfOver = false;

  constructor(host: AttemptHost, endpoint: Endpoint, exchange: Exchange, head: RequestHead, response: ResponseSink) {
    this.#host = host;
    this.#endpoint = endpoint;
    this.#response = response;
    this.exchange = exchange;
    this.requestHead = head;
    endpoint.active += 1;
    exchange.attempts += 1;
    exchange.sentMs = -1;
    exchange.upstreamReused = false;
    exchange.upstreamAddress = endpoint.key;
    exchange.upstreamWorkload = endpoint.spec.workload;
  }

  begun(reused: boolean, localAddress: string): void {
    this.#begun = true;
    this.#host.budget.requests += 1;
    this.exchange.upstreamReused = reused;
    this.exchange.upstreamLocalAddress = localAddress;
    this.exchange.sentMs = this.#host.clock.nowMs();
  }

  informational(head: ResponseHead): void {
    this.#response.informational(head);
  }

  head(head: ResponseHead): void {
    this.#answered = true;
    this.#tunnel = head.status === 101 || (this.requestHead.method === 'CONNECT' && head.status < 300);
    this.exchange.upstreamServiceMs = this.#host.clock.nowMs() - this.exchange.sentMs;
    this.#host.answered(this.#endpoint, head.status);
    this.#response.head(head);
  }

  data(chunk: Buffer): boolean {
    return this.#response.data(chunk);
  }

  end(trailers: HeaderList | undefined): void {
    this.#ended();
    this.#response.end(trailers);
  }

  abort(error: MeshError): void {
    if (!this.over && error.kind.source === 'upstream') this.#host.failed(this.#endpoint, false);
    this.#finish();
    this.failed = true;
    this.#response.abort(error);
  }

  resumeRequest(): void {
    this.#response.resumeRequest();
  }

  /** The request's direction is complete. */
  requestEnded(): void {
    if (this.#tunnel) this.#ended();
  }

  /** Given up from our side: by the client, a timeout, or because another attempt takes over. */
  cancelled(error: MeshError): void {
    if (!this.over && !this.#answered && error.kind.flag === 'UT') this.#host.failed(this.#endpoint, true);
    this.#finish();
  }

  #ended(): void {
    if (this.#tunnel && !this.#halfOver) this.#halfOver = true;
    else this.#finish();
  }

  #finish(): void {
    if (this.over) return;
    this.over = true;
    if (this.#begun) this.#host.budget.requests -= 1;
    this.#endpoint.active -= 1;
    this.#host.released(this.#endpoint);
  }
}

/** The request's side: passes everything on while there is an upstream, and tells the attempt when it is given up. */
export class AttemptRequest implements RequestSink {
  readonly #attempt: Attempt;
  readonly #next: RequestSink;
  #ended = false;

  constructor(attempt: Attempt, next: RequestSink) {
    this.#attempt = attempt;
    this.#next = next;
  }

  data(chunk: Buffer): boolean {
    return this.#attempt.failed || this.#next.data(chunk);
  }

  end(trailers: HeaderList | undefined): void {
    this.#ended = true;
    if (this.#attempt.failed) return;
    this.#attempt.requestEnded();
    this.#next.end(trailers);
  }

  abort(error: MeshError): void {
    // Both directions complete: the connection is no longer ours to break.
    if (this.#attempt.failed || (this.#ended && this.#attempt.over)) return;
    this.#attempt.cancelled(error);
    this.#next.abort(error);
  }

  resumeResponse(): void {
    this.#next.resumeResponse();
  }
}
