/** Choosing an endpoint. A picker is made for a set of usable endpoints and replaced when the set changes. */
import { below } from '../../core/random.ts';
import type { Random } from '../../core/random.ts';
import type { ClusterSpec } from '../../mesh/table.ts';
import { leastRequest } from './least-request.ts';
import { randomPick } from './random-pick.ts';
import { roundRobin } from './round-robin.ts';

/** What a picker looks at. */
export interface Candidate {
  readonly weight: number;
  readonly active: number;
}

export interface Picker<C extends Candidate> {
  pick(): C;
}

/** A picker over `candidates`, of which there is at least one. PASSTHROUGH has no choice to make and no picker. */
export function pickerOf<C extends Candidate>(balancer: ClusterSpec['balancer'], candidates: readonly C[], random: Random): Picker<C> {
  const only = candidates[0] as C;
  if (candidates.length === 1) return { pick: () => only };
  switch (balancer) {
    case 'ROUND_ROBIN':
      return roundRobin(candidates, below(random, candidates.length));
    case 'RANDOM':
      return randomPick(candidates, random);
    case 'LEAST_REQUEST':
    case 'PASSTHROUGH':
      return leastRequest(candidates, random);
  }
}
