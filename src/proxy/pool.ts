/**
 * The connections to one endpoint, and the requests waiting for one. Requests come in by {@link Pool.send}; whatever changes
 * afterwards (a connection is made, free again, lost; a limit has room) leads to the one method that moves requests on.
 */
import { MeshError } from '../core/errors.ts';
import { POOL_IDLE_MAX } from '../core/limits.ts';
import type { Clock, Timer } from '../core/clock.ts';
import type { Budget } from './budget.ts';
import { Dial } from './dial.ts';
import type { DialOutcome } from './dial.ts';
import { DISCARD } from './exchange.ts';
import type { RequestSink, ResponseSink } from './exchange.ts';
import type { RequestHead } from './head.ts';
import { HeldRequest } from './held.ts';
import type { Exchange } from './record.ts';
import type { Transport } from './transport.ts';
import type { Dialer, DialTarget, UpstreamCodec, UpstreamConnection, UpstreamOwner } from './upstream.ts';

/** A request as the pool carries it: where its answer goes, and who is told when it leaves. */
export interface PooledRequest extends ResponseSink {
  readonly exchange: Exchange;
  readonly requestHead: RequestHead;
  /** It goes out on a connection now; `reused`: one that has carried others, and may have died unnoticed. */
  begun(reused: boolean, localAddress: string): void;
}

/** What a pool needs, and who owns it. */
export interface PoolHost {
  readonly clock: Clock;
  readonly dialer: Dialer;
  readonly budget: Budget;
  /** No connection, no waiting request: the pool may be forgotten. */
  emptied(pool: Pool): void;
}

/** A connection as its pool keeps it. */
interface Slot {
  readonly connection: UpstreamConnection;
  /** Among the pool's idle ones. */
  idle: boolean;
  idleSinceMs: number;
  readonly lifetime: Timer | undefined;
}

export class Pool implements UpstreamOwner, DialOutcome {
  readonly target: DialTarget;
  readonly codec: UpstreamCodec;
  readonly #host: PoolHost;
  readonly #slots = new Map<UpstreamConnection, Slot>();
  /** Connections with capacity; the last one used is used first, so that the surplus grows old and is closed. */
  readonly #idle: Slot[] = [];
  readonly #dialling = new Set<Dial>();
  readonly #waiting = new Set<WaitingRequest>();
  #sweep: Timer | undefined;
  #draining = false;

  constructor(host: PoolHost, target: DialTarget, codec: UpstreamCodec) {
    this.#host = host;
    this.codec = codec;
    this.target = target;
  }

  /** Connections made or being made. */
  get size(): number {
    return this.#slots.size + this.#dialling.size;
  }

  /** Send a request on a free connection, or let it wait for one; a reached limit answers `overflow` at once. */
  send(request: PooledRequest): RequestSink {
    const slot = this.#takeIdle();
    if (slot !== undefined) return this.#begin(slot, request);
    const { budget } = this.#host;
    if (!budget.mayWait()) {
      request.abort(overflow('http1MaxPendingRequests', budget.limits.maxPendingRequests));
      return DISCARD;
    }
    const waiting = new WaitingRequest(this, request);
    budget.pending += 1;
    this.#waiting.add(waiting);
    this.#advance();
    return waiting;
  }

