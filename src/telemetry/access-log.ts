/**
 * Istio's access log: its default text format, its JSON fields, or the mesh's own format of Envoy operators. A format is
 * compiled once into a list of pieces; a line is their concatenation. Lines leave in batches; when nobody takes them they are
 * dropped and counted, for a log must never hold traffic up.
 */
import { hostPort } from '../core/address.ts';
import type { ExchangeFacts } from './telemetry.ts';

/** What a line is made from. */
export interface LogEntry {
  readonly facts: ExchangeFacts;
  readonly durationMs: number;
  /** Wall-clock time of the start. */
  readonly startedWallMs: number;
}

type Operator = (entry: LogEntry) => string | number;

/** MeshConfig.accessLogFormat's default (Istio 1.2x `DefaultTextLogFormat`). */
export const DEFAULT_TEXT_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ' +
  '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% ' +
  '%DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" ' +
  '"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% ' +
  '%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%';

/** Istio's JSON fields, in its order. */
const JSON_FIELDS: Readonly<Record<string, string>> = {
  start_time: 'START_TIME',
  route_name: 'ROUTE_NAME',
  method: 'REQ(:METHOD)',
  path: 'REQ(:PATH)',
  protocol: 'PROTOCOL',
  response_code: 'RESPONSE_CODE',
  response_flags: 'RESPONSE_FLAGS',
  response_code_details: 'RESPONSE_CODE_DETAILS',
  connection_termination_details: 'CONNECTION_TERMINATION_DETAILS',
  bytes_received: 'BYTES_RECEIVED',
  bytes_sent: 'BYTES_SENT',
  duration: 'DURATION',
  upstream_service_time: 'RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)',
  x_forwarded_for: 'REQ(X-FORWARDED-FOR)',
  user_agent: 'REQ(USER-AGENT)',
  request_id: 'REQ(X-REQUEST-ID)',
  authority: 'REQ(:AUTHORITY)',
  upstream_host: 'UPSTREAM_HOST',
  upstream_cluster: 'UPSTREAM_CLUSTER_RAW',
  upstream_local_address: 'UPSTREAM_LOCAL_ADDRESS',
  downstream_local_address: 'DOWNSTREAM_LOCAL_ADDRESS',
  downstream_remote_address: 'DOWNSTREAM_REMOTE_ADDRESS',
  requested_server_name: 'REQUESTED_SERVER_NAME',
  upstream_transport_failure_reason: 'UPSTREAM_TRANSPORT_FAILURE_REASON',
};

const OPERATORS: Readonly<Record<string, Operator>> = {
  START_TIME: ({ startedWallMs }) => new Date(startedWallMs).toISOString(),
  'REQ(:METHOD)': ({ facts }) => facts.method,
  'REQ(:PATH)': ({ facts }) => facts.path,
  'REQ(X-ENVOY-ORIGINAL-PATH?:PATH)': ({ facts }) => facts.path,
  'REQ(:AUTHORITY)': ({ facts }) => facts.authority,
  'REQ(HOST)': ({ facts }) => facts.authority,
  'REQ(X-FORWARDED-FOR)': ({ facts }) => facts.forwardedFor,
  'REQ(USER-AGENT)': ({ facts }) => facts.userAgent,
  'REQ(X-REQUEST-ID)': ({ facts }) => facts.requestId,
  PROTOCOL: ({ facts }) => (facts.protocol === 'tcp' ? '' : facts.versionText),
  RESPONSE_CODE: ({ facts }) => facts.status,
  RESPONSE_FLAGS: ({ facts }) => facts.flags,
  RESPONSE_CODE_DETAILS: ({ facts }) => facts.details || (facts.status > 0 ? 'via_upstream' : ''),
  CONNECTION_TERMINATION_DETAILS: ({ facts }) => (facts.protocol === 'tcp' && facts.error !== undefined ? facts.details : ''),
  UPSTREAM_TRANSPORT_FAILURE_REASON: ({ facts }) => facts.error?.message ?? '',
  GRPC_STATUS: ({ facts }) => facts.grpcStatus,
  BYTES_RECEIVED: ({ facts }) => facts.requestBodyBytes,
  BYTES_SENT: ({ facts }) => facts.responseBodyBytes,
  DURATION: ({ durationMs }) => Math.round(durationMs),
  'RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)': ({ facts }) => (facts.upstreamServiceMs < 0 ? '' : Math.round(facts.upstreamServiceMs)),
  UPSTREAM_HOST: ({ facts }) => facts.upstreamAddress,
  UPSTREAM_CLUSTER: ({ facts }) => clusterOf(facts),
  UPSTREAM_CLUSTER_RAW: ({ facts }) => clusterOf(facts),
  UPSTREAM_LOCAL_ADDRESS: ({ facts }) => facts.upstreamLocalAddress,
  DOWNSTREAM_LOCAL_ADDRESS: ({ facts: { connection } }) => hostPort(connection.destinationAddress, connection.destinationPort),
  DOWNSTREAM_REMOTE_ADDRESS: ({ facts: { connection } }) => hostPort(connection.remoteAddress, connection.remotePort),
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: ({ facts: { connection } }) => connection.remoteAddress,
  DOWNSTREAM_PEER_URI_SAN: ({ facts }) => facts.connection.peer.identity,
  REQUESTED_SERVER_NAME: ({ facts }) => facts.connection.serverName,
  ROUTE_NAME: ({ facts }) => facts.route?.name ?? '',
};

/** Istio's inbound clusters have the form `inbound|port||`. */
function clusterOf(facts: ExchangeFacts): string {
  if (facts.cluster !== undefined) return facts.cluster.key;
  return facts.reporter === 'destination' ? `inbound|${facts.connection.destinationPort}||` : '';
}

/** Makes one line, with its line end. */
export type LineFormat = (entry: LogEntry) => string;

/** A format of literal text and `%OPERATOR%`s. An operator that is not known is named in the line as it was written. */
export function textFormat(format: string = DEFAULT_TEXT_FORMAT): LineFormat {
  const pieces: (string | Operator)[] = [];
  let at = 0;
  for (const found of format.matchAll(/%([A-Z_]+(?:\([^)]*\))?)%/g)) {
    pieces.push(format.slice(at, found.index), OPERATORS[found[1] as string] ?? found[0]);
    at = found.index + found[0].length;
  }
  pieces.push(format.slice(at).replace(/\n$/, ''));
  return (entry) => {
    let line = '';
    for (const piece of pieces) line += typeof piece === 'string' ? piece : inText(piece(entry));
    return `${line}\n`;
  };
}

/** Operators of `format` that this release does not know, to be reported once. */
export function unknownOperators(format: string): string[] {
  return [...format.matchAll(/%([A-Z_]+(?:\([^)]*\))?)%/g)].map((found) => found[1] as string).filter((name) => !Object.hasOwn(OPERATORS, name));
}

/** One JSON object a line, with Istio's field names. */
export function jsonFormat(): LineFormat {
  const fields = Object.entries(JSON_FIELDS).map(([name, operator]) => [name, OPERATORS[operator] as Operator] as const);
  return (entry) => {
    const object: Record<string, string | number | null> = {};
    for (const [name, operator] of fields) {
      const value = operator(entry);
      object[name] = value === '' ? null : value;
    }
    return `${JSON.stringify(object)}\n`;
  };
}

/** Absent values are a dash. Quotes and control characters of a request must not forge a line. */
function inText(value: string | number): string | number {
  if (typeof value === 'number') return value;
  if (value === '') return '-';
  return /["\\\u0000-\u001f\u007f]/.test(value) ? JSON.stringify(value).slice(1, -1) : value;
}
