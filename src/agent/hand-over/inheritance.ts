/** What was taken over: listening sockets, and what they were for. */
import type { OriginalDst } from '../../redirect/redirector.ts';
import { PlacedSockets } from '../placed-sockets.ts';

export class Inheritance extends PlacedSockets {
  /** The pods that the agent before serves, `ns/name`. */
  readonly pods: readonly string[];
  /** How the agent before found where connections were going, for those that it had not accepted yet. */
  readonly originalDsts: readonly OriginalDst[];

  constructor(fds: readonly number[], { pods, originalDsts }: { readonly pods: readonly string[]; readonly originalDsts: readonly OriginalDst[] }) {
    super(fds);
    this.pods = pods;
    this.originalDsts = originalDsts;
  }
}
