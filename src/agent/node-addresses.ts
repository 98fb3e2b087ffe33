/** The addresses of the node itself, of all its interfaces: the bridge that its pods are on gets one long after the agent has begun. */
import { networkInterfaces } from 'node:os';
import type { Clock } from '../core/clock.ts';

/** Asking the kernel takes longer than a request; interfaces seldom change. */
const KEPT_MS = 5_000;

export class NodeAddresses {
  readonly #clock: Clock;
  #addresses: ReadonlySet<string> = new Set();
  #askedMs = -KEPT_MS;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get present(): ReadonlySet<string> {
    const nowMs = this.#clock.nowMs();
    if (nowMs - this.#askedMs >= KEPT_MS) {
      this.#askedMs = nowMs;
      this.#addresses = new Set(Object.values(networkInterfaces()).flatMap((interfaces) => (interfaces ?? []).filter(({ internal }) => !internal).map(({ address }) => address)));
    }
    return this.#addresses;
  }
}
