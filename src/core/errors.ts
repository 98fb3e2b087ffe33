/**
 * Every way an exchange or a connection can fail, in one table: the status a client gets, Istio's response flag, the text
 * of `response_code_details` in the access log, and a sentence for people. The table is what the access log, the metrics,
 * the local replies and docs/errors.md share, so they can never disagree.
 */

/** Which end is to blame: who the operator should look at first. */
export type Source = 'downstream' | 'upstream' | 'mesh';

export interface ErrorKind {
  /** HTTP status of the local reply; 0 where no reply can be sent (the client is gone, or the traffic is opaque). */
  readonly status: number;
  /** Istio/Envoy response flag (`-` for none). */
  readonly flag: string;
  readonly source: Source;
  /** Value of %RESPONSE_CODE_DETAILS%, in Envoy's words where Envoy has one. */
  readonly details: string;
  /** What happened, for the body of the local reply and for docs/errors.md. */
  readonly sentence: string;
}

function kind(status: number, flag: string, source: Source, details: string, sentence: string): ErrorKind {
  return Object.freeze({ status, flag, source, details, sentence });
}

export const ERRORS = Object.freeze({
  no_route: kind(404, 'NR', 'mesh', 'route_not_found', 'No route of the matching VirtualService takes this request.'),
  backend_invalid: kind(500, '-', 'mesh', 'direct_response', 'The route names a backend that does not exist, or that it may not name.'),
  misdirected: kind(421, '-', 'downstream', 'misdirected_request', 'The host of the request belongs to another server of the port than the one that its TLS connection was opened to.'),
  blocked_by_registry_only: kind(502, '-', 'mesh', 'direct_response', 'The destination is not in the registry, and outboundTrafficPolicy is REGISTRY_ONLY.'),
  cluster_not_found: kind(503, 'NC', 'mesh', 'cluster_not_found', 'The route names a host or subset that does not exist.'),
  no_healthy_upstream: kind(503, 'UH', 'upstream', 'no_healthy_upstream', 'The destination has no endpoint that may be used.'),
  upstream_connect_failed: kind(503, 'UF', 'upstream', 'upstream_reset_before_response_started{connection_failure}', 'No connection to the endpoint could be made.'),
  upstream_connect_timeout: kind(503, 'UF', 'upstream', 'upstream_reset_before_response_started{connection_timeout}', 'The endpoint did not accept the connection within connectTimeout.'),
  dns_failure: kind(503, 'DF', 'upstream', 'dns_resolution_failure', 'The host name of the destination could not be resolved.'),
  overflow: kind(503, 'UO', 'mesh', 'upstream_reset_before_response_started{overflow}', 'A limit of the DestinationRule\'s connectionPool is reached.'),
  upstream_reset: kind(503, 'UC', 'upstream', 'upstream_reset_before_response_started{connection_termination}', 'The endpoint closed the connection before it answered.'),
  upstream_remote_reset: kind(503, 'UR', 'upstream', 'upstream_reset_before_response_started{remote_reset}', 'The endpoint reset the stream before it answered.'),
  upstream_refused: kind(503, 'UR', 'upstream', 'upstream_reset_before_response_started{remote_refused_stream_reset}', 'The endpoint refused the stream without having looked at it.'),
  upstream_closed_midway: kind(0, 'UC', 'upstream', 'upstream_reset_after_response_started{connection_termination}', 'The endpoint closed the connection in the middle of its answer.'),
  upstream_protocol_error: kind(502, 'UPE', 'upstream', 'upstream_reset_before_response_started{protocol_error}', 'The endpoint\'s answer is not valid HTTP.'),
  upstream_head_too_large: kind(502, 'UPE', 'upstream', 'upstream_reset_before_response_started{headers_too_large}', 'The head of the endpoint\'s answer is larger than the limit.'),
  request_timeout: kind(504, 'UT', 'upstream', 'response_timeout', 'The route\'s timeout passed before the answer was complete.'),
  per_try_timeout: kind(504, 'UT', 'upstream', 'upstream_per_try_timeout', 'The retry policy\'s perTryTimeout passed before the answer began.'),
  retry_limit: kind(503, 'URX', 'upstream', 'retry_limit_exceeded', 'Every attempt the retry policy allows has failed.'),
  fault_abort: kind(0, 'FI', 'mesh', 'fault_filter_abort', 'The VirtualService injects this fault.'),
  downstream_gone: kind(0, 'DC', 'downstream', 'downstream_remote_disconnect', 'The client went away before its answer was complete.'),
  downstream_protocol_error: kind(400, 'DPE', 'downstream', 'http1.codec_error', 'The request is not valid HTTP.'),
  head_too_large: kind(431, 'DPE', 'downstream', 'request_headers_too_large', 'The head of the request is larger than the limit.'),
  version_not_supported: kind(505, 'DPE', 'downstream', 'http1.version_not_supported', 'Only HTTP/1.0 and HTTP/1.1 are understood here.'),
  coding_not_supported: kind(501, 'DPE', 'downstream', 'http1.codec_error', 'Of the transfer codings only "chunked" is understood.'),
  head_timeout: kind(408, 'DPE', 'downstream', 'request_header_timeout', 'The head of the request did not arrive in time.'),
  stream_idle_timeout: kind(504, 'SI', 'mesh', 'stream_idle_timeout', 'Nothing moved in either direction for the stream idle timeout.'),
  expectation_failed: kind(417, 'DPE', 'downstream', 'http1.expectation_failed', 'Only "Expect: 100-continue" is understood.'),
  jwt_invalid: kind(401, '-', 'downstream', 'jwt_authn_access_denied', 'A token of the request is not valid; the body says why.'),
  jwt_audience_not_allowed: kind(403, '-', 'downstream', 'jwt_authn_access_denied', 'The token of the request is for an audience that the RequestAuthentication does not name.'),
  ext_authz_denied: kind(403, 'UAEX', 'downstream', 'ext_authz_denied', 'The external authorizer refused the request; status, headers and body are its own.'),
  ext_authz_error: kind(403, 'UAEX', 'mesh', 'ext_authz_error', 'The external authorizer could not be asked, and its provider does not fail open; the status is its statusOnError.'),
  ext_authz_body_too_large: kind(413, '-', 'downstream', 'request_payload_too_large', 'The body is larger than includeRequestBodyInCheck.maxRequestBytes of the external authorizer.'),
  mtls_required: kind(403, 'NR', 'downstream', 'filter_chain_not_found', 'A PeerAuthentication demands mutual TLS here, and the connection is plaintext.'),
  rbac_denied: kind(403, '-', 'downstream', 'rbac_access_denied_matched_policy[none]', 'The AuthorizationPolicies of the workload do not allow this.'),
  workload_overloaded: kind(503, 'OM', 'mesh', 'overload', 'This workload has as many connections or buffered bytes as one workload may have.'),
  draining: kind(503, 'LR', 'mesh', 'local_reset', 'The agent is shutting down.'),
  worker_lost: kind(503, 'LR', 'mesh', 'local_reset', 'The worker that carried this exchange ended.'),
  tunnel_bad_request: kind(400, 'DPE', 'downstream', 'hbone.bad_request', 'The tunnel was asked for something else than CONNECT to the pod it leads to.'),
  tunnel_port_refused: kind(503, '-', 'downstream', 'hbone.port_refused', 'The tunnel was asked for a port that belongs to the agent.'),
  tunnel_closed: kind(0, '-', 'downstream', 'hbone.closed', 'The other end of a tunnelled connection closed it.'),
  tunnel_reset: kind(0, '-', 'downstream', 'hbone.reset', 'The other end of a tunnelled connection reset it.'),
  internal: kind(500, 'LR', 'mesh', 'internal_error', 'The agent failed on this exchange; its log has the reason.'),
} satisfies Record<string, ErrorKind>);

