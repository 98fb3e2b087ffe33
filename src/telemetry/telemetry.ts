/**
 * What the data plane tells of its work, and to whom. The facts are read-only views of the data plane's own records
 * (`proxy/record.ts`, `proxy/connection.ts`), so nothing is copied per request.
 */
import type { ClusterSpec, Route, ServiceRef } from '../mesh/table.ts';

export type Reporter = 'source' | 'destination';

export interface ConnectionFacts {
  /** The enrolled pod at our end: `ns/name`. */
  readonly workload: { readonly id: string };
  readonly direction: 'outbound' | 'inbound';
  /** Who the client has proved to be (SPIFFE id; empty: nobody), and how. */
  readonly peer: { readonly identity: string; readonly security: 'none' | 'mutual_tls' | 'local' };
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly destinationAddress: string;
  readonly destinationPort: number;
  readonly serverName: string;
}

export interface ExchangeFacts {
  readonly reporter: Reporter;
  readonly connection: ConnectionFacts;
  readonly startedMs: number;
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly protocol: 'http' | 'grpc' | 'tcp';
  readonly versionText: string;
  readonly requestId: string;
  readonly userAgent: string;
  readonly forwardedFor: string;
  readonly route: Route | undefined;
  readonly cluster: ClusterSpec | undefined;
  readonly service: ServiceRef | undefined;
  readonly upstreamAddress: string;
  readonly upstreamLocalAddress: string;
  /** `ns/name` of the pod behind the endpoint. */
  readonly upstreamWorkload: string | undefined;
  readonly status: number;
  readonly grpcStatus: string;
  readonly flags: string;
  readonly details: string;
  readonly error: { readonly code: string; readonly message: string; readonly at: string | undefined } | undefined;
  readonly upstreamServiceMs: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly requestBodyBytes: number;
  readonly responseBodyBytes: number;
}

/** An opaque TCP connection is an exchange with protocol `tcp` that lasts as long as the connection. */
export interface Telemetry {
  /** An HTTP exchange is over; `durationMs` from its first byte in to its last byte out. */
  exchangeEnded(facts: ExchangeFacts, durationMs: number): void;
  /** An opaque connection has its upstream. */
  tcpOpened(facts: ExchangeFacts): void;
  /** Bytes moved since the last call, at most every 5 s and at the end. `received`: from the client; `sent`: to it. */
  tcpBytes(facts: ExchangeFacts, received: number, sent: number): void;
  tcpClosed(facts: ExchangeFacts, durationMs: number): void;
}
