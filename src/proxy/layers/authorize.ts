/**
 * AuthorizationPolicy for requests, after tokens were read. Each request is judged by the pod's present table, so that a change
 * is felt on connections that were open before it.
 */
import { MeshError } from '../../core/errors.ts';
import { authorize as judge, consult, decidesAnything } from '../../mesh/authorize.ts';
import type { Verdict } from '../../mesh/authorize.ts';
import type { ExtAuthzProvider } from '../../mesh/security.ts';
import type { Admission } from '../admission.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead } from '../head.ts';
import { denialDetails, denialReason, judgedRequest } from '../judged.ts';
import type { Exchange } from '../record.ts';
import { refuse } from '../refusal.ts';
import type { Layer } from './layer.ts';
import { serveWatched } from './watched-tunnel.ts';

export function authorize(admission: Admission): Layer {
  return (next) => new Authorize(next, admission);
}

/** Whom a CUSTOM policy wants asked about the request. Where there is nobody, {@link authorize} refuses it. */
export function providerFor(exchange: Exchange, head: RequestHead): ExtAuthzProvider | undefined {
  const { authorization } = exchange.connection.workload.table.security;
  return authorization.custom.length === 0 ? undefined : consult(authorization, judgedRequest(exchange, head))?.provider;
}

class Authorize implements Service {
  readonly #next: Service;
  readonly #admission: Admission;

  constructor(next: Service, admission: Admission) {
    this.#next = next;
    this.#admission = admission;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const { connection } = exchange;
    const { authorization } = connection.workload.table.security;
    if (decidesAnything(authorization)) {
      const verdict = judge(authorization, judgedRequest(exchange, head));
      this.#admission.note(verdict, connection);
      const error = faultOf(verdict);
      if (error !== undefined) return refuse({ error, details: error.details, body: 'RBAC: access denied' }, exchange, response);
    }
    if (head.upgrade === undefined && head.method !== 'CONNECT') return this.#next.serve(exchange, head, response);
    return serveWatched(this.#next, exchange, head, response, this.#admission, () => faultOf(judge(connection.workload.table.security.authorization, judgedRequest(exchange, head))));
  }
}

function faultOf(verdict: Verdict): MeshError | undefined {
  return verdict.allowed ? undefined : new MeshError('rbac_denied', { reason: denialReason(verdict), details: denialDetails(verdict) });
}
