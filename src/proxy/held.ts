/**
 * A request that cannot go on yet: no connection, no addresses, a delay to sit out. It keeps what the client sends meanwhile,
 * asks it to hold after the first chunk, and afterwards passes everything on to where the request went.
 */
import { MeshError } from '../core/errors.ts';
import { DISCARD } from './exchange.ts';
import type { RequestSink, ResponseSink } from './exchange.ts';
import type { HeaderList } from './headers.ts';

export class HeldRequest implements RequestSink {
  readonly #response: ResponseSink;
  #next: RequestSink | undefined;
  #chunks: Buffer[] | undefined;
  #ended = false;
  #trailers: HeaderList | undefined;
  #aborted: MeshError | undefined;

  /** `response` is told when the client may send again. */
  constructor(response: ResponseSink) {
    this.#response = response;
  }

  /** Given up by the client while it waited: the owner forgets it. Overridden by whoever queues it. */
  protected abandoned(_error: MeshError): void {
    // Nothing to forget.
  }

  /** The client gave up, so there is nothing left to pass on. */
  get over(): boolean {
    return this.#aborted !== undefined;
  }

  /**
   * Go on where `serve` leads, from a timer or a promise, where nobody above would catch what it throws: that ends this exchange, not
   * the worker.
   */
  protected proceed(serve: () => RequestSink): void {
    try {
      this.release(serve());
    } catch (error) {
      this.#next = DISCARD;
      this.#response.abort(error instanceof MeshError ? error : new MeshError('internal', { cause: error }));
    }
  }

  /** Pass on what was kept, and everything that follows. */
  release(next: RequestSink): void {
    this.#next = next;
    // Given up while `next` was being made.
    if (this.#aborted !== undefined) {
      next.abort(this.#aborted);
      return;
    }
    const chunks = this.#chunks;
    this.#chunks = undefined;
    let open = true;
    if (chunks !== undefined) for (const chunk of chunks) open = next.data(chunk);
    if (this.#ended) next.end(this.#trailers);
    else if (chunks !== undefined && open) this.#response.resumeRequest();
  }

  data(chunk: Buffer): boolean {
    if (this.#next !== undefined) return this.#next.data(chunk);
    if (this.#aborted !== undefined) return true;
    const copy = Buffer.from(chunk);
    if (this.#chunks === undefined) this.#chunks = [copy];
    else this.#chunks.push(copy);
    return false;
  }

  end(trailers: HeaderList | undefined): void {
    if (this.#next !== undefined) {
      this.#next.end(trailers);
      return;
    }
    this.#ended = true;
    this.#trailers = trailers;
  }

  abort(error: MeshError): void {
    if (this.#next !== undefined) {
      this.#next.abort(error);
      return;
    }
    this.#aborted = error;
    this.#chunks = undefined;
    this.abandoned(error);
  }

  resumeResponse(): void {
    this.#next?.resumeResponse();
  }
}
