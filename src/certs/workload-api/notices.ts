/** Log lines that a client can cause at will: each kind once an interval, and only so many kinds. */
import type { Clock } from '../../core/clock.ts';
import { NOTICE_INTERVAL_MS, NOTICES_MAX } from '../../core/limits.ts';

export class Notices {
  readonly #clock: Clock;
  readonly #said = new Set<string>();
  #sinceMs = -Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Run `say`, unless a notice of this key was given in this interval, or too many others were. */
  once(key: string, say: () => void): void {
    const nowMs = this.#clock.nowMs();
    if (nowMs - this.#sinceMs >= NOTICE_INTERVAL_MS) {
      this.#said.clear();
      this.#sinceMs = nowMs;
    }
    if (this.#said.has(key) || this.#said.size >= NOTICES_MAX) return;
    this.#said.add(key);
    say();
  }
}
