/** Something that may happen a thousand times a second, said at most once a second. */
import type { Clock } from '../core/clock.ts';

const INTERVAL_MS = 1000;

export class Seldom {
  readonly #clock: Clock;
  #times = 0;
  #unsaid = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** It happened: `say` is called now, or not at all; with how often it happened without being said since the last time. */
  happened(say: (unsaid: number) => void): void {
    this.#times += 1;
    if (this.#times > 1) return;
    say(this.#unsaid);
    this.#unsaid = 0;
    this.#clock.coarse(INTERVAL_MS, () => {
      this.#unsaid = this.#times - 1;
      this.#times = 0;
    });
  }
}
