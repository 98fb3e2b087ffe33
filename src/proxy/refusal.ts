/**
 * An answer that a policy gives in the application's place. Its words are the policy's (clients and tests know those of Envoy),
 * where `respond.ts` explains failures in ours; for metrics and logs it is an error like any other.
 */
import type { MeshError } from '../core/errors.ts';
import { DISCARD } from './exchange.ts';
import type { RequestSink, ResponseSink } from './exchange.ts';
import { ResponseHead } from './head.ts';
import { HeaderList } from './headers.ts';
import { reply } from './layers/answer.ts';
import type { Exchange } from './record.ts';
import { grpcStatusOf } from './respond.ts';

const NO_BODY = Buffer.alloc(0);

export interface Refusal {
  readonly error: MeshError;
  /** Undefined: the error's own. */
  readonly status?: number;
  /** For the access log; undefined: the error's own. */
  readonly details?: string;
  readonly headers?: HeaderList;
  readonly body: Buffer | string;
}

/** Answer; a gRPC client reads the status and the words as gRPC's (Envoy's local replies do the same). */
export function refuse(refusal: Refusal, exchange: Exchange, response: ResponseSink): RequestSink {
  const { error, status = error.kind.status } = refusal;
  exchange.error = error;
  exchange.flag(error.kind.flag);
  exchange.details = refusal.details ?? error.kind.details;
  const body = typeof refusal.body === 'string' ? Buffer.from(refusal.body) : refusal.body;
  const headers = refusal.headers?.clone() ?? new HeaderList();
  headers.set('x-orlop-reason', error.code);
  if (exchange.protocol === 'grpc') {
    headers.set('content-type', 'application/grpc');
    headers.set('grpc-status', String(grpcStatusOf(status)));
    if (body.length > 0) headers.set('grpc-message', encodeURIComponent(body.toString('utf8')).replaceAll('%20', ' '));
    reply(exchange, new ResponseHead(200, '', headers), NO_BODY, response);
    return DISCARD;
  }
  if (body.length > 0 && !headers.has('content-type')) headers.add('content-type', 'text/plain');
  reply(exchange, new ResponseHead(status, '', headers), body, response);
  return DISCARD;
}
