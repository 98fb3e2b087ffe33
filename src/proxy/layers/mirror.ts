/**
 * Sends a copy of the request to other clusters, for their eyes only: nothing that becomes of the copy reaches the client, not
 * its answer, its failure or its slowness.
 */
import type { Clock, Timer } from '../../core/clock.ts';
import { MeshError } from '../../core/errors.ts';
import { MIRROR_BUFFER_BYTES_MAX } from '../../core/limits.ts';
import { chance } from '../../core/random.ts';
import type { Random } from '../../core/random.ts';
import type { Mirror } from '../../mesh/table.ts';
import type { ClusterSet } from '../cluster-set.ts';
import { deadline } from '../deadline.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import { Exchange } from '../record.ts';
import type { Layer } from './layer.ts';

/** `timeoutMs`: the route's, 0 = none; it bounds the copy too. */
export function mirror(mirrors: readonly Mirror[], timeoutMs: number, clusters: ClusterSet, clock: Clock, random: Random): Layer | undefined {
  return mirrors.length === 0 ? undefined : (next) => new MirrorLayer(next, mirrors, timeoutMs, clusters, clock, random);
}

class MirrorLayer implements Service {
  readonly #next: Service;
  readonly #mirrors: readonly Mirror[];
  readonly #timeoutMs: number;
  readonly #clusters: ClusterSet;
  readonly #clock: Clock;
  readonly #random: Random;

  constructor(next: Service, mirrors: readonly Mirror[], timeoutMs: number, clusters: ClusterSet, clock: Clock, random: Random) {
    this.#next = next;
    this.#mirrors = mirrors;
    this.#timeoutMs = timeoutMs;
    this.#clusters = clusters;
    this.#clock = clock;
    this.#random = random;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    // A tunnel is a conversation; half of one is of no use to anybody.
    if (head.upgrade !== undefined || head.method === 'CONNECT') return this.#next.serve(exchange, head, response);
    let copies: Copy[] | undefined;
    for (const { cluster, percent } of this.#mirrors) {
      if (!chance(this.#random, percent)) continue;
      const copy = this.#begin(cluster, exchange, head);
      if (copy !== undefined) (copies ??= []).push(copy);
    }
    const sink = this.#next.serve(exchange, head, response);
    return copies === undefined ? sink : new Tee(sink, copies);
  }

  #begin(key: string, original: Exchange, head: RequestHead): Copy | undefined {
    const cluster = this.#clusters.get(key);
    if (cluster === undefined) return undefined;
    const exchange = new Exchange(original.reporter, original.connection, original.table, this.#clock.nowMs());
    const copyHead = head.clone();
    copyHead.expectContinue = false;
    exchange.begin(copyHead);
    const copy = new Copy(this.#timeoutMs, this.#clock);
    copy.next = cluster.serve(exchange, copyHead, copy);
    return copy;
  }
}

/** One copy under way: takes its answer in and forgets it. */
class Copy implements ResponseSink {
  next: RequestSink | undefined;
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  #timer: Timer | undefined;
  #kept: Buffer[] = [];
  #keptBytes = 0;
  #holding = false;
  #ended = false;
  #endSent = false;
  #trailers: HeaderList | undefined;
  #over = false;

  constructor(timeoutMs: number, clock: Clock) {
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
  }

  /** A part of the request. When the mirror cannot keep up, the part is kept, within a bound; beyond it the copy is given up. */
  write(chunk: Buffer): void {
    if (this.#over) return;
    if (!this.#holding) {
      this.#holding = this.next?.data(chunk) === false;
      return;
    }
    if (this.#keptBytes + chunk.length > MIRROR_BUFFER_BYTES_MAX) {
      this.giveUp();
      return;
    }
    this.#kept.push(Buffer.from(chunk));
    this.#keptBytes += chunk.length;
  }

  finish(trailers: HeaderList | undefined): void {
    if (this.#over) return;
    this.#ended = true;
    this.#trailers = trailers;
    if (this.#timeoutMs > 0) this.#timer = deadline(this.#clock, this.#timeoutMs, () => this.giveUp());
    this.#sendEnd();
  }

  /** The request stopped in its middle. */
  giveUp(): void {
    if (this.#over) return;
    this.#settle();
    this.next?.abort(new MeshError('downstream_gone'));
  }

  /** The whole request was read from the client. */
  get complete(): boolean {
    return this.#ended;
  }

  resumeRequest(): void {
    this.#holding = false;
    while (!this.#holding) {
      const chunk = this.#kept.shift();
      if (chunk === undefined) break;
      this.#keptBytes -= chunk.length;
      this.#holding = this.next?.data(chunk) === false;
    }
    this.#sendEnd();
  }

  informational(): void {
    // Nobody waits for it.
  }

  head(): void {
    // The cluster has seen the status; nobody else cares.
  }

  data(): boolean {
    return true;
  }

  end(): void {
    this.#settle();
  }

  abort(): void {
    this.#settle();
  }

  #sendEnd(): void {
    if (!this.#ended || this.#endSent || this.#over || this.#kept.length > 0) return;
    this.#endSent = true;
    this.next?.end(this.#trailers);
  }

  #settle(): void {
    this.#over = true;
    this.#timer?.cancel();
    this.#kept = [];
  }
}

/** The request on its way to the endpoint, with an ear for the mirrors. */
class Tee implements RequestSink {
  readonly #next: RequestSink;
  readonly #copies: readonly Copy[];

  constructor(next: RequestSink, copies: readonly Copy[]) {
    this.#next = next;
    this.#copies = copies;
  }

  data(chunk: Buffer): boolean {
    for (const copy of this.#copies) copy.write(chunk);
    return this.#next.data(chunk);
  }

  end(trailers: HeaderList | undefined): void {
    for (const copy of this.#copies) copy.finish(trailers);
    this.#next.end(trailers);
  }

  abort(error: MeshError): void {
    for (const copy of this.#copies) if (!copy.complete) copy.giveUp();
    this.#next.abort(error);
  }

  resumeResponse(): void {
    this.#next.resumeResponse();
  }
}
