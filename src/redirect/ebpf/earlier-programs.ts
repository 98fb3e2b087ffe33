/** BPF programs that an earlier agent of the node left: of other versions, or of any where this agent captures by rules. */
import type { Netns } from '../../sys/netns.ts';
import { withEntries } from './pod-entries.ts';
import { otherDirectories, removeDirectory, removeNode } from './programs.ts';

export class EarlierPrograms {
  readonly #node: string;
  readonly #current: string | undefined;
  #directories: readonly string[];

  /** `current`: the directory of those that this agent uses itself. */
  constructor(node: string, current?: string) {
    this.#node = node;
    this.#current = current;
    this.#directories = otherDirectories(node, current);
  }

  /** Capture a pod no more: it is captured by other means now. */
  letGo({ cookie }: Netns): void {
    for (const directory of this.#directories) {
      try {
        withEntries(directory, (entries) => entries.erase(cookie));
      } catch {
        // Its maps are not laid out as ours, or not all there: it goes with the others.
      }
    }
  }

  remove(): void {
    if (this.#current === undefined) removeNode(this.#node);
    else for (const directory of this.#directories) removeDirectory(directory);
    this.#directories = [];
  }
}
