/** The limits of a cluster that no DestinationRule has a word on: times only. */
import { CONNECT_TIMEOUT_MS, PENDING_REQUESTS_MAX, TCP_IDLE_TIMEOUT_MS } from '../core/limits.ts';
import type { ConnectionLimits } from '../mesh/table.ts';

/** `httpIdleTimeoutMs`: how long an idle connection is kept. */
export function unlimited(httpIdleTimeoutMs: number): ConnectionLimits {
  return Object.freeze({
    maxConnections: Infinity,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    tcpIdleTimeoutMs: TCP_IDLE_TIMEOUT_MS,
    maxConnectionDurationMs: 0,
    keepalive: undefined,
    maxPendingRequests: PENDING_REQUESTS_MAX,
    maxRequests: Infinity,
    maxRequestsPerConnection: 0,
    maxRetries: Infinity,
    httpIdleTimeoutMs,
  });
}
