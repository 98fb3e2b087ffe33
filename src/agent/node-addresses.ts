/** The addresses of the node itself, of all its interfaces: the bridge that its pods are on gets one long after the agent has begun. */
import { networkInterfaces } from 'node:os';
import type { Clock, Timer } from '../core/clock.ts';

const ASK_MS = 5_000;

/** Asked of the kernel again and again, by the main thread: the kernel may let whoever asks wait while the network of a pod is made. */
export class NodeAddresses {
  readonly #clock: Clock;
  readonly #tell: (addresses: readonly string[]) => void;
  #told: string | undefined;
  #timer: Timer | undefined;

  /** `tell` hears of them at once, and whenever they have changed. */
  constructor(clock: Clock, tell: (addresses: readonly string[]) => void) {
    this.#clock = clock;
    this.#tell = tell;
    this.#ask();
  }

  close(): void {
    this.#timer?.cancel();
  }

  #ask(): void {
    const addresses = Object.values(networkInterfaces()).flatMap((found) => (found ?? []).filter(({ internal }) => !internal).map(({ address }) => address)).sort();
    const seen = addresses.join(' ');
    if (seen !== this.#told) this.#tell(addresses);
    this.#told = seen;
    this.#timer = this.#clock.after(ASK_MS, () => this.#ask());
  }
}
