/**
 * Gives a request without `x-request-id` one (Istio's way to find all log lines of a request). Trace context (traceparent,
 * b3) is the application's and passes untouched.
 */
import type { Random } from '../../core/random.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead } from '../head.ts';
import type { Exchange } from '../record.ts';
import type { Layer } from './layer.ts';

/** Two hexadecimal digits by byte. */
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

export function requestId(random: Random): Layer {
  return (next) => new RequestId(next, random);
}

class RequestId implements Service {
  readonly #next: Service;
  readonly #random: Random;

  constructor(next: Service, random: Random) {
    this.#next = next;
    this.#random = random;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    if (exchange.requestId === '') {
      exchange.requestId = uuid(this.#random);
      head.headers.add('x-request-id', exchange.requestId);
    }
    return this.#next.serve(exchange, head, response);
  }
}

/** A version 4 UUID (RFC 9562 §5.4). */
function uuid(random: Random): string {
  const a = word(random);
  const b = word(random);
  const c = word(random);
  const d = word(random);
  return `${hex(a >>> 24)}${hex(a >>> 16)}${hex(a >>> 8)}${hex(a)}-${hex(b >>> 24)}${hex(b >>> 16)}-${hex(((b >>> 8) & 0x0f) | 0x40)}${hex(b)}-${hex(((c >>> 24) & 0x3f) | 0x80)}${hex(c >>> 16)}-${hex(c >>> 8)}${hex(c)}${hex(d >>> 24)}${hex(d >>> 16)}${hex(d >>> 8)}${hex(d)}`;
}

function word(random: Random): number {
  return (random.next() * 4_294_967_296) >>> 0;
}

function hex(value: number): string {
  return HEX[value & 0xff] as string;
}
