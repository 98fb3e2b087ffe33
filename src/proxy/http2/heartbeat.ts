/** Signs of life of an HTTP/2 connection: one standing wait for the first SETTINGS, for the rest of a frame, for an answer to PING. */
import type { Clock, Timer } from '../../core/clock.ts';
import { HEAD_TIMEOUT_MS } from '../../core/limits.ts';
import type { Http2Settings } from './settings.ts';

export interface HeartbeatHost {
  /** Part of a frame is here, and the rest is not. */
  readonly incomplete: boolean;
  /** Part of a frame did not come in time. */
  tooSlow(): void;
  ping(): void;
  /** No answer to the ping, or to anything. */
  dead(): void;
  /** Nothing was read for so long; where nobody pings. */
  idleFor(silentMs: number): void;
}

export class Heartbeat {
  readonly #clock: Clock;
  readonly #settings: Http2Settings;
  readonly #host: HeartbeatHost;
  #lastReadMs: number;
  #begun = false;
  #probing = false;
  #timer: Timer | undefined;

  constructor(clock: Clock, settings: Http2Settings, host: HeartbeatHost) {
    this.#clock = clock;
    this.#settings = settings;
    this.#host = host;
    this.#lastReadMs = clock.nowMs();
  }

  start(): void {
    this.#watch(this.#settings.pingAfterMs || HEAD_TIMEOUT_MS);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  read(): void {
    this.#lastReadMs = this.#clock.nowMs();
  }

  /** The first SETTINGS have come. */
  begin(): void {
    this.#begun = true;
  }

  /** Any answer will do: the time of the read is what counts. */
  pingAnswered(): void {
    if (!this.#probing) return;
    this.#probing = false;
    this.stop();
    this.#watch(this.#settings.pingAfterMs);
  }

  #watch(delayMs: number): void {
    this.#timer = this.#clock.coarse(delayMs, () => this.#check());
  }

  #check(): void {
    const { pingAfterMs, pingTimeoutMs } = this.#settings;
    const silentMs = this.#clock.nowMs() - this.#lastReadMs;
    if (!this.#begun || (this.#host.incomplete && silentMs >= HEAD_TIMEOUT_MS)) {
      this.#host.tooSlow();
      return;
    }
    if (this.#probing && silentMs >= pingTimeoutMs) {
      this.#host.dead();
      return;
    }
    if (pingAfterMs === 0) this.#watch(HEAD_TIMEOUT_MS);
    else this.#watch(this.#nextProbe(silentMs, pingAfterMs) ? pingTimeoutMs : Math.max(1, pingAfterMs - silentMs));
    if (pingAfterMs === 0) this.#host.idleFor(silentMs);
  }

  /** Ping when it is time to; returns whether an answer is waited for. */
  #nextProbe(silentMs: number, pingAfterMs: number): boolean {
    if (silentMs < pingAfterMs) this.#probing = false;
    else if (!this.#probing) {
      this.#probing = true;
      this.#host.ping();
    }
    return this.#probing;
  }
}
