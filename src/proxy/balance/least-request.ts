/**
 * Istio's default: of two endpoints drawn by weight, the one with fewer requests under way. Two choices suffice to keep the
 * longest queue short (Mitzenmacher, "The power of two choices in randomized load balancing"), at a cost that does not
 * grow with the number of endpoints.
 */
import type { Random } from '../../core/random.ts';
import { WeightedIndex } from './weighted-index.ts';
import type { Candidate, Picker } from './picker.ts';

export function leastRequest<C extends Candidate>(candidates: readonly C[], random: Random): Picker<C> {
  const index = new WeightedIndex(candidates, random);
  return {
    pick() {
      const one = candidates[index.draw()] as C;
      const other = candidates[index.draw()] as C;
      return other.active < one.active ? other : one;
    },
  };
}
