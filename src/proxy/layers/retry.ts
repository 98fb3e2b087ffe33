/**
 * Tries again what the route's retry policy wants tried again, as long as nothing has been answered. Until then the request's
 * body is kept, within a bound; a larger one is sent once. Backoff is exponential with full jitter.
 *
 *   trying ──answer──→ committed ──→ over
 *     ↑ └─ failure or retriable answer ─→ backing off ─┐
 *     └───────────── replay of the body ←──────────────┘
 */
import type { Clock, Timer } from '../../core/clock.ts';
import { MeshError } from '../../core/errors.ts';
import { RETRY_BODY_BYTES_MAX, RETRY_DISCARD_BYTES_MAX } from '../../core/limits.ts';
import type { Random } from '../../core/random.ts';
import type { RetryPolicy } from '../../mesh/table.ts';
import type { Budget } from '../budget.ts';
import type { Buffers } from '../buffers.ts';
import { deadline } from '../deadline.ts';
import { DISCARD } from '../exchange.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead, ResponseHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import type { Exchange } from '../record.ts';
import { retriesAnswer, retriesFailure } from '../retry-conditions.ts';
import type { Layer } from './layer.ts';

/** An answer that will be repeated is read to its end for so long, to keep its connection. */
const DISCARD_MS = 1000;

/** What the retries of a route need besides the policy. */
export interface RetryContext {
  readonly clock: Clock;
  readonly random: Random;
  /** Of the workload. */
  readonly buffers: Buffers;
  /** Of the cluster; undefined when it has gone. */
  readonly budget: () => Budget | undefined;
}

/** No attempts, no layer. */
export function retry(policy: RetryPolicy, context: RetryContext): Layer | undefined {
  return policy.attempts === 0 ? undefined : (next) => new Retry(next, policy, context);
}

class Retry implements Service {
  readonly next: Service;
  readonly policy: RetryPolicy;
  readonly context: RetryContext;

  constructor(next: Service, policy: RetryPolicy, context: RetryContext) {
    this.next = next;
    this.policy = policy;
    this.context = context;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const request = new RetriedRequest(this, exchange, head, response);
    request.begin();
    return request;
  }

  /** Random between nothing and a ceiling that doubles with each retry. */
  backoffMs(retries: number): number {
    const { backoffBaseMs, backoffMaxMs } = this.policy;
    return this.context.random.next() * Math.min(backoffBaseMs * 2 ** retries, backoffMaxMs);
  }
}

class RetriedRequest implements RequestSink {
  readonly #layer: Retry;
  readonly #exchange: Exchange;
  readonly #head: RequestHead;
  readonly #response: ResponseSink;
  /** Undefined while backing off, and when it is over. */
  #try: Try | undefined;
  #upstream: RequestSink = DISCARD;
  #retries = 0;
  /** The whole body so far; undefined when it was too large or is no longer needed. */
  #kept: Buffer[] | undefined;
  #keptBytes = 0;
  #mayRetry = true;
  /** Chunks of `#kept` that the present try was given; -1 = all, and new ones go to it directly. */
  #replayed = -1;
  #held = false;
  #ended = false;
  #trailers: HeaderList | undefined;
  #backoff: Timer | undefined;
  #budget: Budget | undefined;

  constructor(layer: Retry, exchange: Exchange, head: RequestHead, response: ResponseSink) {
    this.#layer = layer;
    this.#exchange = exchange;
    this.#head = head;
    this.#response = response;
  }

