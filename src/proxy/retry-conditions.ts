/** Which outcomes a retry policy wants repeated: Envoy's `retry_on` (router filter, "x-envoy-retry-on" and "-grpc-on"). */
import type { ErrorCode, MeshError } from '../core/errors.ts';
import type { RetryConditions } from '../mesh/table.ts';
import type { ResponseHead } from './head.ts';
import type { Exchange } from './record.ts';

/** Methods whose repetition changes nothing (RFC 9110 §9.2.2). */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

const CONNECT_FAILURES: ReadonlySet<ErrorCode> = new Set(['upstream_connect_failed', 'upstream_connect_timeout']);

/** The attempt ended without an answer, after it had a connection. */
const RESETS: ReadonlySet<ErrorCode> = new Set(['upstream_reset', 'upstream_remote_reset', 'upstream_refused', 'upstream_protocol_error', 'upstream_head_too_large', 'per_try_timeout']);

/** Does the policy want an answer with this head repeated? */
export function retriesAnswer(on: RetryConditions, head: ResponseHead, exchange: Exchange): boolean {
  const { status } = head;
  if (status >= 500) {
    if (on.fiveHundreds || on.statuses.has(status)) return true;
    return on.gatewayError && status >= 502 && status <= 504;
  }
  if (exchange.protocol === 'grpc' && on.grpcStatuses.size > 0) {
    const grpcStatus = head.headers.get('grpc-status');
    if (grpcStatus !== undefined) return on.grpcStatuses.has(Number(grpcStatus));
  }
  if (status < 400) return on.statuses.has(status);
  return (on.retriable4xx && status === 409) || on.statuses.has(status);
}

/** Does the policy want an attempt repeated that ended with `error` before any answer? */
export function retriesFailure(on: RetryConditions, error: MeshError, exchange: Exchange): boolean {
  const { code } = error;
  if (CONNECT_FAILURES.has(code)) return on.connectFailure || on.resetBeforeRequest || retriesReset(on);
  if (!RESETS.has(code)) return false;
  if (retriesReset(on)) return true;
  // The endpoint has not looked at it: no harm can come of a repetition (RFC 9113 §8.7).
  if (code === 'upstream_refused') return on.refusedStream || on.resetBeforeRequest;
  return code === 'upstream_reset' && keepAliveRace(on, exchange);
}

/** `5xx` and `gateway-error` mean resets too (Envoy's RetryStateImpl::wouldRetryFromReset). */
function retriesReset(on: RetryConditions): boolean {
  return on.reset || on.fiveHundreds || on.gatewayError;
}

/**
 * The endpoint closed a kept-alive connection while the request was on its way to it, and the application never saw it
 * (RFC 9112 §9.3.1). `reset-before-request` asks for a repetition; where the policy repeats connect failures, a request that
 * may be repeated without harm is too: the connection was no better than none.
 */
function keepAliveRace(on: RetryConditions, exchange: Exchange): boolean {
  return exchange.upstreamReused && (on.resetBeforeRequest || (on.connectFailure && IDEMPOTENT.has(exchange.method)));
}
