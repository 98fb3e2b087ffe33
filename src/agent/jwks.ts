/**
 * Key sets of the issuers that RequestAuthentications on this node name. Workers say which they need; here they are fetched,
 * kept fresh and handed to all workers. Keys that cannot be renewed stay in use: an identity provider that is away for an hour
 * must not take the mesh along.
 */
import type { Clock, Timer } from '../core/clock.ts';
import { JWKS_EXTRA_REFRESH_MS, JWKS_REFRESH_MS, JWKS_RETRY_MS, JWKS_TARGETS_MAX } from '../core/limits.ts';
import type { Logger } from '../core/log.ts';
import type { Random } from '../core/random.ts';
import type { JwksState, JwksTarget } from '../proxy/jwt/jwks-source.ts';
import type { PublicKey } from '../proxy/jwt/public-key.ts';
import { placeOf } from './url-place.ts';

/** Nodes that started together do not ask together for ever: each waits up to a tenth less. */
const JITTER = 0.1;

export interface JwksOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Rejects with a message for people. */
  readonly fetch: (target: JwksTarget, signal: AbortSignal) => Promise<readonly PublicKey[]>;
  /** Tell all workers. */
  readonly publish: (key: string, state: JwksState) => void;
}

export class Jwks {
  readonly #options: JwksOptions;
  /** What each worker needs, by its name. */
  readonly #wanted = new Map<string, readonly JwksTarget[]>();
  readonly #sets = new Map<string, KeySet>();

  constructor(options: JwksOptions) {
    this.#options = options;
  }

  /** All that this worker needs from now on. It is told at once what is known already. */
  want(worker: string, targets: readonly JwksTarget[]): void {
    this.#wanted.set(worker, targets);
    const wanted = new Map([...this.#wanted.values()].flat().map((target) => [target.key, target]));
    for (const [key, set] of this.#sets) {
      if (wanted.has(key)) continue;
      set.close();
      this.#sets.delete(key);
    }
    for (const target of targets) this.#start(target);
  }

  /** A token named a key that is not among those of the target: fetch them again, unless that was done just now. */
  refresh(key: string): void {
    this.#sets.get(key)?.refresh();
  }

  close(): void {
    for (const set of this.#sets.values()) set.close();
    this.#sets.clear();
  }

  #start(target: JwksTarget): void {
    const known = this.#sets.get(target.key);
    if (known !== undefined) {
      known.target = target;
      known.publish();
      return;
    }
    if (this.#sets.size >= JWKS_TARGETS_MAX) {
      this.#options.publish(target.key, { keys: undefined, failure: `more than ${JWKS_TARGETS_MAX} key sets are in use on this node` });
      return;
    }
    const set = new KeySet(target, this.#options);
    this.#sets.set(target.key, set);
    set.fetch();
  }
}

/** One key set, fetched at its times. */
class KeySet {
  target: JwksTarget;
  readonly #options: JwksOptions;
  #state: JwksState | undefined;
  #failures = 0;
  #extraMs = -Infinity;
  #timer: Timer | undefined;
  #underWay: AbortController | undefined;
  #closed = false;

  constructor(target: JwksTarget, options: JwksOptions) {
    this.target = target;
    this.#options = options;
  }

  publish(): void {
    if (this.#state !== undefined) this.#options.publish(this.target.key, this.#state);
  }

  refresh(): void {
    // The news that the worker waits for is on its way.
    if (this.#underWay !== undefined) return;
    const nowMs = this.#options.clock.nowMs();
    if (nowMs - this.#extraMs < JWKS_EXTRA_REFRESH_MS) {
      this.publish();
      return;
    }
    this.#extraMs = nowMs;
    this.fetch();
  }

  fetch(): void {
    this.#timer?.cancel();
    const controller = new AbortController();
    this.#underWay = controller;
    const { timeoutMs } = this.target;
    const deadline = this.#options.clock.after(timeoutMs, () => controller.abort());
    void this.#options.fetch(this.target, controller.signal).then(
      (keys) => this.#settle(deadline, { keys, failure: '' }),
      (error: unknown) => this.#settle(deadline, { keys: this.#state?.keys, failure: error instanceof Error ? error.message : String(error) }),
    );
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#underWay?.abort();
  }

  #settle(deadline: Timer, state: JwksState): void {
    deadline.cancel();
    this.#underWay = undefined;
    if (this.#closed) return;
    this.#report(state);
    this.#failures = state.failure === '' ? 0 : this.#failures + 1;
    this.#state = state;
    this.publish();
    const { clock, random } = this.#options;
    const delayMs = this.#failures === 0 ? JWKS_REFRESH_MS : Math.min(JWKS_REFRESH_MS, JWKS_RETRY_MS * 2 ** (this.#failures - 1));
    this.#timer = clock.after(delayMs * (1 - JITTER * random.next()), () => this.fetch());
  }

  /** Once when it begins to fail, and once when it is over. */
  #report({ failure, keys }: JwksState): void {
    const { log } = this.#options;
    const place = placeOf(this.target.url);
    if (failure !== '' && this.#failures === 0) log.warn({ place, failure, stale: keys !== undefined }, keys === undefined ? 'no keys of an issuer: its tokens are refused' : 'the keys of an issuer cannot be renewed; the last ones stay in use');
    if (failure === '' && this.#failures > 0) log.info({ place, failures: this.#failures }, 'the keys of an issuer are there again');
  }
}
