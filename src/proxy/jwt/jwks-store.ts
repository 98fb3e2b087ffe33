/** A worker's side of fetched keys: what the main thread sent last, and the requests that wait for it to send more. */
import type { Clock } from '../../core/clock.ts';
import { JWKS_EXTRA_REFRESH_MS } from '../../core/limits.ts';
import type { Table } from '../../mesh/table.ts';
import { targetOf } from './jwks-source.ts';
import type { JwksSource, JwksState, JwksTarget } from './jwks-source.ts';

/** The main thread ends every fetch within its timeout; this is for its answer to come across. */
const ANSWER_GRACE_MS = 1_000;

export interface JwksDesk {
  /** These are all the targets this worker needs from now on. */
  want(targets: readonly JwksTarget[]): void;
  /** Fetch this one again; a state follows, whether it brings new keys or not. */
  refresh(key: string): void;
}

export class JwksStore implements JwksSource {
  readonly #clock: Clock;
  readonly #desk: JwksDesk;
  readonly #states = new Map<string, JwksState>();
  readonly #refreshedMs = new Map<string, number>();
  readonly #waiting = new Map<string, Set<() => void>>();
  #wanted = '';

  /** `desk`: the main thread. */
  constructor(clock: Clock, desk: JwksDesk) {
    this.#clock = clock;
    this.#desk = desk;
  }

  /** These tables are in force: ask for the keys that their rules need, before the first token comes. */
  use(tables: Iterable<Table>): void {
    const targets = new Map<string, JwksTarget>();
    for (const table of tables) {
      for (const rule of table.security.jwtRules) {
        const target = targetOf(rule);
        if (target === undefined) continue;
        const known = targets.get(target.key);
        // Rules that share a source share its fetches; the most patient one decides.
        if (known === undefined || known.timeoutMs < target.timeoutMs) targets.set(target.key, target);
      }
    }
    const wanted = JSON.stringify([...targets.values()].sort((a, b) => (a.key < b.key ? -1 : 1)));
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    for (const key of this.#states.keys()) if (!targets.has(key)) this.#forget(key);
    this.#desk.want([...targets.values()]);
  }

  /** The main thread has news. */
  set(key: string, state: JwksState): void {
    const before = this.#states.get(key)?.keys;
    // The same keys are the same object, so that what was verified with them stays so.
    this.#states.set(key, before !== undefined && JSON.stringify(before) === JSON.stringify(state.keys) ? { ...state, keys: before } : state);
    const waiting = this.#waiting.get(key);
    this.#waiting.delete(key);
    for (const then of waiting ?? []) then();
  }

  state({ key }: JwksTarget): JwksState | undefined {
    return this.#states.get(key);
  }

  refresh({ key }: JwksTarget): boolean {
    const nowMs = this.#clock.nowMs();
    const refreshedMs = this.#refreshedMs.get(key);
    if (refreshedMs !== undefined && nowMs - refreshedMs < JWKS_EXTRA_REFRESH_MS) {
      // Those who come while it is under way wait for it, those who come later are told no.
      return this.#waiting.has(key);
    }
    this.#refreshedMs.set(key, nowMs);
    this.#desk.refresh(key);
    return true;
  }

  whenNews({ key, timeoutMs }: JwksTarget, then: () => void): () => void {
    const waiting = this.#waiting.get(key) ?? new Set();
    this.#waiting.set(key, waiting);
    const stop = (): void => {
      timer.cancel();
      waiting.delete(proceed);
      if (waiting.size === 0 && this.#waiting.get(key) === waiting) this.#waiting.delete(key);
    };
    const proceed = (): void => {
      stop();
      then();
    };
    const timer = this.#clock.after(timeoutMs + ANSWER_GRACE_MS, proceed);
    waiting.add(proceed);
    return stop;
  }

  #forget(key: string): void {
    this.#states.delete(key);
    this.#refreshedMs.delete(key);
  }
}
