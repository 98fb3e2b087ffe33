/**
 * Header operations of a route and of the destination chosen: remove, then set, then add; the route's first. Values may hold
 * Envoy's substitution operators. A value that comes out empty is not sent (Envoy's `keep_empty_value: false`).
 */
import type { Clock } from '../../core/clock.ts';
import type { HeaderEdits, HeaderOperations, HeaderValue } from '../../mesh/table.ts';
import { hostPort } from '../../core/address.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead, ResponseHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import type { Exchange } from '../record.ts';
import type { Layer } from './layer.ts';
import { ForwardingResponse } from './forwarding-response.ts';

export function headerOperations(ofRoute: HeaderOperations | undefined, ofDestination: HeaderOperations | undefined, clock: Clock): Layer | undefined {
  const all = [ofRoute, ofDestination].filter((operations) => operations !== undefined);
  const request = all.map((operations) => operations.request).filter(hasEdits);
  const response = all.map((operations) => operations.response).filter(hasEdits);
  return request.length === 0 && response.length === 0 ? undefined : (next) => new Headers(next, request, response, clock);
}

function hasEdits(edits: HeaderEdits): boolean {
  return edits.remove.length + edits.set.length + edits.add.length > 0;
}

class Headers implements Service {
  readonly #next: Service;
  readonly #request: readonly HeaderEdits[];
  readonly #response: readonly HeaderEdits[];
  readonly #clock: Clock;

  constructor(next: Service, request: readonly HeaderEdits[], response: readonly HeaderEdits[], clock: Clock) {
    this.#next = next;
    this.#request = request;
    this.#response = response;
    this.#clock = clock;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    for (const edits of this.#request) editRequest(edits, exchange, head, this.#clock);
    if (this.#response.length === 0) return this.#next.serve(exchange, head, response);
    return this.#next.serve(exchange, head, new EditedResponse(this.#response, exchange, head, this.#clock, response));
  }
}

function editRequest(edits: HeaderEdits, exchange: Exchange, head: RequestHead, clock: Clock): void {
  const { headers } = head;
  for (const name of edits.remove) headers.remove(name);
  for (const field of edits.set) {
    const value = render(field, exchange, head, undefined, clock);
    if (value === '') continue;
    const lower = field.name.toLowerCase();
    if (lower === 'host' || lower === ':authority') head.setAuthority(value);
    else headers.set(field.name, value);
  }
  append(edits.add, headers, exchange, head, undefined, clock);
}

function append(fields: readonly HeaderValue[], headers: HeaderList, exchange: Exchange, request: RequestHead, response: ResponseHead | undefined, clock: Clock): void {
  for (const field of fields) {
    const value = render(field, exchange, request, response, clock);
    if (value !== '') headers.add(field.name, value);
  }
}

function render(field: HeaderValue, exchange: Exchange, request: RequestHead, response: ResponseHead | undefined, clock: Clock): string {
  let text = '';
  for (const part of field.parts) text += typeof part === 'string' ? part : substitute(part.operator, part.argument, exchange, request, response, clock);
  return text;
}

/** Envoy's "Command Operators"; those that a header may use. Unknown ones were reported when the table was compiled. */
function substitute(operator: string, argument: string, exchange: Exchange, request: RequestHead, response: ResponseHead | undefined, clock: Clock): string {
  const { connection } = exchange;
  switch (operator) {
    case 'REQ':
      return either(argument, (name) => requestField(name, exchange, request));
    case 'RESP':
      return either(argument, (name) => response?.headers.joined(name));
    case 'DOWNSTREAM_REMOTE_ADDRESS':
      return hostPort(connection.remoteAddress, connection.remotePort);
    case 'DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT':
    case 'DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT':
      return connection.remoteAddress;
    case 'DOWNSTREAM_LOCAL_ADDRESS':
      return hostPort(connection.destinationAddress, connection.destinationPort);
    case 'DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT':
      return connection.destinationAddress;
    case 'DOWNSTREAM_LOCAL_PORT':
      return String(connection.destinationPort);
    case 'PROTOCOL':
      return exchange.versionText;
    case 'START_TIME':
      return new Date(clock.wallMs() - (clock.nowMs() - exchange.startedMs)).toISOString();
    case 'UPSTREAM_HOST':
    case 'UPSTREAM_REMOTE_ADDRESS':
      return exchange.upstreamAddress;
    case 'UPSTREAM_CLUSTER':
      return exchange.cluster?.key ?? '';
    case 'ROUTE_NAME':
      return exchange.route?.name ?? '';
    case 'RESPONSE_CODE':
      return response === undefined ? '' : String(response.status);
    case 'RESPONSE_FLAGS':
      return exchange.flags === '' ? '-' : exchange.flags;
    case 'STREAM_ID':
    case 'REQUEST_ID':
      return exchange.requestId;
    default:
      return '';
  }
}

/** `a?b`: the second field where the first is absent. */
function either(argument: string, field: (name: string) => string | undefined): string {
  const mark = argument.indexOf('?');
  if (mark < 0) return field(argument.toLowerCase()) ?? '';
  return field(argument.slice(0, mark).toLowerCase()) ?? field(argument.slice(mark + 1).toLowerCase()) ?? '';
}

function requestField(name: string, exchange: Exchange, request: RequestHead): string | undefined {
  switch (name) {
    case ':method':
      return request.method;
    case ':path':
    case 'x-envoy-original-path':
      return exchange.path;
    case ':authority':
      return request.authority;
    case ':scheme':
      return request.scheme;
    default:
      return request.headers.joined(name);
  }
}

class EditedResponse extends ForwardingResponse {
  readonly #edits: readonly HeaderEdits[];
  readonly #exchange: Exchange;
  readonly #request: RequestHead;
  readonly #clock: Clock;

  constructor(edits: readonly HeaderEdits[], exchange: Exchange, request: RequestHead, clock: Clock, response: ResponseSink) {
    super(response);
    this.#edits = edits;
    this.#exchange = exchange;
    this.#request = request;
    this.#clock = clock;
  }

  override head(head: ResponseHead): void {
    const { headers } = head;
    for (const edits of this.#edits) {
      for (const name of edits.remove) headers.remove(name);
      for (const field of edits.set) {
        const value = render(field, this.#exchange, this.#request, head, this.#clock);
        if (value !== '') headers.set(field.name, value);
      }
      append(edits.add, headers, this.#exchange, this.#request, head, this.#clock);
    }
    this.response.head(head);
  }
}
