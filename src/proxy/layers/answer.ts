/** Routes that answer by themselves: a redirect, or a response written in the route. */
import type { DirectAction, RedirectAction } from '../../mesh/table.ts';
import { redirectLocation } from '../../mesh/route.ts';
import { DISCARD } from '../exchange.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import { ResponseHead } from '../head.ts';
import type { RequestHead } from '../head.ts';
import type { Exchange } from '../record.ts';

/** Answers with the Location that the route says. */
export class Redirect implements Service {
  readonly #action: RedirectAction;

  constructor(action: RedirectAction) {
    this.#action = action;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    exchange.details = 'direct_response';
    const answer = new ResponseHead(this.#action.status, '');
    answer.headers.add('location', redirectLocation(this.#action, head, exchange.connection.destinationPort));
    answer.headers.add('content-length', '0');
    response.head(answer);
    response.end(undefined);
    return DISCARD;
  }
}

/** Answers with the status and body that the route says. */
export class DirectResponse implements Service {
  readonly #action: DirectAction;
  readonly #body: Buffer;

  constructor(action: DirectAction) {
    this.#action = action;
    this.#body = Buffer.from(action.body);
  }

  serve(exchange: Exchange, _head: RequestHead, response: ResponseSink): RequestSink {
    exchange.details = 'direct_response';
    reply(exchange, new ResponseHead(this.#action.status, ''), this.#body, response);
    return DISCARD;
  }
}

/** Send a complete small answer; without its body where HTTP forbids one (RFC 9110 §6.4.1). */
export function reply(exchange: Exchange, head: ResponseHead, body: Buffer, response: ResponseSink): void {
  const bodiless = exchange.method === 'HEAD' || head.status === 204 || head.status === 304;
  if (head.status !== 204) head.headers.set('content-length', String(body.length));
  head.contentLength = bodiless ? 0 : body.length;
  response.head(head);
  if (head.contentLength > 0) response.data(body);
  response.end(undefined);
}
