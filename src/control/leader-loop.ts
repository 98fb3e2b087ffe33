/** Something that the replica that leads keeps as it should be. It is looked at again and again, since others may change or remove it. */
import type { Clock, Timer } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Leader } from './leadership.ts';

export interface LeaderLoopOptions {
  readonly leader: Leader;
  readonly clock: Clock;
  readonly log: Logger;
  /** What is to be done; rejects when it cannot be. */
  readonly step: () => Promise<void>;
  /** What it means that it cannot: `the roots could not be published; …` */
  readonly failed: string;
}

/** Whoever changes something of ours finds it put right after so long. */
const EVERY_MS = 10_000;
/** After a failure, and while another replica leads. */
const RETRY_MS = 1_000;

export class LeaderLoop {
  readonly #options: LeaderLoopOptions;
  #timer: Timer | undefined;
  #underWay: Promise<void> | undefined;
  #again = false;
  #closed = false;
  #told = '';

  constructor(options: LeaderLoopOptions) {
    this.#options = options;
  }

  /** Resolves after the first try. */
  async start(): Promise<void> {
    await this.soon();
  }

  /** Something has changed: look now, or once more when the look that is under way has ended. Resolves after it. */
  async soon(): Promise<void> {
    if (this.#underWay !== undefined) this.#again = true;
    this.#underWay ??= this.#run();
    await this.#underWay;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #run(): Promise<void> {
    this.#timer?.cancel();
    let againMs: number;
    do {
      this.#again = false;
      againMs = await this.#attempt();
    } while (this.#again && !this.#closed);
    this.#underWay = undefined;
    if (this.#closed) return;
    this.#timer = this.#options.clock.after(againMs, () => {
      void this.soon();
    });
  }

  async #attempt(): Promise<number> {
    const { leader, log, step, failed } = this.#options;
    if (this.#closed || !leader.leads) return RETRY_MS;
    try {
      await step();
      this.#told = '';
      return EVERY_MS;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== this.#told) log.error({ reason }, failed);
      this.#told = reason;
      return RETRY_MS;
    }
  }
}
