/**
 * Time as something handed in, so that tests can fake it and simulations can run from a seed.
 * The only file of the data plane that may touch the real clock and real timers.
 */

export interface Timer {
  /** Forget the callback. Cancelling twice, or after it ran, does nothing. */
  cancel(): void;
}

export interface Clock {
  /** Monotonic time in milliseconds, fractional; the origin is arbitrary. */
  nowMs(): number;
  /** Wall-clock time in milliseconds since the Unix epoch. */
  wallMs(): number;
  /** Run `fn` once after `delayMs`, to the precision of the event loop. */
  after(delayMs: number, fn: () => void): Timer;
  /**
   * Run `fn` once after `delayMs`, up to {@link COARSE_TICK_MS} late. One timer serves all coarse waits, so arming and
   * cancelling cost a list operation: the right kind for idle and request timeouts, which nearly never fire.
   */
  coarse(delayMs: number, fn: () => void): Timer;
}

/** Resolves when so much time has passed, or as soon as `signal` is aborted. */
export async function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const end = (): void => {
      timer.cancel();
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = clock.after(delayMs, end);
    signal.addEventListener('abort', end);
  });
}

/** Resolution of {@link Clock.coarse}. */
export const COARSE_TICK_MS = 100;

interface Wait extends Timer {
  dueMs: number;
  fn: (() => void) | undefined;
}

/** Coarse waits grouped by their length: within one group they fall due in the order they were armed. */
class CoarseWaits {
  readonly #groups = new Map<number, Wait[]>();
  readonly #clock: SystemClock;
  #ticker: NodeJS.Timeout | undefined;

  constructor(clock: SystemClock) {
    this.#clock = clock;
  }

  arm(delayMs: number, fn: () => void): Timer {
    const rounded = Math.ceil(delayMs / COARSE_TICK_MS) * COARSE_TICK_MS;
    const wait: Wait = { dueMs: this.#clock.nowMs() + rounded, fn, cancel: cancelWait };
    const group = this.#groups.get(rounded);
    if (group === undefined) this.#groups.set(rounded, [wait]);
    else group.push(wait);
    this.#ticker ??= setInterval(() => {
      this.#tick();
    }, COARSE_TICK_MS).unref();
    return wait;
  }

  #tick(): void {
    const nowMs = this.#clock.nowMs();
    for (const [lengthMs, group] of this.#groups) {
      let spent = 0;
      while (spent < group.length) {
        const wait = group[spent] as Wait;
        if (wait.fn !== undefined && wait.dueMs > nowMs) break;
        spent += 1;
        const { fn } = wait;
        wait.fn = undefined;
        if (fn !== undefined) fn();
      }
      // Cancelled waits behind a live one go when the live one falls due; a long group is compacted sooner.
      if (spent === group.length) this.#groups.delete(lengthMs);
      else if (spent > 0) group.splice(0, spent);
      if (group.length > 1024) this.#compact(lengthMs, group);
    }
    if (this.#groups.size === 0 && this.#ticker !== undefined) {
      clearInterval(this.#ticker);
      this.#ticker = undefined;
    }
  }

  #compact(lengthMs: number, group: Wait[]): void {
    const live = group.filter((wait) => wait.fn !== undefined);
    if (live.length < group.length / 2) this.#groups.set(lengthMs, live);
  }
}

function cancelWait(this: Wait): void {
  this.fn = undefined;
}

class SystemClock implements Clock {
  readonly #coarse: CoarseWaits = new CoarseWaits(this);

  nowMs(): number {
    return performance.now();
  }

  wallMs(): number {
    return Date.now();
  }

  after(delayMs: number, fn: () => void): Timer {
    const timeout = setTimeout(fn, delayMs);
    return {
      cancel() {
        clearTimeout(timeout);
      },
    };
  }

  coarse(delayMs: number, fn: () => void): Timer {
    return this.#coarse.arm(delayMs, fn);
  }
}

/** The clock of the process. */
export const systemClock: Clock = new SystemClock();

/** A clock that stands still until a test moves it; waits fall due in order of time, then of arming. */
export class FakeClock implements Clock {
  #nowMs = 0;
  readonly #epochMs: number;
  #waits: Wait[] = [];

  constructor(epochMs = Date.UTC(2026, 0, 1)) {
    this.#epochMs = epochMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#epochMs + this.#nowMs;
  }

  after(delayMs: number, fn: () => void): Timer {
    const wait: Wait = { dueMs: this.#nowMs + Math.max(0, delayMs), fn, cancel: cancelWait };
    this.#waits.push(wait);
    return wait;
  }

  coarse(delayMs: number, fn: () => void): Timer {
    return this.after(delayMs, fn);
  }

  /** Let `ms` milliseconds pass, running what falls due on the way. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      const next = this.#takeNext(untilMs);
      if (next === undefined) break;
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      const { fn } = next;
      next.fn = undefined;
      fn?.();
    }
    this.#nowMs = untilMs;
  }

  /** Waits armed and not yet run or cancelled: a leak check for tests. */
  pending(): number {
    return this.#waits.filter((wait) => wait.fn !== undefined).length;
  }

  #takeNext(untilMs: number): Wait | undefined {
    this.#waits = this.#waits.filter((wait) => wait.fn !== undefined);
    let best = -1;
    for (let i = 0; i < this.#waits.length; i += 1) {
      const dueMs = (this.#waits[i] as Wait).dueMs;
      if (dueMs <= untilMs && (best < 0 || dueMs < (this.#waits[best] as Wait).dueMs)) best = i;
    }
    return best < 0 ? undefined : this.#waits.splice(best, 1)[0];
  }
}
