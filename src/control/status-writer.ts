/**
 * Writes the status of objects: by the replica that leads, and only where it is not yet what it should be. Each write names the version of the object
 * that it was made for, so that nothing that another has written meanwhile is undone; what others say in a status stays.
 */
import { isDeepStrictEqual } from 'node:util';
import { setImmediate as turn } from 'node:timers/promises';
import type { Clock, Timer } from '../core/clock.ts';
import { STATUS_WRITES_BURST, STATUS_WRITES_PER_SECOND } from '../core/limits.ts';
import type { Logger } from '../core/log.ts';
import type { Random } from '../core/random.ts';
import { Rate } from '../core/rate.ts';
import { ApiError } from '../kube/api-client.ts';
import type { ApiClient, ApiObject } from '../kube/api-client.ts';
import { Backoff } from '../kube/backoff.ts';
import { STATUS_MANAGER } from '../kube/stored-object.ts';
import type { StoredName, StoredObject } from '../kube/stored-object.ts';
import { LeaderLoop } from './leader-loop.ts';
import type { Leader } from './leadership.ts';

/** What the status of an object should be. */
export interface StatusWish extends StoredName {
  /** Plain data that everything follows from: a wish that says the same as the one before is the same. */
  readonly says: unknown;
  /** The parts of the status to be written, given what it is now; `now` is a time of RFC 3339. */
  readonly status: (current: ApiObject, now: string) => ApiObject;
}

export interface StatusWriterOptions {
  readonly client: ApiClient;
  readonly leader: Leader;
  /** All that is wished for at present; asked for only by the replica that leads. */
  readonly wishes: () => readonly StatusWish[];
  /** An object as it is known now. */
  readonly find: (name: StoredName) => StoredObject | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/** How writes ended, as the metrics have it. */
export type WriteOutcome = 'written' | 'conflict' | 'failed';

/** An object is not written again sooner, and ever later when the same has to be written again and again: somebody else may be writing the opposite. */
const OBJECT_BACKOFF = { firstMs: 100, mostMs: 60_000 };
/** After so long without a write, an object is written at once again. */
const QUIET_MS = 120_000;
/** Making wishes takes a fifth of the time at most. */
const REST_PER_LOOK = 4;
const LOOK_EVERY_MS = 200;
/** Objects that are compared before others get a turn. */
const BATCH = 100;
const CONFLICT = 409;
const NOT_FOUND = 404;

/** One wish, and how far it has come. */
interface Pending {
  readonly wish: StatusWish;
  readonly backoff: Backoff;
  /** To be looked at, since it or its object has changed. */
  isDue: boolean;
  notBeforeMs: number;
  writtenMs: number;
  /** Why the last write did not succeed. */
  failure: Error | undefined;
}

export class StatusWriter {
  readonly counts: Record<WriteOutcome, number> = { written: 0, conflict: 0, failed: 0 };
  readonly #options: StatusWriterOptions;
  readonly #loop: LeaderLoop;
  readonly #rate: Rate;
  #pending = new Map<string, Pending>();
  /** The wishes may be others than those known. */
  #isStale = true;
  #lookAfterMs = -Infinity;
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: StatusWriterOptions) {
    const { leader, clock, log } = options;
    this.#options = options;
    this.#rate = new Rate(clock, { perSecond: STATUS_WRITES_PER_SECOND, burst: STATUS_WRITES_BURST });
    this.#loop = new LeaderLoop({ leader, clock, log, step: async () => this.#step(), failed: 'not everything that is to be said of objects in their status could be written; it is tried again' });
  }

  start(): void {
    void this.#loop.soon();
  }

  /** What is wished for may have changed. */
  changed(): void {
    this.#isStale = true;
    void this.#loop.soon();
  }

  /** An object has changed, if only its status. */
  touched(name: StoredName): void {
    const pending = this.#pending.get(keyOf(name));
    if (pending === undefined || pending.isDue) return;
    pending.isDue = true;
    void this.#loop.soon();
  }

  close(): void {
    this.#closed = true;
    this.#loop.close();
    this.#timer?.cancel();
  }