  /** The endpoint is no longer in the cluster: finish what is under way, then close. */
  drain(): void {
    this.#draining = true;
    this.#closeIdle();
    for (const connection of this.#slots.keys()) connection.drain();
    this.#settle();
  }

  /** The endpoint is gone: what is under way fails now, so that it may be tried elsewhere. */
  destroy(): void {
    this.#draining = true;
    for (const connection of this.#slots.keys()) connection.destroy();
    this.#settle();
  }

  #closeIdle(): void {
    for (const slot of this.#idle.splice(0)) {
      slot.idle = false;
      slot.connection.drain();
    }
  }

  ready(connection: UpstreamConnection): void {
    const slot = this.#slots.get(connection);
    if (slot === undefined || connection.capacity <= 0) return;
    if (this.#draining && this.#waiting.size === 0) {
      connection.drain();
      return;
    }
    this.#putIdle(slot);
    if (this.#waiting.size > 0) this.#advance();
  }

  closed(connection: UpstreamConnection): void {
    const slot = this.#slots.get(connection);
    if (slot === undefined) return;
    this.#slots.delete(connection);
    slot.lifetime?.cancel();
    if (slot.idle) this.#idle.splice(this.#idle.indexOf(slot), 1);
    this.#host.budget.connections -= 1;
    this.#advance();
    this.#settle();
  }

  unreachable(error: MeshError, dial: Dial): void {
    this.#dialling.delete(dial);
    this.#host.budget.connections -= 1;
    this.#failWaiting(error);
    this.#settle();
  }

  dialled(transport: Transport, dial: Dial): void {
    this.#dialling.delete(dial);
    const { keepalive, maxConnectionDurationMs } = this.#host.budget.limits;
    if (keepalive !== undefined) transport.setKeepAlive(keepalive);
    const connection = this.codec.open(transport, this);
    const lifetime = maxConnectionDurationMs > 0 ? this.#host.clock.coarse(maxConnectionDurationMs, () => connection.drain()) : undefined;
    const slot = { connection, idle: false, idleSinceMs: 0, lifetime };
    this.#slots.set(connection, slot);
    this.#putIdle(slot);
    this.#advance();
    if (this.#draining) this.drain();
  }

  /** The client of a waiting request went away. */
  abandoned(waiting: WaitingRequest): void {
    if (!this.#waiting.delete(waiting)) return;
    this.#host.budget.pending -= 1;
    this.#settle();
  }

  /** The only place that moves waiting requests to connections, and asks for more connections. */
  #advance(): void {
    for (const waiting of this.#waiting) {
      const slot = this.#takeIdle();
      if (slot === undefined) break;
      this.#waiting.delete(waiting);
      this.#host.budget.pending -= 1;
      waiting.release(this.#begin(slot, waiting.request));
    }
    const { budget } = this.#host;
    while (this.#dialling.size * this.codec.expectedCapacity < this.#waiting.size && budget.mayConnect(this.size)) {
      budget.connections += 1;
      this.#dialling.add(new Dial(this.#host, this.target, budget.limits.connectTimeoutMs, this));
    }
  }

  #begin(slot: Slot, request: PooledRequest): RequestSink {
    const { budget } = this.#host;
    const { connection } = slot;
    if (!budget.mayBegin()) {
      this.#putIdle(slot);
      request.abort(overflow('http2MaxRequests', budget.limits.maxRequests));
      return DISCARD;
    }
    request.begun(connection.served > 0, connection.localAddress);
    const sink = connection.send(request.exchange, request.requestHead, request);
    const { maxRequestsPerConnection } = budget.limits;
    if (maxRequestsPerConnection > 0 && connection.served >= maxRequestsPerConnection) connection.drain();
    else if (connection.capacity > 0) this.#putIdle(slot);
    return sink;
  }

  /** A failed connect fails those it was made for, which waited longest; the others have dials of their own. */
  #failWaiting(error: MeshError): void {
    let failed = 0;
    for (const waiting of this.#waiting) {
      this.#waiting.delete(waiting);
      this.#host.budget.pending -= 1;
      waiting.request.abort(error);
      failed += 1;
      if (failed === this.codec.expectedCapacity) break;
    }
    this.#advance();
  }

  #takeIdle(): Slot | undefined {
    for (;;) {
      const slot = this.#idle.pop();
      if (slot === undefined) return undefined;
      slot.idle = false;
      if (slot.connection.capacity > 0) return slot;
    }
  }

  #putIdle(slot: Slot): void {
    if (slot.idle) return;
    if (this.#idle.length >= POOL_IDLE_MAX) {
      slot.connection.drain();
      return;
    }
    slot.idle = true;
    slot.idleSinceMs = this.#host.clock.nowMs();
    this.#idle.push(slot);
    if (this.#sweep === undefined) this.#armSweep(slot.idleSinceMs);
  }

  /** One wait per pool, not per connection: the connection idle for longest is the first in the list. */
  #armSweep(oldestMs: number): void {
    const { clock, budget } = this.#host;
    const { httpIdleTimeoutMs } = budget.limits;
    if (httpIdleTimeoutMs === 0) return;
    this.#sweep = clock.coarse(Math.max(0, oldestMs + httpIdleTimeoutMs - clock.nowMs()), () => {
      this.#sweep = undefined;
      this.#closeOld(clock.nowMs() - httpIdleTimeoutMs);
    });
  }

  #closeOld(sinceMs: number): void {
    for (;;) {
      const oldest = this.#idle[0];
      if (oldest === undefined) return;
      if (oldest.idleSinceMs > sinceMs) {
        this.#armSweep(oldest.idleSinceMs);
        return;
      }
      this.#idle.shift();
      oldest.idle = false;
      // It has room for more, but is not idle.
      if (oldest.connection.busy) this.#putIdle(oldest);
      else oldest.connection.drain();
    }
  }

  #settle(): void {
    if (this.size > 0 || this.#waiting.size > 0) return;
    this.#sweep?.cancel();
    this.#sweep = undefined;
    this.#host.emptied(this);
  }
}

/** A request in the queue of a pool. */
class WaitingRequest extends HeldRequest {
  readonly request: PooledRequest;
  readonly #pool: Pool;

  constructor(pool: Pool, request: PooledRequest) {
    super(request);
    this.#pool = pool;
    this.request = request;
  }

  protected override abandoned(): void {
    this.#pool.abandoned(this);
  }
}

/** A limit of the connectionPool was reached; the message names the field and its value. */
export function overflow(field: string, limit: number): MeshError {
  return new MeshError('overflow', { reason: `${field} ${limit}` });
}