  begin(): void {
    const attempt = new Try(this, this.#response);
    this.#try = attempt;
    if (this.#ended) this.#watch(attempt);
    const upstream = this.#layer.next.serve(this.#exchange, this.#head, attempt);
    attempt.attach(upstream);
    if (this.#try !== attempt) return;
    this.#upstream = upstream;
    if (this.#retries > 0) this.#replay(attempt);
  }

  data(chunk: Buffer): boolean {
    if (this.#mayRetry || this.#replayed >= 0) this.#keep(chunk);
    if (this.#replayed < 0) return this.#upstream.data(chunk);
    this.#held = true;
    return false;
  }

  end(trailers: HeaderList | undefined): void {
    this.#ended = true;
    this.#trailers = trailers;
    if (this.#replayed >= 0) return;
    if (this.#mayRetry && this.#try !== undefined) this.#watch(this.#try);
    this.#upstream.end(trailers);
  }

  abort(error: MeshError): void {
    const upstream = this.#upstream;
    this.#stop();
    upstream.abort(error);
  }

  resumeResponse(): void {
    this.#upstream.resumeResponse();
  }

  /** The present try can take more of the body. */
  resume(attempt: Try): void {
    if (this.#replayed >= 0) this.#replay(attempt);
    else this.#response.resumeRequest();
  }

  /** An answer has come. True: it is the client's; false: it is dropped, and another try will follow. */
  answered(attempt: Try, head: ResponseHead): boolean {
    if (head.status >= 200 && this.#mayRetry && retriesAnswer(this.#layer.policy.on, head, this.#exchange) && this.#another()) {
      attempt.discard(this.#ended);
      return false;
    }
    this.#commit();
    return true;
  }

  /** The present try has failed. */
  failed(attempt: Try, error: MeshError): void {
    if (this.#try !== attempt) return;
    if (this.#mayRetry && retriesFailure(this.#layer.policy.on, error, this.#exchange)) {
      if (this.#another(error)) return;
    }
    this.#stop();
    this.#response.abort(error);
  }

  /** The answer is complete, or cut off. The request may go on: in a tunnel, and where the endpoint answered early. */
  over(): void {
    this.#commit();
    this.#giveBack();
  }

  /** Schedule another try, if the policy, the kept body and the cluster's maxRetries allow one. */
  #another(error?: MeshError): boolean {
    const { policy, context } = this.#layer;
    const budget = this.#budget ?? context.budget();
    if (this.#retries >= policy.attempts || budget === undefined || (this.#budget === undefined && !budget.mayRetry())) {
      // The failure keeps its own flag in front, as Envoy writes it.
      if (error !== undefined) this.#exchange.flag(error.kind.flag);
      this.#exchange.flag(this.#retries >= policy.attempts ? 'URX' : 'UO');
      return false;
    }
    if (this.#budget === undefined) budget.retries += 1;
    this.#budget = budget;
    if (policy.avoidPreviousHosts) (this.#exchange.avoid ??= []).push(this.#exchange.upstreamAddress);
    this.#try = undefined;
    this.#upstream = DISCARD;
    this.#backoff = context.clock.after(this.#layer.backoffMs(this.#retries), () => {
      this.#backoff = undefined;
      this.begin();
    });
    this.#replayed = 0;
    this.#retries += 1;
    return true;
  }

  /** Give the present try the part of the body that came before it. */
  #replay(attempt: Try): void {
    const kept = this.#kept ?? [];
    while (this.#replayed < kept.length) {
      const chunk = kept[this.#replayed] as Buffer;
      this.#replayed += 1;
      const open = this.#upstream.data(chunk);
      if (this.#try !== attempt) return;
      if (!open) return;
    }
    this.#replayed = -1;
    if (!this.#mayRetry) this.#drop();
    if (this.#ended) {
      this.#upstream.end(this.#trailers);
    } else if (this.#held) {
      this.#held = false;
      this.#response.resumeRequest();
    }
  }

  #keep(chunk: Buffer): void {
    const { buffers } = this.#layer.context;
    // While there is nowhere to send it, the body must be kept whatever its size; its sender is asked to hold.
    if (this.#replayed < 0 && (this.#keptBytes + chunk.length > RETRY_BODY_BYTES_MAX || !buffers.mayHold(chunk.length))) {
      this.#mayRetry = false;
      this.#drop();
      return;
    }
    buffers.hold(chunk.length);
    (this.#kept ??= []).push(Buffer.from(chunk));
    this.#keptBytes += chunk.length;
  }

  #drop(): void {
    if (this.#keptBytes > 0) this.#layer.context.buffers.give(this.#keptBytes);
    this.#kept = undefined;
    this.#keptBytes = 0;
  }

  #watch(attempt: Try): void {
    const { perTryTimeoutMs } = this.#layer.policy;
    if (perTryTimeoutMs > 0) attempt.watch(this.#layer.context.clock, perTryTimeoutMs);
  }

  /** The client is being answered: no more tries. */
  #commit(): void {
    this.#mayRetry = false;
    if (this.#replayed < 0) this.#drop();
  }

  /** Nothing will come of it any more. */
  #stop(): void {
    this.#try?.unwatch();
    this.#try = undefined;
    this.#upstream = DISCARD;
    this.#replayed = -1;
    this.#commit();
    this.#backoff?.cancel();
    this.#backoff = undefined;
    this.#giveBack();
  }

  /** The exchange no longer counts as a retry under way. */
  #giveBack(): void {
    if (this.#budget !== undefined) this.#budget.retries -= 1;
    this.#budget = undefined;
  }

  get clock(): Clock {
    return this.#layer.context.clock;
  }
}

/** The answer to one try: the client's, until it is to be repeated. */
class Try implements ResponseSink {
  readonly #request: RetriedRequest;
  readonly #response: ResponseSink;
  #upstream: RequestSink | undefined;
  #timer: Timer | undefined;
  #discarding = false;
  #cut: MeshError | undefined;
  #discarded = 0;
  #committed = false;

  constructor(request: RetriedRequest, response: ResponseSink) {
    this.#request = request;
    this.#response = response;
  }

  /** Where the try went; it may be over already. */
  attach(upstream: RequestSink): void {
    this.#upstream = upstream;
    if (this.#cut !== undefined) upstream.abort(this.#cut);
  }

  informational(head: ResponseHead): void {
    if (!this.#discarding) this.#response.informational(head);
  }

  head(head: ResponseHead): void {
    this.unwatch();
    if (!this.#request.answered(this, head)) return;
    this.#committed = true;
    this.#response.head(head);
  }

  data(chunk: Buffer): boolean {
    if (!this.#discarding) return this.#response.data(chunk);
    this.#discarded += chunk.length;
    if (this.#discarded > RETRY_DISCARD_BYTES_MAX) this.#cutOff();
    return true;
  }

  end(trailers: HeaderList | undefined): void {
    this.unwatch();
    if (this.#discarding) return;
    this.#response.end(trailers);
    this.#request.over();
  }

  abort(error: MeshError): void {
    this.unwatch();
    if (this.#discarding) return;
    if (this.#committed) {
      this.#request.over();
      this.#response.abort(error);
    } else {
      this.#request.failed(this, error);
    }
  }

  resumeRequest(): void {
    if (!this.#discarding) this.#request.resume(this);
  }

  /** Arm the per-try timeout: it ends the try unless its answer has begun. */
  watch(clock: Clock, timeoutMs: number): void {
    this.#timer ??= deadline(clock, timeoutMs, () => {
      const error = new MeshError('per_try_timeout', { reason: `perTryTimeout ${timeoutMs} ms` });
      this.#discarding = true;
      this.#cutOff(error);
      this.#request.failed(this, error);
    });
  }

  unwatch(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** The answer is not wanted. Where the request is complete its connection is worth keeping, so the rest is read. */
  discard(requestComplete: boolean): void {
    this.#discarding = true;
    if (requestComplete) this.#timer = this.#request.clock.coarse(DISCARD_MS, () => this.#cutOff());
    else this.#cutOff();
  }

  #cutOff(error = new MeshError('downstream_gone', { reason: 'the try is repeated' })): void {
    this.unwatch();
    if (this.#cut !== undefined) return;
    this.#cut = error;
    this.#upstream?.abort(error);
  }
}
