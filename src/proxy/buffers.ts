/** Bytes that the exchanges of one workload hold in the agent, so that one pod cannot take the memory of the others. */
import { WORKLOAD_BUFFERED_BYTES_MAX } from '../core/limits.ts';

export class Buffers {
  #held = 0;

  /** Bytes held now. */
  get held(): number {
    return this.#held;
  }

  /** May `bytes` more be held? */
  mayHold(bytes: number): boolean {
    return this.#held + bytes <= WORKLOAD_BUFFERED_BYTES_MAX;
  }

  hold(bytes: number): void {
    this.#held += bytes;
  }

  give(bytes: number): void {
    this.#held -= bytes;
  }
}
