/** The one file that turns an error into a reply. What it says is what an operator needs: what, where, and why. */
import type { MeshError } from '../core/errors.ts';
import type { ResponseSink } from './exchange.ts';
import { ResponseHead } from './head.ts';
import type { Exchange } from './record.ts';

const NO_BODY = Buffer.alloc(0);

/** Status codes of gRPC for those of HTTP (gRPC, "HTTP to gRPC Status Code Mapping"); any other is UNKNOWN. */
const GRPC_STATUS: Readonly<Record<number, number>> = { 400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14 };
const GRPC_UNKNOWN = 2;
const GRPC_DEADLINE_EXCEEDED = 4;

/** Where an error has no status of its own, because usually nobody is left to read one. */
const STATUS_WITHOUT_OWN = 503;

/** Answer an exchange that failed before its answer began. */
export function localReply(error: MeshError, exchange: Exchange, response: ResponseSink): void {
  const status = error.kind.status === 0 ? STATUS_WITHOUT_OWN : error.kind.status;
  const sentence = describe(error, exchange);
  if (exchange.protocol === 'grpc') {
    const head = new ResponseHead(200, '');
    head.headers.add('content-type', 'application/grpc');
    head.headers.add('grpc-status', String(grpcStatus(error, status)));
    head.headers.add('grpc-message', encodeURIComponent(sentence).replaceAll('%20', ' '));
    head.headers.add('x-orlop-reason', error.code);
    send(exchange, head, NO_BODY, response);
    return;
  }
  const head = new ResponseHead(status, '');
  head.headers.add('content-type', 'text/plain; charset=utf-8');
  head.headers.add('x-orlop-reason', error.code);
  send(exchange, head, Buffer.from(`${sentence}\n`), response);
}

function send(exchange: Exchange, head: ResponseHead, body: Buffer, response: ResponseSink): void {
  head.headers.add('content-length', String(body.length));
  head.contentLength = exchange.method === 'HEAD' ? 0 : body.length;
  response.head(head);
  if (head.contentLength > 0) response.data(body);
  response.end(undefined);
}

/** `<sentence> (flag UF, at route > cluster > endpoint: reason)`. */
function describe(error: MeshError, exchange: Exchange): string {
  const { flag, sentence } = error.kind;
  const place = [exchange.route?.origin, exchange.cluster?.key, exchange.upstreamAddress === '' ? error.at : exchange.upstreamAddress].filter((part) => part !== undefined).join(' > ');
  const parts = [];
  if (flag !== '-') parts.push(`flag ${flag}`);
  if (place !== '') parts.push(`at ${place}`);
  const where = parts.join(', ');
  const { reason } = error;
  if (where === '' && reason === undefined) return sentence;
  return `${sentence} (${reason === undefined ? where : where === '' ? reason : `${where}: ${reason}`})`;
}

/** What gRPC says where HTTP says `status`. */
export function grpcStatusOf(status: number): number {
  return GRPC_STATUS[status] ?? GRPC_UNKNOWN;
}

function grpcStatus(error: MeshError, status: number): number {
  return error.kind.flag === 'UT' ? GRPC_DEADLINE_EXCEEDED : grpcStatusOf(status);
}
