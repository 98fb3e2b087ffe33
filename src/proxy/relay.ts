/**
 * Two connections joined into one: bytes, half-closes and resets pass from each to the other as they came. Each side reads
 * only as fast as the other is written to.
 */
import type { Clock, Timer } from '../core/clock.ts';
import type { Transport, TransportOwner } from './transport.ts';

export interface RelayOptions {
  readonly clock: Clock;
  /** Ends the relay when no byte moved either way for so long; 0 = never. */
  readonly idleTimeoutMs: number;
  /** Both sides are gone. `error` is the first side's, if it broke. */
  readonly onClosed: (error: Error | undefined) => void;
}

export class Relay {
  /** Bytes from the client to the server, and back. */
  received = 0;
  sent = 0;
  readonly #options: RelayOptions;
  readonly #client: Side;
  readonly #server: Side;
  #idle: Timer | undefined;
  #movedAtIdle = 0;
  #openSides = 2;
  #error: Error | undefined;

  /** Takes over both transports; both must be open. */
  constructor(client: Transport, server: Transport, options: RelayOptions) {
    this.#options = options;
    this.#client = new Side(this, client, server);
    this.#server = new Side(this, server, client);
    client.owner = this.#client;
    server.owner = this.#server;
    this.#watchIdle();
  }

  /** Bytes that were read before the relay began. */
  replayToServer(bytes: Buffer): void {
    this.#client.bytes(bytes, bytes.length);
  }

  replayToClient(bytes: Buffer): void {
    this.#server.bytes(bytes, bytes.length);
  }

  /** The client had sent its FIN before the relay began. */
  replayClientEnd(): void {
    this.#client.ended();
  }

  /** Cut both sides. */
  destroy(): void {
    this.#client.transport.reset();
    this.#server.transport.reset();
  }

  moved(side: Side, length: number): void {
    if (side === this.#client) this.received += length;
    else this.sent += length;
  }

  sideClosed(error: Error | undefined): void {
    this.#error ??= error;
    this.#openSides -= 1;
    if (this.#openSides > 0) return;
    this.#idle?.cancel();
    this.#options.onClosed(this.#error);
  }

  /** One coarse wait per relay, re-armed when it falls due: nothing is done per byte. */
  #watchIdle(): void {
    const { idleTimeoutMs, clock } = this.#options;
    if (idleTimeoutMs === 0) return;
    this.#movedAtIdle = this.received + this.sent;
    this.#idle = clock.coarse(idleTimeoutMs, () => {
      if (this.received + this.sent === this.#movedAtIdle) this.destroy();
      else this.#watchIdle();
    });
  }
}

class Side implements TransportOwner {
  readonly transport: Transport;
  readonly #peer: Transport;
  readonly #relay: Relay;

  constructor(relay: Relay, transport: Transport, peer: Transport) {
    this.#relay = relay;
    this.transport = transport;
    this.#peer = peer;
  }

  bytes(buffer: Buffer, length: number): void {
    this.#relay.moved(this, length);
    if (!this.#peer.writeBytes(length === buffer.length ? buffer : buffer.subarray(0, length))) this.transport.pause();
  }

  ended(): void {
    this.#peer.end();
  }

  /** Our own writes have left: the other side may read on. */
  drained(): void {
    this.#peer.resume();
  }

  closed(error: Error | undefined): void {
    // A reset is passed on as a reset, so that neither end takes a cut-off stream for a complete one.
    if (error === undefined) this.#peer.end();
    else this.#peer.reset();
    this.#relay.sideClosed(error);
  }
}
