/**
 * A request that an authorizer is asked about: its body is kept as far as the authorizer is to see it, then the client is asked
 * to hold until there is an answer.
 *
 *   collecting ──(enough of the body, or all)──→ asking ──→ passed on, or answered
 */
import { MeshError } from '../../core/errors.ts';
import type { Buffers } from '../buffers.ts';
import { DISCARD } from '../exchange.ts';
import type { RequestSink, ResponseSink } from '../exchange.ts';
import { ResponseHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import type { CheckOutcome } from './outcome.ts';

/** How much of the body the authorizer is shown; what is larger is refused unless it may see a part. */
export interface BodyLimit {
  readonly bytes: number;
  readonly mayBePart: boolean;
}

export interface CheckedRequestOptions {
  readonly response: ResponseSink;
  /** Of the workload. */
  readonly buffers: Buffers;
  /** Undefined: the authorizer is not shown the body. */
  readonly limit: BodyLimit | undefined;
  /** The client sends the body when it is told to go on (RFC 9110 §10.1.1). */
  readonly expectsContinue: boolean;
  /** Returns how to give the question up. */
  readonly ask: (body: Buffer | undefined, partial: boolean, done: (outcome: CheckOutcome) => void) => () => void;
  /** Where the request goes on. */
  readonly act: (outcome: CheckOutcome) => RequestSink;
  /** The body is larger than the authorizer may be shown. */
  readonly refuseTooLarge: () => RequestSink;
}

export class CheckedRequest implements RequestSink {
  readonly #options: CheckedRequestOptions;
  #kept: Buffer[] = [];
  #keptBytes = 0;
  #asked = false;
  /** The client was asked to hold. */
  #held = false;
  /** What was kept has been taken, and more may come. */
  #open = true;
  #ended = false;
  #trailers: HeaderList | undefined;
  #stop: (() => void) | undefined;
  /** Where the request went. */
  #next: RequestSink | undefined;

  constructor(options: CheckedRequestOptions) {
    this.#options = options;
  }

  begin(): void {
    const { limit, expectsContinue, response } = this.#options;
    if (limit === undefined) this.#ask(false);
    else if (expectsContinue) response.informational(new ResponseHead(100, ''));
  }

  data(chunk: Buffer): boolean {
    if (this.#next !== undefined) return this.#next.data(chunk);
    const { buffers, limit, refuseTooLarge, response } = this.#options;
    if (!buffers.mayHold(chunk.length)) {
      this.#giveUp();
      response.abort(new MeshError('workload_overloaded', { reason: 'too many bytes wait for an authorizer' }));
      return true;
    }
    buffers.hold(chunk.length);
    this.#kept.push(Buffer.from(chunk));
    this.#keptBytes += chunk.length;
    if (!this.#asked && limit !== undefined && this.#keptBytes > limit.bytes) {
      if (!limit.mayBePart) {
        this.#giveUp();
        refuseTooLarge();
        return true;
      }
      this.#ask(true);
      // The authorizer may have answered already.
      if (this.#next !== undefined) return this.#open;
    }
    this.#held = this.#asked;
    return !this.#held;
  }

  end(trailers: HeaderList | undefined): void {
    if (this.#next !== undefined) {
      this.#next.end(trailers);
      return;
    }
    this.#ended = true;
    this.#trailers = trailers;
    if (!this.#asked) this.#ask(false);
  }

  abort(error: MeshError): void {
    if (this.#next !== undefined) {
      this.#next.abort(error);
      return;
    }
    this.#giveUp();
  }

  resumeResponse(): void {
    this.#next?.resumeResponse();
  }

  #ask(partial: boolean): void {
    const { limit, ask, act } = this.#options;
    this.#asked = true;
    const body = limit === undefined ? undefined : Buffer.concat(this.#kept).subarray(0, limit.bytes);
    const stop = ask(body, partial, (outcome) => {
      this.#stop = undefined;
      if (this.#next === undefined) this.#act(() => act(outcome));
    });
    if (this.#next === undefined) this.#stop = stop;
  }

  /** The answer comes from a connection of somebody else's: what is thrown on the way ends this exchange alone. */
  #act(act: () => RequestSink): void {
    try {
      this.#proceed(act());
    } catch (error) {
      this.#leave(DISCARD);
      this.#options.response.abort(error instanceof MeshError ? error : new MeshError('internal', { cause: error }));
    }
  }

  /** Pass on what was kept, in one piece, and everything that follows. */
  #proceed(next: RequestSink): void {
    const kept = this.#kept;
    this.#leave(next);
    if (kept.length > 0) this.#open = next.data(Buffer.concat(kept));
    if (this.#ended) next.end(this.#trailers);
    else if (this.#held && this.#open) this.#options.response.resumeRequest();
  }

  #giveUp(): void {
    const stop = this.#stop;
    this.#stop = undefined;
    this.#leave(DISCARD);
    stop?.();
  }

  #leave(next: RequestSink): void {
    this.#next = next;
    this.#kept = [];
    this.#options.buffers.give(this.#keptBytes);
    this.#keptBytes = 0;
  }
}
