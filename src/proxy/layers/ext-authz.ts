/**
 * CUSTOM policies: asks an external authorizer about the requests that such a policy takes. First of all policies, before tokens
 * are read, as in Istio: an authorizer sees the request as the client sent it, and may supply the token.
 */
import type { ExtAuthzProvider } from '../../mesh/security.ts';
import type { ExternalAuthorizer } from '../ext-authz/external-authorizer.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead } from '../head.ts';
import type { Exchange } from '../record.ts';
import type { Layer } from './layer.ts';

/** Whom to ask about a request; undefined = nobody (a policy without provider is for the authorization layer to refuse). */
export type Consult = (exchange: Exchange, head: RequestHead) => ExtAuthzProvider | undefined;

export function extAuthz(consult: Consult, authorizer: ExternalAuthorizer): Layer {
  return (next) => new ExtAuthz(next, consult, authorizer);
}

class ExtAuthz implements Service {
  readonly #next: Service;
  readonly #consult: Consult;
  readonly #authorizer: ExternalAuthorizer;

  constructor(next: Service, consult: Consult, authorizer: ExternalAuthorizer) {
    this.#next = next;
    this.#consult = consult;
    this.#authorizer = authorizer;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const provider = this.#consult(exchange, head);
    if (provider === undefined) return this.#next.serve(exchange, head, response);
    return this.#authorizer.serve(provider, exchange, head, response, this.#next);
  }
}
