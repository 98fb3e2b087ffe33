/**
 * A `tcpSocket` probe of the kubelet at a port that would refuse it. The connection is all that it asks for, and the kernel
 * has made it; a reset could still reach the kubelet before its connect has returned, so it ends with a FIN. No byte passes.
 */
import type { Clock, Timer } from '../core/clock.ts';
import { TCP_PROBE_TIMEOUT_MS } from '../core/limits.ts';
import type { Transport, TransportOwner } from './transport.ts';

export class TcpProbe implements TransportOwner {
  readonly #transport: Transport;
  readonly #onClosed: () => void;
  readonly #deadline: Timer;

  constructor(transport: Transport, clock: Clock, onClosed: () => void) {
    this.#transport = transport;
    this.#onClosed = onClosed;
    this.#deadline = clock.coarse(TCP_PROBE_TIMEOUT_MS, () => transport.destroy());
  }

  /** Whoever says something is no probe. */
  bytes(): void {
    this.#transport.reset();
  }

  ended(): void {
    this.#transport.end();
  }

  drained(): void {
    // Nothing is written.
  }

  closed(): void {
    this.#deadline.cancel();
    this.#onClosed();
  }
}
