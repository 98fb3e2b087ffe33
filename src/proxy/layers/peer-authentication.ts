/**
 * PeerAuthentication for requests. A connection that lacks mutual TLS is refused before its first byte is read; what is left to
 * refuse here is what the kubelet asks for besides its probes.
 */
import type { Admission } from '../admission.ts';
import { DISCARD } from '../exchange.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead } from '../head.ts';
import type { Exchange } from '../record.ts';
import type { Layer } from './layer.ts';

export function peerAuthentication(admission: Admission): Layer {
  return (next) => new PeerAuthentication(next, admission);
}

class PeerAuthentication implements Service {
  readonly #next: Service;
  readonly #admission: Admission;

  constructor(next: Service, admission: Admission) {
    this.#next = next;
    this.#admission = admission;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const { connection } = exchange;
    const fault = this.#admission.requestFault(connection);
    if (fault === undefined) return this.#next.serve(exchange, head, response);
    this.#admission.refused(connection, fault);
    response.abort(fault);
    return DISCARD;
  }
}