  get #mayWrite(): boolean {
    return this.#options.leader.leads && !this.#closed;
  }

  /** Until nothing is left that can be written now. Rejects while there is anything that could not be. */
  async #step(): Promise<void> {
    const { clock } = this.#options;
    while (this.#mayWrite) {
      this.#look();
      const ready = [...this.#pending.values()].filter(({ isDue, notBeforeMs }) => isDue && notBeforeMs <= clock.nowMs());
      if (ready.length === 0) break;
      for (const [i, pending] of ready.entries()) {
        if (!this.#mayWrite) return;
        // Writing takes its time; what is wished for meanwhile comes first.
        if (this.#mustLook) break;
        if (i % BATCH === BATCH - 1) await turn();
        await this.#attempt(pending);
      }
    }
    this.#wakeWhenReady();
    for (const { failure } of this.#pending.values()) if (failure !== undefined) throw failure;
  }

  /** For what has to rest. */
  #wakeWhenReady(): void {
    const { clock } = this.#options;
    const times = [...this.#pending.values()].filter(({ isDue }) => isDue).map(({ notBeforeMs }) => notBeforeMs);
    if (this.#isStale) times.push(this.#lookAfterMs);
    this.#timer?.cancel();
    if (times.length === 0 || this.#closed) return;
    this.#timer = clock.after(Math.max(0, Math.min(...times) - clock.nowMs()), () => {
      void this.#loop.soon();
    });
  }

  get #mustLook(): boolean {
    return this.#isStale && this.#options.clock.nowMs() >= this.#lookAfterMs;
  }

  #look(): void {
    if (!this.#mustLook) return;
    const { clock, wishes, random } = this.#options;
    const sinceMs = clock.nowMs();
    this.#isStale = false;
    const known = this.#pending;
    this.#pending = new Map(wishes().map((wish) => {
      const before = known.get(keyOf(wish));
      if (before !== undefined && isDeepStrictEqual(before.wish.says, wish.says)) return [keyOf(wish), before];
      // Another wish is nobody's objection to the one before: it waits no longer than any second write does.
      const writtenMs = before?.writtenMs ?? -Infinity;
      return [keyOf(wish), { backoff: new Backoff(OBJECT_BACKOFF, random), notBeforeMs: writtenMs + OBJECT_BACKOFF.firstMs, writtenMs, failure: undefined, wish, isDue: true }];
    }));
    const tookMs = clock.nowMs() - sinceMs;
    this.#lookAfterMs = clock.nowMs() + Math.max(LOOK_EVERY_MS, tookMs * REST_PER_LOOK);
  }

  async #attempt(pending: Pending): Promise<void> {
    // What happens from here on makes it due again.
    pending.isDue = false;
    pending.failure = undefined;
    if (this.#changeOf(pending) === undefined) return;
    await this.#turnToWrite();
    // The object may be another by now.
    const change = this.#mayWrite ? this.#changeOf(pending) : undefined;
    if (change === undefined) {
      pending.isDue = !this.#mayWrite;
      return;
    }
    const { object, status } = change;
    try {
      await this.#options.client.send(`${object.path}/status`, { method: 'PATCH', query: { fieldManager: STATUS_MANAGER }, body: { metadata: { resourceVersion: object.version }, status } });
      this.counts.written += 1;
    } catch (error) {
      this.#failed(pending, error);
    } finally {
      this.#rest(pending);
    }
  }

  /** What there is to be written now; undefined: nothing. */
  #changeOf({ wish }: Pending): { readonly object: StoredObject; readonly status: ApiObject } | undefined {
    const { find, clock } = this.#options;
    const object = find(wish);
    if (object === undefined) return undefined;
    const status = wish.status(object.status, new Date(clock.wallMs()).toISOString().replace(/\.\d+Z$/, 'Z'));
    return Object.entries(status).every(([part, value]) => isDeepStrictEqual(object.status[part], value)) ? undefined : { object, status };
  }

  /** What another was faster to change is soon known here, too. */
  #failed(pending: Pending, error: unknown): void {
    const status = error instanceof ApiError ? error.status : undefined;
    if (status === NOT_FOUND) return;
    pending.isDue = true;
    this.counts[status === CONFLICT ? 'conflict' : 'failed'] += 1;
    if (status !== CONFLICT) pending.failure = error instanceof Error ? error : new Error(String(error));
  }

  #rest(pending: Pending): void {
    const nowMs = this.#options.clock.nowMs();
    if (nowMs - pending.writtenMs > QUIET_MS) pending.backoff.reset();
    pending.writtenMs = nowMs;
    pending.notBeforeMs = nowMs + pending.backoff.nextMs();
  }

  async #turnToWrite(): Promise<void> {
    while (!this.#rate.take() && this.#mayWrite) {
      await new Promise<void>((resolve) => {
        this.#options.clock.after(this.#rate.waitMs, resolve);
      });
    }
  }
}

function keyOf({ collection, name }: StoredName): string {
  return `${collection} ${name}`;
}
