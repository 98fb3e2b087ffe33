/** An exchange that becomes a connection (an upgrade, CONNECT): it ends when policies no longer allow what it began with. */
import type { MeshError } from '../../core/errors.ts';
import type { Admission, Watched } from '../admission.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import type { Connection } from '../connection.ts';
import type { Exchange } from '../record.ts';
import { ForwardingResponse } from './forwarding-response.ts';

/** Serve the exchange, and watch it; `fault` judges it anew. */
export function serveWatched(next: Service, exchange: Exchange, head: RequestHead, response: ResponseSink, admission: Admission, fault: () => MeshError | undefined): RequestSink {
  const tunnel = new Tunnel(exchange, response, admission, fault);
  admission.watch(tunnel);
  const request = new TunnelRequest(next.serve(exchange, head, new TunnelResponse(tunnel, response)), tunnel);
  tunnel.request = request;
  return request;
}

class Tunnel implements Watched {
  readonly connection: Connection;
  readonly fault: () => MeshError | undefined;
  request: RequestSink | undefined;
  readonly #response: ResponseSink;
  readonly #admission: Admission;
  #openHalves = 2;

  constructor(exchange: Exchange, response: ResponseSink, admission: Admission, fault: () => MeshError | undefined) {
    this.connection = exchange.connection;
    this.fault = fault;
    this.#response = response;
    this.#admission = admission;
  }

  halfEnded(): void {
    this.#openHalves -= 1;
    if (this.#openHalves === 0) this.over();
  }

  over(): void {
    this.#admission.forget(this);
  }

  end(error: MeshError): void {
    this.request?.abort(error);
    this.#response.abort(error);
  }
}

class TunnelRequest implements RequestSink {
  readonly #next: RequestSink;
  readonly #tunnel: Tunnel;

  constructor(next: RequestSink, tunnel: Tunnel) {
    this.#next = next;
    this.#tunnel = tunnel;
  }

  data(chunk: Buffer): boolean {
    return this.#next.data(chunk);
  }

  end(trailers: HeaderList | undefined): void {
    this.#tunnel.halfEnded();
    this.#next.end(trailers);
  }

  abort(error: MeshError): void {
    this.#tunnel.over();
    this.#next.abort(error);
  }

  resumeResponse(): void {
    this.#next.resumeResponse();
  }
}

class TunnelResponse extends ForwardingResponse {
  readonly #tunnel: Tunnel;

  constructor(tunnel: Tunnel, response: ResponseSink) {
    super(response);
    this.#tunnel = tunnel;
  }

  override end(trailers: HeaderList | undefined): void {
    this.#tunnel.halfEnded();
    this.response.end(trailers);
  }

  override abort(error: MeshError): void {
    this.#tunnel.over();
    this.response.abort(error);
  }
}
