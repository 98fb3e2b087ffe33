/** Any endpoint, in proportion to its weight. */
import type { Random } from '../../core/random.ts';
import { WeightedIndex } from './weighted-index.ts';
import type { Candidate, Picker } from './picker.ts';

export function randomPick<C extends Candidate>(candidates: readonly C[], random: Random): Picker<C> {
  const index = new WeightedIndex(candidates, random);
  return { pick: () => candidates[index.draw()] as C };
}
