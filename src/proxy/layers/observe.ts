/**
 * The one place that watches an exchange from its first byte to its last: sizes, status, end. Telemetry hears of every
 * exchange exactly once, whether it was answered, cut off or given up by its client.
 */
import type { Clock } from '../../core/clock.ts';
import { MeshError } from '../../core/errors.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead, ResponseHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import type { Exchange } from '../record.ts';
import type { Layer } from './layer.ts';

/** ` HTTP/1.1` and the line ends of a request's head; the same with a status code in a response's. */
const REQUEST_LINE_BYTES = 14;
const RESPONSE_LINE_BYTES = 17;

export function observe(telemetry: Telemetry, clock: Clock): Layer {
  return (next) => new Observe(next, telemetry, clock);
}

class Observe implements Service {
  readonly #next: Service;
  readonly #telemetry: Telemetry;
  readonly #clock: Clock;

  constructor(next: Service, telemetry: Telemetry, clock: Clock) {
    this.#next = next;
    this.#telemetry = telemetry;
    this.#clock = clock;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    exchange.begin(head);
    note(exchange, head.headers);
    exchange.requestBytes = REQUEST_LINE_BYTES + head.method.length + head.target.length + head.headers.textLength;
    const watched = new WatchedResponse(this, exchange, response);
    const request = new WatchedRequest(watched, exchange, this.#next.serve(exchange, head, watched), head.contentLength === 0);
    watched.request = request;
    if (watched.over) request.answered();
    return request;
  }

  ended(exchange: Exchange): void {
    this.#telemetry.exchangeEnded(exchange, this.#clock.nowMs() - exchange.startedMs);
  }
}

/** Header fields that logs and metrics want: one pass over the list, names told apart by their length first. */
function note(exchange: Exchange, headers: HeaderList): void {
  for (let i = headers.size - 1; i >= 0; i -= 1) {
    const name = headers.lowerAt(i);
    switch (name.length) {
      case 10:
        if (name === 'user-agent') exchange.userAgent = headers.valueAt(i);
        break;
      case 12:
        if (name === 'x-request-id') exchange.requestId = headers.valueAt(i);
        break;
      case 15:
        if (name === 'x-forwarded-for') exchange.forwardedFor = headers.valueAt(i);
        break;
      default:
    }
  }
}

class WatchedResponse implements ResponseSink {
  readonly #observe: Observe;
  readonly #exchange: Exchange;
  readonly #response: ResponseSink;
  request: WatchedRequest | undefined;
  over = false;
  #tunnel = false;
  #halfOver = false;

  constructor(layer: Observe, exchange: Exchange, response: ResponseSink) {
    this.#observe = layer;
    this.#exchange = exchange;
    this.#response = response;
  }

  informational(head: ResponseHead): void {
    this.#exchange.responseBytes += RESPONSE_LINE_BYTES + head.headers.textLength;
    this.#response.informational(head);
  }

  head(head: ResponseHead): void {
    const exchange = this.#exchange;
    const { headers, status } = head;
    exchange.status = status;
    if (exchange.details === '') exchange.details = 'via_upstream';
    exchange.responseBytes += RESPONSE_LINE_BYTES + head.reason.length + headers.textLength;
    // A gRPC answer without a message carries its status here, others in the trailers.
    if (exchange.protocol === 'grpc') exchange.grpcStatus = headers.get('grpc-status') ?? '';
    this.#tunnel = status === 101 || (exchange.method === 'CONNECT' && status >= 200 && status < 300);
    this.#response.head(head);
  }

  data(chunk: Buffer): boolean {
    this.#exchange.responseBytes += chunk.length;
    this.#exchange.responseBodyBytes += chunk.length;
    return this.#response.data(chunk);
  }

  end(trailers: HeaderList | undefined): void {
    if (trailers !== undefined) {
      this.#exchange.responseBytes += trailers.textLength;
      if (this.#exchange.protocol === 'grpc') this.#exchange.grpcStatus = trailers.get('grpc-status') ?? this.#exchange.grpcStatus;
    }
    this.#response.end(trailers);
    this.#directionEnded();
  }

  abort(error: MeshError): void {
    this.#response.abort(error);
    this.#finish();
  }

  resumeRequest(): void {
    this.#response.resumeRequest();
  }

  /** In a tunnel both directions must end; otherwise the answer's end is the exchange's. */
  requestEnded(): void {
    if (this.#tunnel) this.#directionEnded();
  }

  clientGone(error: MeshError): void {
    if (this.over) return;
    const exchange = this.#exchange;
    exchange.error = error;
    exchange.flag(error.kind.flag);
    exchange.details = error.kind.details;
    // Nobody was told a status unless the answer had begun (Istio reports 0 with DC).
    this.#finish();
  }

  #directionEnded(): void {
    if (this.#tunnel && !this.#halfOver) this.#halfOver = true;
    else this.#finish();
  }

  #finish(): void {
    if (this.over) return;
    this.over = true;
    this.#observe.ended(this.#exchange);
    this.request?.answered();
  }
}

class WatchedRequest implements RequestSink {
  readonly #watched: WatchedResponse;
  readonly #exchange: Exchange;
  readonly #next: RequestSink;
  readonly #bodiless: boolean;
  #over = false;

  constructor(watched: WatchedResponse, exchange: Exchange, next: RequestSink, bodiless: boolean) {
    this.#watched = watched;
    this.#exchange = exchange;
    this.#next = next;
    this.#bodiless = bodiless;
  }

  data(chunk: Buffer): boolean {
    if (this.#over) return true;
    this.#exchange.requestBytes += chunk.length;
    this.#exchange.requestBodyBytes += chunk.length;
    return this.#next.data(chunk);
  }

  end(trailers: HeaderList | undefined): void {
    if (this.#over) return;
    this.#over = true;
    if (trailers !== undefined) this.#exchange.requestBytes += trailers.textLength;
    this.#next.end(trailers);
    this.#watched.requestEnded();
  }

  abort(error: MeshError): void {
    this.#over = true;
    this.#next.abort(error);
    this.#watched.clientGone(error);
  }

  resumeResponse(): void {
    this.#next.resumeResponse();
  }

  /** Answered before the request was complete: nobody wants the rest, and whoever waits for it below need not. */
  answered(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#bodiless) this.#next.end(undefined);
    else this.#next.abort(new MeshError('downstream_gone', { reason: 'answered before the request was complete' }));
  }
}