export type ErrorCode = keyof typeof ERRORS;

export interface MeshErrorContext {
  /** Where, from the outside in: route > cluster > endpoint. */
  at?: string;
  /** What exactly: the limit that was hit, the byte that was wrong, the errno. */
  reason?: string;
  /** For the access log, where it says more than the kind's own. */
  details?: string;
  cause?: unknown;
}

/**
 * A failure of one exchange or connection. Made on paths that may run thousands of times a second when an upstream is down,
 * so it captures no stack trace: the code and `at` say where it comes from.
 */
export class MeshError extends Error {
  readonly code: ErrorCode;
  readonly at: string | undefined;
  readonly reason: string | undefined;
  /** Value of %RESPONSE_CODE_DETAILS%. */
  readonly details: string;

  constructor(code: ErrorCode, context: MeshErrorContext = {}) {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(context.reason === undefined ? ERRORS[code].sentence : `${ERRORS[code].sentence} (${context.reason})`, { cause: context.cause });
    Error.stackTraceLimit = stackTraceLimit;
    this.name = 'MeshError';
    this.code = code;
    this.at = context.at;
    this.reason = context.reason;
    this.details = context.details ?? ERRORS[code].details;
  }

  get kind(): ErrorKind {
    return ERRORS[this.code];
  }
}
