/** So many a second, and a burst: a bucket of tokens that fills with time. */
import type { Clock } from './clock.ts';

export class Rate {
  readonly #clock: Clock;
  readonly #perSecond: number;
  readonly #burst: number;
  #left: number;
  #atMs: number;

  constructor(clock: Clock, { perSecond, burst }: { readonly perSecond: number; readonly burst: number }) {
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#left = burst;
    this.#atMs = clock.nowMs();
  }

  /** One more; false when there have been too many. */
  take(): boolean {
    this.#fill();
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }

  /** How long until one more may be taken. */
  get waitMs(): number {
    this.#fill();
    return Math.ceil((Math.max(0, 1 - this.#left) / this.#perSecond) * 1000);
  }

  #fill(): void {
    const nowMs = this.#clock.nowMs();
    this.#left = Math.min(this.#burst, this.#left + ((nowMs - this.#atMs) / 1000) * this.#perSecond);
    this.#atMs = nowMs;
  }
}
