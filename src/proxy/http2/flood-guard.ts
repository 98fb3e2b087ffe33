/**
 * Frames that cost their receiver something and their sender nothing: resets, pings, settings, empty frames, window updates.
 * Honest peers send few; the guard allows a burst and then a steady rate (CVE-2019-9512 to 9518, CVE-2023-44487, CVE-2025-8671).
 */
import type { Clock } from '../../core/clock.ts';
import { HTTP2_IDLE_FRAMES_BURST, HTTP2_IDLE_FRAMES_PER_SECOND } from '../../core/limits.ts';

export class FloodGuard {
  readonly #clock: Clock;
  #left = HTTP2_IDLE_FRAMES_BURST;
  #filledMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#filledMs = clock.nowMs();
  }

  /** One more such frame; false: it is one too many. */
  allow(): boolean {
    this.#left -= 1;
    if (this.#left >= 0) return true;
    const nowMs = this.#clock.nowMs();
    this.#left = Math.min(HTTP2_IDLE_FRAMES_BURST, Math.floor(((nowMs - this.#filledMs) * HTTP2_IDLE_FRAMES_PER_SECOND) / 1000)) - 1;
    this.#filledMs = nowMs;
    return this.#left >= 0;
  }

  /** Real work was done: a busy honest connection is not to be mistaken for a flood. */
  worked(): void {
    if (this.#left < HTTP2_IDLE_FRAMES_BURST) this.#left += 1;
  }
}
