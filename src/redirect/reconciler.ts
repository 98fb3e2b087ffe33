/** Checks every enrolled pod again and again, mends what somebody else changed, and tells. */
import type { Drift, Redirector } from './redirector.ts';

/** Two rounds and the repair fit into the 5 s in which drift must be mended. */
export const RECONCILE_INTERVAL_MS = 2_000;

const RELEASED = 'released pods';

export interface ReconcilerEvents {
  /** Differences found, and mended by the time of the call. */
  onDrift(drifts: readonly Drift[]): void;
  /** A pod that could not be checked or mended two rounds in a row; it is tried again. Once alone says little: the network of a pod that ends is torn down first. */
  onError(podId: string, error: unknown): void;
}

export class Reconciler implements Disposable {
  readonly #redirector: Redirector;
  readonly #events: ReconcilerEvents;
  readonly #intervalMs: number;
  #timer: NodeJS.Timeout | undefined;
  /** What could not be checked in the last round. */
  #failed: ReadonlySet<string> = new Set();

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
    const before = this.#failed;
    const failed = new Set<string>();
    const failure = (what: string, error: unknown): void => {
      failed.add(what);
      if (before.has(what)) this.#events.onError(what, error);
    };
    for (const podId of this.#redirector.podIds) {
      try {
        const drifts = this.#redirector.check(podId);
        if (drifts.length === 0) continue;
        this.#redirector.repair(podId);
        this.#events.onDrift(drifts);
      } catch (error) {
        failure(podId, error);
      }
    }
    try {
      this.#redirector.tidy();
    } catch (error) {
      failure(RELEASED, error);
    }
    this.#failed = failed;
  }

  [Symbol.dispose](): void {
    this.pause();
  }
}
