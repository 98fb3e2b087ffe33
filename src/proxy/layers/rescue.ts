/**
 * Where every failure of an exchange arrives. Before the answer has begun it becomes a local reply; afterwards only cutting
 * the connection tells the client that the answer is not complete. What happened is noted for metrics and logs either way.
 */
import { MeshError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { DISCARD } from '../exchange.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead, ResponseHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import type { Exchange } from '../record.ts';
import { localReply } from '../respond.ts';
import type { Layer } from './layer.ts';

export function rescue(log: Logger): Layer {
  return (next) => new Rescue(next, log);
}

class Rescue implements Service {
  readonly #next: Service;
  readonly #log: Logger;

  constructor(next: Service, log: Logger) {
    this.#next = next;
    this.#log = log;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const rescued = new RescuedResponse(exchange, response, this.#log);
    try {
      return this.#next.serve(exchange, head, rescued);
    } catch (error) {
      // A fault of ours costs this exchange, not the worker.
      rescued.abort(error instanceof MeshError ? error : new MeshError('internal', { cause: error }));
      return DISCARD;
    }
  }
}

class RescuedResponse implements ResponseSink {
  readonly #exchange: Exchange;
  readonly #response: ResponseSink;
  readonly #log: Logger;
  #begun = false;
  #over = false;

  constructor(exchange: Exchange, response: ResponseSink, log: Logger) {
    this.#exchange = exchange;
    this.#response = response;
    this.#log = log;
  }

  informational(head: ResponseHead): void {
    this.#response.informational(head);
  }

  head(head: ResponseHead): void {
    this.#begun = true;
    this.#response.head(head);
  }

  data(chunk: Buffer): boolean {
    return this.#response.data(chunk);
  }

  end(trailers: HeaderList | undefined): void {
    this.#over = true;
    this.#response.end(trailers);
  }

  abort(error: MeshError): void {
    if (this.#over) return;
    this.#over = true;
    const exchange = this.#exchange;
    if (error.code === 'internal') this.#log.error({ err: error.cause ?? error, method: exchange.method, authority: exchange.authority }, 'exchange failed');
    exchange.error = error;
    exchange.flag(error.kind.flag);
    exchange.details = error.details;
    if (this.#begun) {
      this.#response.abort(error);
      return;
    }
    localReply(error, exchange, this.#response);
  }

  resumeRequest(): void {
    this.#response.resumeRequest();
  }
}
