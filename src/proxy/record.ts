/**
 * What is known of one exchange while it runs, and what metrics, access log and tap read when it is over. One object a
 * request, filled in by the layers; it pins the table that the request started with.
 */
import type { MeshError } from '../core/errors.ts';
import type { Authentication } from '../mesh/security.ts';
import type { Table, Route, ClusterSpec, ServiceRef } from '../mesh/table.ts';
import type { Connection } from './connection.ts';
import type { RequestHead } from './head.ts';

/** The side of the hop that an exchange is seen from; Istio's `reporter`. */
export type Reporter = 'source' | 'destination';

export class Exchange {
  readonly reporter: Reporter;
  /** The captured connection it came in on. */
  readonly connection: Connection;
  /** Undefined on the inbound side, whose decisions are not routes. */
  readonly table: Table | undefined;
  readonly startedMs: number;

  /** As the client sent them, before rewrites. */
  method = '';
  path = '';
  authority = '';
  protocol: 'http' | 'grpc' | 'tcp' = 'http';
  versionText = 'HTTP/1.1';
  requestId = '';
  userAgent = '';
  forwardedFor = '';

  route: Route | undefined;
  cluster: ClusterSpec | undefined;
  /** Where it went, `address:port`. */
  upstreamAddress = '';
  /** Our end of the upstream connection. */
  upstreamLocalAddress = '';
  /** `ns/name` of the pod behind the endpoint. */
  upstreamWorkload: string | undefined;
  /** The service it was for, when no cluster says it (inbound, passthrough). */
  service: ServiceRef | undefined;
  /** What its tokens prove; undefined when none was accepted (or looked at). */
  authentication: Authentication | undefined;
  attempts = 0;
  /** The present attempt went out on a connection that had carried others: its loss may be a keep-alive race. */
  upstreamReused = false;
  /** When the present attempt went out; -1 while it waits. */
  sentMs = -1;
  /** Endpoints (`address:port`) that a retry had rather not see again. */
  avoid: string[] | undefined;

  /** Status sent to the client; 0 when none was. */
  status = 0;
  grpcStatus = '';
  /** Istio's response flags, in the order they came; empty = `-`. */
  flags = '';
  details = '';
  error: MeshError | undefined;
  /** Time from the first byte sent upstream to the first byte of its answer; -1 when there was none. */
  upstreamServiceMs = -1;
  /** Wire bytes, heads included (Istio's istio_request_bytes and istio_response_bytes). */
  requestBytes = 0;
  responseBytes = 0;
  /** Body bytes alone (the access log's bytes_received and bytes_sent). */
  requestBodyBytes = 0;
  responseBodyBytes = 0;

  constructor(reporter: Reporter, connection: Connection, table: Table | undefined, startedMs: number) {
    this.reporter = reporter;
    this.connection = connection;
    this.table = table;
    this.startedMs = startedMs;
  }

  /** Note the request as the client sent it. */
  begin(head: RequestHead): void {
    this.method = head.method;
    this.path = head.target;
    this.authority = head.authority;
    this.versionText = head.version === 20 ? 'HTTP/2' : head.version === 11 ? 'HTTP/1.1' : 'HTTP/1.0';
    if (head.headers.get('content-type')?.startsWith('application/grpc') === true) this.protocol = 'grpc';
  }

  /** Add a response flag, once. */
  flag(flag: string): void {
    if (flag === '-' || this.flags === flag) return;
    if (this.flags === '') this.flags = flag;
    else if (!this.flags.split(',').includes(flag)) this.flags += `,${flag}`;
  }
}
