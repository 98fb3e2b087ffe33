/**
 * Pods that have left the mesh, or that are enrolled anew, while connections of theirs are open. Those are served to their end as they were
 * begun; their answers say that the connection closes. For a while new ones are taken too: a client's connection may have been captured just
 * before the release, and other nodes learn of it a little later.
 */
import type { Clock } from '../core/clock.ts';
import { HANDED_OVER_IDLE_MS } from '../core/limits.ts';

/** What is done with a pod (proxy/pod.ts) at its end. */
export interface Leaver {
  readonly identity: string;
  readonly openConnections: number;
  leave(): void;
  drain(idleMs: number): void;
  close(): void;
}

export interface ServedPod<P extends Leaver> {
  readonly pod: P;
  readonly sockets: { close(): void };
}

const ACCEPT_MS = 5_000;
const POLL_MS = 500;

export class LeavingPods<P extends Leaver> {
  readonly #clock: Clock;
  readonly #pods = new Map<ServedPod<P>, { readonly acceptsUntilMs: number; readonly left: () => void }>();
  /** Told when no pod that leaves has the identity any more. */
  readonly #waiting = new Map<string, () => void>();
  #isLooking = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get pods(): P[] {
    return [...this.#pods.keys()].map(({ pod }) => pod);
  }

  /** `left` is called when nothing of the pod is served any more. */
  add(served: ServedPod<P>, left: () => void): void {
    served.pod.leave();
    this.#pods.set(served, { acceptsUntilMs: this.#clock.nowMs() + ACCEPT_MS, left });
    if (!this.#isLooking) this.#lookSoon();
  }

  /** Call `go` when no pod that leaves has the identity: at once when there is none. In place of an earlier call for it. */
  whenGone(identity: string, go: () => void): void {
    this.#waiting.set(identity, go);
    this.#tell();
  }

  /** It is needed after all. */
  keep(identity: string): void {
    this.#waiting.delete(identity);
  }

  #look(): void {
    const nowMs = this.#clock.nowMs();
    for (const [served, { acceptsUntilMs, left }] of this.#pods) {
      if (nowMs < acceptsUntilMs) continue;
      served.pod.drain(HANDED_OVER_IDLE_MS);
      if (served.pod.openConnections > 0) continue;
      this.#pods.delete(served);
      served.pod.close();
      served.sockets.close();
      left();
    }
    this.#tell();
    this.#isLooking = false;
    if (this.#pods.size > 0) this.#lookSoon();
  }

  #lookSoon(): void {
    this.#isLooking = true;
    this.#clock.after(POLL_MS, () => this.#look());
  }

  #tell(): void {
    const present = new Set(this.pods.map(({ identity }) => identity));
    for (const [identity, go] of this.#waiting) {
      if (present.has(identity)) continue;
      this.#waiting.delete(identity);
      go();
    }
  }
}
