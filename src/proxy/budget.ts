/**
 * What one client workload may have open to one cluster: the connectionPool of a DestinationRule as counters. A pod is served
 * by exactly one worker, so the counts are exact per client pod, which is what Istio's are per sidecar.
 */
import type { ConnectionLimits } from '../mesh/table.ts';

export class Budget {
  limits: ConnectionLimits;
  connections = 0;
  /** Requests waiting for a connection. */
  pending = 0;
  /** Requests on a connection (or handed to a local pod). */
  requests = 0;
  /** Retries under way. */
  retries = 0;

  constructor(limits: ConnectionLimits) {
    this.limits = limits;
  }

  /** Another connection, to an endpoint that has `own` of them. */
  mayConnect(own: number): boolean {
    // As Envoy: an endpoint without any connection always gets one, or its requests could wait for ever on what others hold.
    return own === 0 || this.connections < this.limits.maxConnections;
  }

  mayWait(): boolean {
    return this.pending < this.limits.maxPendingRequests;
  }

  mayBegin(): boolean {
    return this.requests < this.limits.maxRequests;
  }

  mayRetry(): boolean {
    return this.retries < this.limits.maxRetries;
  }
}
