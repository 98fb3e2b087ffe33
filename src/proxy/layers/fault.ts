/**
 * Faults a VirtualService injects: a delay, then an abort, each with dice of its own. They come before timeout and retries, so
 * neither shortens nor repeats them: the application is to see what it would see of a slow or broken service.
 */
import type { Clock, Timer } from '../../core/clock.ts';
import type { MeshError } from '../../core/errors.ts';
import { chance } from '../../core/random.ts';
import type { Random } from '../../core/random.ts';
import type { Fault } from '../../mesh/table.ts';
import { DISCARD } from '../exchange.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import { ResponseHead } from '../head.ts';
import type { RequestHead } from '../head.ts';
import { HeldRequest } from '../held.ts';
import type { Exchange } from '../record.ts';
import { reply } from './answer.ts';
import type { Layer } from './layer.ts';

type Abort = NonNullable<Fault['abort']>;

const ABORT_BODY = Buffer.from('fault filter abort');
const NO_BODY = Buffer.alloc(0);

export function fault(policy: Fault | undefined, clock: Clock, random: Random): Layer | undefined {
  return policy === undefined ? undefined : (next) => new FaultLayer(next, policy, clock, random);
}

class FaultLayer implements Service {
  readonly #next: Service;
  readonly #fault: Fault;
  readonly #clock: Clock;
  readonly #random: Random;

  constructor(next: Service, policy: Fault, clock: Clock, random: Random) {
    this.#next = next;
    this.#fault = policy;
    this.#clock = clock;
    this.#random = random;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const { delay } = this.#fault;
    if (delay === undefined || !chance(this.#random, delay.percent)) return this.proceed(exchange, head, response);
    exchange.flag('DI');
    const delayed = new DelayedRequest(response);
    delayed.wait(this.#clock, delay.delayMs, () => this.proceed(exchange, head, response));
    return delayed;
  }

  /** Once the delay, if any, is over. */
  proceed(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const { abort } = this.#fault;
    if (abort === undefined || !chance(this.#random, abort.percent)) return this.#next.serve(exchange, head, response);
    exchange.flag('FI');
    exchange.details = 'fault_filter_abort';
    refuse(abort, exchange, response);
    return DISCARD;
  }
}

function refuse(abort: Abort, exchange: Exchange, response: ResponseSink): void {
  if (abort.grpcStatus === undefined) {
    const head = new ResponseHead(abort.status, '');
    head.headers.add('content-type', 'text/plain');
    reply(exchange, head, ABORT_BODY, response);
    return;
  }
  // gRPC has its own status, carried by an HTTP answer that is fine (gRPC over HTTP/2, "Responses").
  const head = new ResponseHead(200, '');
  head.headers.add('content-type', 'application/grpc');
  head.headers.add('grpc-status', String(abort.grpcStatus));
  head.headers.add('grpc-message', ABORT_BODY.toString());
  reply(exchange, head, NO_BODY, response);
}

class DelayedRequest extends HeldRequest {
  #timer: Timer | undefined;

  wait(clock: Clock, delayMs: number, serve: () => RequestSink): void {
    this.#timer = clock.after(delayMs, () => this.proceed(serve));
  }

  protected override abandoned(_error: MeshError): void {
    this.#timer?.cancel();
  }
}
