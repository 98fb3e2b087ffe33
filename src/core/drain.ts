/**
 * A graceful end small enough to learn in a minute: whoever is busy holds a token; draining asks the holders to finish,
 * waits until every token is back or the deadline passes, and says which.
 */
import type { Clock } from './clock.ts';

export interface DrainToken extends Disposable {
  /** Give the token back; a second call does nothing. */
  release(): void;
}

export class Drain {
  readonly #clock: Clock;
  readonly #listeners = new Set<() => void>();
  #held = 0;
  #draining = false;
  #idle: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** Tokens not yet given back. */
  get held(): number {
    return this.#held;
  }

  /** Announce work that a drain should wait for. */
  hold(): DrainToken {
    this.#held += 1;
    let open = true;
    const release = (): void => {
      if (!open) return;
      open = false;
      this.#held -= 1;
      if (this.#held === 0) this.#idle?.();
    };
    return { release, [Symbol.dispose]: release };
  }

  /** Run `fn` when draining begins (at once if it already has). Returns how to forget it. */
  onDrain(fn: () => void): () => void {
    if (this.#draining) {
      fn();
      return () => undefined;
    }
    this.#listeners.add(fn);
    return () => this.#listeners.delete(fn);
  }

  /** Begin draining; resolves with the number of tokens still held at the deadline (0 = everybody finished). */
  async begin(deadlineMs: number): Promise<number> {
    if (!this.#draining) {
      this.#draining = true;
      for (const fn of this.#listeners) fn();
      this.#listeners.clear();
    }
    if (this.#held === 0) return 0;
    await new Promise<void>((resolve) => {
      const timer = this.#clock.after(deadlineMs, resolve);
      this.#idle = () => {
        timer.cancel();
        resolve();
      };
    });
    return this.#held;
  }
}
