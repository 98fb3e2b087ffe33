/** One connection being made, with a time limit: the transport, or the reason why there is none. */
import { hostPort } from '../core/address.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { MeshError } from '../core/errors.ts';
import type { Transport, TransportOwner } from './transport.ts';
import type { Dialer, DialTarget } from './upstream.ts';

/** Exactly one of them is called, never within the constructor of {@link Dial}; none after `cancel`. */
export interface DialOutcome {
  /** The transport's owner is to be replaced before this returns. */
  dialled(transport: Transport, dial: Dial): void;
  unreachable(error: MeshError, dial: Dial): void;
}

export class Dial implements TransportOwner {
  readonly #target: DialTarget;
  readonly #connectTimeoutMs: number;
  readonly #outcome: DialOutcome;
  #transport: Transport | undefined;
  #timer: Timer;
  #over = false;

  constructor(world: { readonly clock: Clock; readonly dialer: Dialer }, target: DialTarget, connectTimeoutMs: number, outcome: DialOutcome) {
    this.#target = target;
    this.#connectTimeoutMs = connectTimeoutMs;
    this.#outcome = outcome;
    this.#timer = world.clock.after(connectTimeoutMs, () => this.#timedOut());
    try {
      this.#transport = world.dialer.dial(target, this);
    } catch (error) {
      // No socket could be made (descriptors, namespace gone). Told in a later turn, as every other failure is.
      this.#timer.cancel();
      this.#timer = world.clock.after(0, () => this.closed(error as Error));
    }
  }

  /** Nobody waits for it any more. */
  cancel(): void {
    this.#over = true;
    this.#timer.cancel();
    this.#transport?.destroy();
  }

  connected(): void {
    if (!this.#settle()) return;
    this.#outcome.dialled(this.#transport as Transport, this);
  }

  closed(error: Error | undefined): void {
    if (!this.#settle()) return;
    const reason = error === undefined ? 'closed while connecting' : reasonOf(error);
    this.#outcome.unreachable(new MeshError('upstream_connect_failed', { at: this.#where(), reason, cause: error }), this);
  }

  bytes(): void {
    // `connected` comes before any byte, and with it another owner.
  }

  ended(): void {
    // As above.
  }

  drained(): void {
    // Nothing is written yet.
  }

  #timedOut(): void {
    if (!this.#settle()) return;
    this.#transport?.destroy();
    this.#outcome.unreachable(new MeshError('upstream_connect_timeout', { at: this.#where(), reason: `connectTimeout ${this.#connectTimeoutMs} ms` }), this);
  }

  #where(): string {
    return hostPort(this.#target.address, this.#target.port);
  }

  #settle(): boolean {
    if (this.#over) return false;
    this.#over = true;
    this.#timer.cancel();
    return true;
  }
}

/** Of a connection in a tunnel: why there is no tunnel, and where it should have led. */
function reasonOf(error: Error): string {
  if (!(error instanceof MeshError)) return (error as NodeJS.ErrnoException).code ?? error.message;
  const reason = error.reason ?? error.kind.sentence;
  return error.at === undefined ? reason : `${error.at}: ${reason}`;
}
