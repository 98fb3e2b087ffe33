/**
 * The addresses of a cluster's DNS names. Looked up when traffic first needs them and again, behind the traffic's back, when
 * they grow old; an unused cluster asks nothing. An answer that cannot be renewed stays in use, as in Envoy.
 */
import type { Timer } from '../core/clock.ts';
import { CONNECT_TIMEOUT_MS } from '../core/limits.ts';
import type { DataPlane } from './dataplane.ts';

/** An answer older than this is looked up again; one older than {@link STALE_MS} is not used before that. */
const REFRESH_MS = 30_000;
const STALE_MS = 300_000;
/** After a failure, ask again no sooner than this. */
const RETRY_MS = 5_000;

export class Names {
  /** Why the last look-up found nothing; undefined when every name has addresses. */
  failure: string | undefined;
  readonly #dataplane: DataPlane;
  readonly #changed: () => void;
  readonly #addresses = new Map<string, readonly string[]>();
  #names: readonly string[];
  #askedMs = -Infinity;
  #answeredMs = -Infinity;
  #asking = false;
  #waiting: (() => void)[] = [];
  #deadline: Timer | undefined;
  #stopped = false;

  /** `changed` is called when an answer differs from the one before. */
  constructor(names: readonly string[], dataplane: DataPlane, changed: () => void) {
    this.#names = names;
    this.#dataplane = dataplane;
    this.#changed = changed;
  }

  /** There is a recent answer, or a recent failure to get one. */
  get ready(): boolean {
    const nowMs = this.#dataplane.clock.nowMs();
    return nowMs - this.#answeredMs < STALE_MS || (this.failure !== undefined && nowMs - this.#askedMs < RETRY_MS);
  }

  addresses(name: string): readonly string[] | undefined {
    return this.#addresses.get(name);
  }

  /** Other names from now on; known answers are kept. */
  update(names: readonly string[]): void {
    const added = names.some((name) => !this.#names.includes(name));
    this.#names = names;
    for (const name of this.#addresses.keys()) if (!names.includes(name)) this.#addresses.delete(name);
    if (added) this.#answeredMs = -Infinity;
  }

  /** Look up again if the answer has grown old. Costs a comparison when it has not. */
  refresh(): void {
    const nowMs = this.#dataplane.clock.nowMs();
    const dueMs = this.failure === undefined ? this.#answeredMs + REFRESH_MS : this.#askedMs + RETRY_MS;
    if (nowMs >= dueMs) void this.#ask();
  }

  /** Call `then` when there is an answer, or none within the connect timeout. */
  whenReady(then: () => void): void {
    this.#waiting.push(then);
    this.#deadline ??= this.#dataplane.clock.after(CONNECT_TIMEOUT_MS, () => {
      this.failure = `no answer of DNS within ${CONNECT_TIMEOUT_MS} ms`;
      this.#askedMs = this.#dataplane.clock.nowMs();
      this.#wake();
    });
    void this.#ask();
  }

  stop(): void {
    this.#stopped = true;
    this.failure ??= 'the cluster was removed';
    this.#wake();
  }

  async #ask(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    this.#askedMs = this.#dataplane.clock.nowMs();
    const names = this.#names;
    const answers = await Promise.allSettled(names.map((name) => this.#dataplane.resolve(name)));
    this.#asking = false;
    if (!this.#stopped) this.#learn(names, answers);
  }

  #learn(names: readonly string[], answers: readonly PromiseSettledResult<readonly string[]>[]): void {
    let changed = false;
    let failure: string | undefined;
    for (const [i, answer] of answers.entries()) {
      const name = names[i] as string;
      if (answer.status === 'rejected') failure = `${name}: ${answer.reason instanceof Error ? answer.reason.message : String(answer.reason)}`;
      else if (this.#keep(name, answer.value)) changed = true;
    }
    // One name that resolves is enough for the cluster to be usable.
    this.failure = this.#addresses.size === 0 ? failure : undefined;
    if (this.failure === undefined) this.#answeredMs = this.#dataplane.clock.nowMs();
    if (changed) this.#changed();
    this.#wake();
  }

  /** Returns whether the answer is news. */
  #keep(name: string, addresses: readonly string[]): boolean {
    const sorted = [...new Set(addresses)].sort();
    const before = this.#addresses.get(name);
    this.#addresses.set(name, sorted);
    return before === undefined || before.length !== sorted.length || before.some((address, i) => address !== sorted[i]);
  }

  #wake(): void {
    this.#deadline?.cancel();
    this.#deadline = undefined;
    for (const then of this.#waiting.splice(0)) then();
  }
}
