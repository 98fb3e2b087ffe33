/** Checks every enrolled pod again and again, mends what somebody else changed, and tells. */
import type { Drift, Redirector } from './redirector.ts';

/** Two rounds and the repair fit into the 5 s in which drift must be mended. */
export const RECONCILE_INTERVAL_MS = 2_000;

export interface ReconcilerEvents {
  /** Differences found, and mended by the time of the call. */
  onDrift(drifts: readonly Drift[]): void;
  /** A pod that could not be checked or mended; it is tried again in the next round. */
  onError(podId: string, error: unknown): void;
}

export class Reconciler implements Disposable {
  readonly #redirector: Redirector;
  readonly #events: ReconcilerEvents;
  readonly #intervalMs: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(redirector: Redirector, events: ReconcilerEvents, intervalMs: number = RECONCILE_INTERVAL_MS) {
    this.#redirector = redirector;
    this.#events = events;
    this.#intervalMs = intervalMs;
    this.resume();
  }

  /** Leave everything as it is: another agent changes it. */
  pause(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  resume(): void {
    this.#timer ??= setInterval(() => this.round(), this.#intervalMs).unref();
  }

  /** Check and mend all pods once, now. */
  round(): void {
    for (const podId of this.#redirector.podIds) {
      try {
        const drifts = this.#redirector.check(podId);
        if (drifts.length === 0) continue;
        this.#redirector.repair(podId);
        this.#events.onDrift(drifts);
      } catch (error) {
        this.#events.onError(podId, error);
      }
    }
    try {
      this.#redirector.tidy();
    } catch (error) {
      this.#events.onError('released pods', error);
    }
  }

  [Symbol.dispose](): void {
    this.pause();
  }
}
