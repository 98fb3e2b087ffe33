/** How long to wait before the next try: twice as long each time, and never all nodes at once. */
import type { Random } from '../core/random.ts';

export interface BackoffBounds {
  readonly firstMs: number;
  readonly mostMs: number;
}

export class Backoff {
  readonly #bounds: BackoffBounds;
  readonly #random: Random;
  #failures = 0;

  constructor(bounds: BackoffBounds, random: Random) {
    this.#bounds = bounds;
    this.#random = random;
  }

  /** Of the wait that begins now: between half of the step and the whole. */
  nextMs(): number {
    const { firstMs, mostMs } = this.#bounds;
    const step = Math.min(mostMs, firstMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return step * (0.5 + this.#random.next() / 2);
  }

  reset(): void {
    this.#failures = 0;
  }
}
