/** Chance as something handed in, so that a test or a simulation repeats from its seed. */

export interface Random {
  /** A number in [0, 1). */
  next(): number;
}

/** Good enough for balancing, faults and jitter; never used for secrets. */
export const systemRandom: Random = { next: Math.random };

/** The same sequence for the same seed (mulberry32: 32 bits of state, passes the usual small batteries). */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return {
    next() {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
    },
  };
}

/** A whole number in [0, n). */
export function below(random: Random, n: number): number {
  return Math.floor(random.next() * n);
}

/** True in `percent` of 100 cases; 0 never, 100 always. */
export function chance(random: Random, percent: number): boolean {
  return percent > 0 && (percent >= 100 || random.next() * 100 < percent);
}
