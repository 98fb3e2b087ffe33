/**
 * Listening sockets of pods that have just left: for a while their worker accepts on them still. A pod that joins again meanwhile takes them over. With
 * new ones beside them the kernel would spread its connections over both, and reset those that wait to be accepted when the old ones are closed.
 */
import { descriptorsOf } from '../redirect/listeners.ts';
import type { PodListeners } from '../redirect/redirector.ts';
import { PlacedSockets } from './placed-sockets.ts';
import type { SocketPlace } from './placed-sockets.ts';

/** Longer than workers accept for a pod that leaves (leaving-pods.ts), if not by much: in between nobody does. */
const KEPT_MS = 6_000;

export class LeftListeners {
  readonly #left = new Map<PlacedSockets, NodeJS.Timeout>();

  /** Takes them over. */
  add(listeners: PodListeners): void {
    const sockets = new PlacedSockets(descriptorsOf(listeners));
    this.#left.set(sockets, setTimeout(() => this.#close(sockets), KEPT_MS).unref());
  }

  /** The socket that listens there; from now on the caller's to close. */
  claim(place: SocketPlace): number | undefined {
    for (const sockets of this.#left.keys()) {
      const fd = sockets.claim(place);
      if (fd !== undefined) return fd;
    }
    return undefined;
  }

  close(): void {
    for (const sockets of this.#left.keys()) this.#close(sockets);
  }

  #close(sockets: PlacedSockets): void {
    clearTimeout(this.#left.get(sockets));
    this.#left.delete(sockets);
    sockets.close();
  }
}
