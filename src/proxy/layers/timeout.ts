/**
 * The timeout of a route: from the end of the request to the end of the answer, retries included (Envoy's
 * `RouteAction.timeout`). A tunnel has none once it is open.
 */
import type { Clock, Timer } from '../../core/clock.ts';
import { MeshError } from '../../core/errors.ts';
import { deadline } from '../deadline.ts';
import { DISCARD } from '../exchange.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead, ResponseHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import type { Exchange } from '../record.ts';
import type { Layer } from './layer.ts';
import { ForwardingResponse } from './forwarding-response.ts';

/** `timeoutMs` 0 = none. */
export function timeout(timeoutMs: number, clock: Clock): Layer | undefined {
  return timeoutMs === 0 ? undefined : (next) => new Timeout(next, timeoutMs, clock);
}

class Timeout implements Service {
  readonly #next: Service;
  readonly #timeoutMs: number;
  readonly #clock: Clock;

  constructor(next: Service, timeoutMs: number, clock: Clock) {
    this.#next = next;
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const timed = new TimedResponse(response, head.method === 'CONNECT');
    const request = new TimedRequest(timed, this.#timeoutMs, this.#clock);
    request.next = this.#next.serve(exchange, head, timed);
    return request;
  }
}

class TimedResponse extends ForwardingResponse {
  timer: Timer | undefined;
  over = false;
  readonly #connect: boolean;

  constructor(response: ResponseSink, connect: boolean) {
    super(response);
    this.#connect = connect;
  }

  override head(head: ResponseHead): void {
    if (head.status === 101 || (this.#connect && head.status < 300)) this.settle();
    this.response.head(head);
  }

  override end(trailers: HeaderList | undefined): void {
    this.settle();
    this.response.end(trailers);
  }

  override abort(error: MeshError): void {
    this.settle();
    this.response.abort(error);
  }


  /** Nothing is waited for any more. */
  settle(): void {
    this.over = true;
    this.timer?.cancel();
    this.timer = undefined;
  }
}

class TimedRequest implements RequestSink {
  next: RequestSink = DISCARD;
  readonly #timed: TimedResponse;
  readonly #timeoutMs: number;
  readonly #clock: Clock;

  constructor(timed: TimedResponse, timeoutMs: number, clock: Clock) {
    this.#timed = timed;
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
  }

  data(chunk: Buffer): boolean {
    return this.next.data(chunk);
  }

  end(trailers: HeaderList | undefined): void {
    if (!this.#timed.over) this.#timed.timer = deadline(this.#clock, this.#timeoutMs, () => this.#expired());
    this.next.end(trailers);
  }

  abort(error: MeshError): void {
    this.#timed.settle();
    this.next.abort(error);
  }

  resumeResponse(): void {
    this.next.resumeResponse();
  }

  #expired(): void {
    if (this.#timed.over) return;
    const error = new MeshError('request_timeout', { reason: `timeout ${this.#timeoutMs} ms` });
    this.next.abort(error);
    this.next = DISCARD;
    this.#timed.abort(error);
  }
}
