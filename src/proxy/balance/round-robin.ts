/**
 * One endpoint after the other. With unequal weights the turns are interleaved by smooth weighted round robin (as nginx does:
 * weights 5, 1, 1 give a a b a c a a, not a a a a a b c).
 */
import { equalWeights } from './weighted-index.ts';
import type { Candidate, Picker } from './picker.ts';

/** Begins at `start`, so that the clients of a service do not all begin with its first endpoint. */
export function roundRobin<C extends Candidate>(candidates: readonly C[], start: number): Picker<C> {
  return equalWeights(candidates) ? inTurn(candidates, start) : smoothly(candidates, start);
}

function inTurn<C extends Candidate>(candidates: readonly C[], start: number): Picker<C> {
  let next = start;
  return {
    pick() {
      const candidate = candidates[next] as C;
      next = next + 1 === candidates.length ? 0 : next + 1;
      return candidate;
    },
  };
}

function smoothly<C extends Candidate>(candidates: readonly C[], start: number): Picker<C> {
  const total = candidates.reduce((sum, candidate) => sum + candidate.weight, 0);
  const credit = candidates.map(() => 0);
  const pick = (): C => {
    let best = 0;
    for (let i = 0; i < credit.length; i += 1) {
      credit[i] = (credit[i] as number) + (candidates[i] as C).weight;
      if ((credit[i] as number) > (credit[best] as number)) best = i;
    }
    credit[best] = (credit[best] as number) - total;
    return candidates[best] as C;
  };
  for (let turn = 0; turn < start; turn += 1) pick();
  return { pick };
}
