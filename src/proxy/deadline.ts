/** Timers of requests. */
import type { Clock, Timer } from '../core/clock.ts';

/** From here on a tick of the coarse clock is at most a twentieth of the wait. */
const COARSE_FROM_MS = 2000;

/** Run `fn` after `delayMs`: exactly when that is short, to 5 % and nearly for free when it is long. */
export function deadline(clock: Clock, delayMs: number, fn: () => void): Timer {
  return delayMs < COARSE_FROM_MS ? clock.after(delayMs, fn) : clock.coarse(delayMs, fn);
}
