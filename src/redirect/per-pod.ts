/** eBPF for every pod it can serve in full, iptables for those whose exclusions only rules can express. */
import type { Exclusions } from './exclusions.ts';
import type { Drift, OriginalDst, PodListeners, PodTarget, Redirector } from './redirector.ts';

export class PerPodRedirector implements Redirector {
  readonly kind = 'ebpf';
  readonly #preferred: Redirector;
  readonly #fallback: Redirector;
  readonly #pods = new Map<string, Redirector>();

  constructor(preferred: Redirector, fallback: Redirector) {
    this.#preferred = preferred;
    this.#fallback = fallback;
  }

  get podIds(): readonly string[] {
    return [...this.#pods.keys()];
  }

  /** Between them the two honour everything that one of them does. */
  unsupported(exclusions: Exclusions): readonly string[] {
    return this.#backendFor(exclusions).unsupported(exclusions);
  }

  enrol(pod: PodTarget, listeners: PodListeners): OriginalDst {
    const backend = this.#backendFor(pod.exclusions);
    const former = this.#pods.get(pod.id);
    const descriptor = backend.enrol(pod, listeners);
    this.#pods.set(pod.id, backend);
    if (former !== undefined && former !== backend) {
      former.release(pod.id);
      // The return path is common to both, and the release has taken it down or will once it is unused.
      backend.repair(pod.id);
    }
    return descriptor;
  }

  release(podId: string, served?: Promise<void>): void {
    this.#pods.get(podId)?.release(podId, served);
    this.#pods.delete(podId);
  }

  check(podId: string): readonly Drift[] {
    return this.#backendOf(podId).check(podId);
  }

  repair(podId: string): void {
    this.#backendOf(podId).repair(podId);
  }

  tidy(): void {
    this.#preferred.tidy();
    this.#fallback.tidy();
  }

  removeLeftovers(netnsPaths: readonly string[]): void {
    this.#preferred.removeLeftovers(netnsPaths);
  }

  close(options: { keep: boolean }): void {
    this.#fallback.close(options);
    this.#preferred.close(options);
    this.#pods.clear();
  }

  #backendFor(exclusions: Exclusions): Redirector {
    return this.#preferred.unsupported(exclusions).length === 0 ? this.#preferred : this.#fallback;
  }

  #backendOf(podId: string): Redirector {
    const backend = this.#pods.get(podId);
    if (backend === undefined) throw new Error(`${podId} is not enrolled`);
    return backend;
  }
}
