/**
 * PeerAuthentication for requests. A connection that lacks mutual TLS is refused before its first byte is read; what is left to
 * do here is the kubelet's, which may ask for the paths of its probes and for nothing else.
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
    const fault = this.#admission.requestFault(connection, head);
    if (fault === undefined) return this.#next.serve(exchange, head, response);
    this.#admission.refused(connection, fault);
    response.abort(fault);
    return DISCARD;
  }
}
