/**
 * A connection whose bytes are passed on unread: declared TCP, TLS to be routed by server name, or anything that turned out
 * not to be HTTP. The upstream may be dialled before the client has said a word, because on a port of undeclared protocol
 * the server may be the one to speak first; whoever speaks first settles it.
 *
 *   dialling ──→ joined (relay) ──→ closed
 *       └─ early: upstream made, client undecided ─┬─ upstream speaks: observer.upstreamSpoke(), then join
 *                                                  ├─ client speaks something opaque: join
 *                                                  └─ client speaks HTTP: abandon
 */
import type { MeshError } from '../core/errors.ts';
import type { Timer } from '../core/clock.ts';
import { OPAQUE_EARLY_BYTES_MAX, TCP_REPORT_INTERVAL_MS } from '../core/limits.ts';
import type { TcpRoute } from '../mesh/table.ts';
import type { DataPlane } from './dataplane.ts';
import type { Exchange } from './record.ts';
import { Relay } from './relay.ts';
import type { Transport, TransportOwner } from './transport.ts';

/** Finds an endpoint for an opaque connection and connects to it, trying others where a connect fails. */
export interface OpaqueDialer {
  /** Exactly one of `outcome`'s methods is called, never within this call; none after `cancel`. */
  connect(exchange: Exchange, target: OpaqueTarget, outcome: OpaqueOutcome): OpaqueAttempt;
}

/** The routes to choose from; undefined = wherever the client meant to go. */
export interface OpaqueTarget {
  readonly routes: readonly TcpRoute[] | undefined;
}

export interface OpaqueOutcome {
  /** The lease is given back once, when the connection is over. */
  dialled(transport: Transport, lease: Lease): void;
  unreachable(error: MeshError): void;
}

/** What a connection holds of its cluster's limits. */
export interface Lease {
  /** 0 = never. */
  readonly idleTimeoutMs: number;
  release(): void;
}

export interface OpaqueAttempt {
  cancel(): void;
}

export interface OpaqueObserver {
  /** There is an upstream, and no client joined to it yet. */
  connected?(): void;
  /** The server has spoken before the client did, these bytes; undefined: it has closed. */
  upstreamSpoke(first: Buffer | undefined): void;
  /** No endpoint could be reached. */
  failed(error: MeshError): void;
}

export class OpaqueSession implements TransportOwner, OpaqueOutcome {
  readonly #dataplane: DataPlane;
  readonly #exchange: Exchange;
  readonly #observer: OpaqueObserver;
  readonly #attempt: OpaqueAttempt;
  #upstream: Transport | undefined;
  #lease: Lease | undefined;
  #client: Transport | undefined;
  #clientFirst: Buffer | undefined;
  #clientEnded = false;
  #upstreamFirst: Buffer | undefined;
  #upstreamEnded = false;
  #relay: Relay | undefined;
  #report: Timer | undefined;
  #onClosed: (() => void) | undefined;
  #reported = { received: 0, sent: 0 };
  #over = false;

  /** Begins to dial at once. */
  constructor(dataplane: DataPlane, dialer: OpaqueDialer, exchange: Exchange, target: OpaqueTarget, observer: OpaqueObserver) {
    this.#dataplane = dataplane;
    this.#exchange = exchange;
    this.#observer = observer;
    exchange.protocol = 'tcp';
    this.#attempt = dialer.connect(exchange, target, this);
  }

