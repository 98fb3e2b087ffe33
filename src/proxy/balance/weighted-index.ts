/** Chance in proportion to weights. */
import { below } from '../../core/random.ts';
import type { Random } from '../../core/random.ts';
import type { Candidate } from './picker.ts';

/** Draws an index with probability in proportion to the weights. */
export class WeightedIndex {
  readonly #random: Random;
  readonly #sums: Float64Array | undefined;
  readonly #count: number;

  constructor(candidates: readonly Candidate[], random: Random) {
    this.#random = random;
    this.#count = candidates.length;
    if (!equalWeights(candidates)) {
      let sum = 0;
      this.#sums = Float64Array.from(candidates, (candidate) => (sum += candidate.weight));
    }
  }

  draw(): number {
    const sums = this.#sums;
    if (sums === undefined) return below(this.#random, this.#count);
    const point = this.#random.next() * (sums[sums.length - 1] as number);
    let low = 0;
    let high = sums.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((sums[middle] as number) > point) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

export function equalWeights(candidates: readonly Candidate[]): boolean {
  const first = candidates[0]?.weight;
  return candidates.every((candidate) => candidate.weight === first);
}