  /** The client's bytes are for this upstream: `first` were read already. Takes over the transport until `onClosed`. */
  join(client: Transport, first: Buffer | undefined, ended: boolean, onClosed: () => void): void {
    if (this.#over) {
      client.reset();
      onClosed();
      return;
    }
    this.#client = client;
    this.#onClosed = onClosed;
    this.#clientFirst = first;
    this.#clientEnded = ended;
    client.owner = new WaitingClient(this);
    if (this.#upstream !== undefined) this.#startRelay(this.#upstream, client);
  }

  /** The client turned out to speak something that is not for this session. */
  abandon(): void {
    this.#over = true;
    this.#attempt.cancel();
    this.#upstream?.destroy();
    this.#releaseLease();
  }

  dialled(transport: Transport, lease: Lease): void {
    this.#upstream = transport;
    this.#lease = lease;
    transport.owner = this;
    if (this.#client === undefined) this.#observer.connected?.();
    else this.#startRelay(transport, this.#client);
  }

  unreachable(error: MeshError): void {
    this.#exchange.error = error;
    this.#exchange.flag(error.kind.flag);
    this.#exchange.details = error.details;
    this.#over = true;
    this.#observer.failed(error);
    this.#client?.reset();
    this.#dataplane.telemetry.tcpOpened(this.#exchange);
    this.#finish();
  }

  /** The upstream speaks while the client has not. */
  bytes(buffer: Buffer, length: number): void {
    const chunk = Buffer.from(buffer.subarray(0, length));
    this.#upstreamFirst = this.#upstreamFirst === undefined ? chunk : Buffer.concat([this.#upstreamFirst, chunk]);
    this.#upstream?.pause();
    this.#observer.upstreamSpoke(this.#upstreamFirst);
  }

  ended(): void {
    this.#upstreamEnded = true;
  }

  drained(): void {
    // Nothing is written before the relay takes over.
  }

  /** The upstream closed before the client was joined to it. */
  closed(): void {
    if (this.#over) return;
    this.#upstreamEnded = true;
    this.#observer.upstreamSpoke(undefined);
  }

  /** The client went away while it waited. */
  clientClosed(): void {
    if (this.#over) return;
    this.#over = true;
    this.#attempt.cancel();
    this.#exchange.flag('DC');
    this.#exchange.details = 'downstream_remote_disconnect';
    this.#upstream?.destroy();
    this.#dataplane.telemetry.tcpOpened(this.#exchange);
    this.#finish();
  }

  clientEnded(): void {
    this.#clientEnded = true;
  }

  /** Kept until the upstream is there. The client is read on, so that its going away is noticed, until it has sent its share. */
  clientBytes(buffer: Buffer, length: number): void {
    const chunk = Buffer.from(buffer.subarray(0, length));
    this.#clientFirst = this.#clientFirst === undefined ? chunk : Buffer.concat([this.#clientFirst, chunk]);
    if (this.#clientFirst.length >= OPAQUE_EARLY_BYTES_MAX) this.#client?.pause();
  }

  #startRelay(upstream: Transport, client: Transport): void {
    this.#dataplane.telemetry.tcpOpened(this.#exchange);
    if (!upstream.open) {
      // It spoke (or not) and closed while the client was silent: hand over what it said, then its end.
      if (this.#upstreamFirst !== undefined) client.writeBytes(this.#upstreamFirst);
      client.end();
      this.#over = true;
      this.#finish();
      return;
    }
    const relay = new Relay(client, upstream, {
      clock: this.#dataplane.clock,
      idleTimeoutMs: this.#lease?.idleTimeoutMs ?? 0,
      onClosed: (error) => {
        this.#relayClosed(error);
      },
    });
    this.#relay = relay;
    if (this.#clientFirst !== undefined) relay.replayToServer(this.#clientFirst);
    if (this.#upstreamFirst !== undefined) relay.replayToClient(this.#upstreamFirst);
    if (this.#clientEnded) relay.replayClientEnd();
    if (this.#upstreamEnded) client.end();
    this.#clientFirst = undefined;
    this.#upstreamFirst = undefined;
    client.resume();
    upstream.resume();
    this.#scheduleReport();
  }

  /** Istio updates the byte counters of long connections every 5 s. */
  #scheduleReport(): void {
    this.#report = this.#dataplane.clock.coarse(TCP_REPORT_INTERVAL_MS, () => {
      this.#reportBytes();
      this.#scheduleReport();
    });
  }

  #reportBytes(): void {
    const relay = this.#relay;
    if (relay === undefined) return;
    const received = relay.received - this.#reported.received;
    const sent = relay.sent - this.#reported.sent;
    if (received === 0 && sent === 0) return;
    this.#reported = { received: relay.received, sent: relay.sent };
    this.#dataplane.telemetry.tcpBytes(this.#exchange, received, sent);
  }

  #relayClosed(error: Error | undefined): void {
    this.#over = true;
    if (error !== undefined && this.#exchange.details === '') this.#exchange.details = error.message;
    this.#reportBytes();
    this.#exchange.requestBodyBytes = this.#reported.received;
    this.#exchange.responseBodyBytes = this.#reported.sent;
    this.#finish();
  }

  #finish(): void {
    this.#report?.cancel();
    this.#releaseLease();
    this.#dataplane.telemetry.tcpClosed(this.#exchange, this.#dataplane.clock.nowMs() - this.#exchange.startedMs);
    this.#onClosed?.();
  }

  #releaseLease(): void {
    const lease = this.#lease;
    this.#lease = undefined;
    lease?.release();
  }
}

/** Owns the client's side until the upstream is there. */
class WaitingClient implements TransportOwner {
  readonly #session: OpaqueSession;

  constructor(session: OpaqueSession) {
    this.#session = session;
  }

  bytes(buffer: Buffer, length: number): void {
    this.#session.clientBytes(buffer, length);
  }

  ended(): void {
    this.#session.clientEnded();
  }

  drained(): void {
    // Nothing is written before the relay takes over.
  }

  closed(): void {
    this.#session.clientClosed();
  }
}
