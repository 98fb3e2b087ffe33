/** The caller's certificate as one call follows it: the present one, the next ones, and an end to waiting when there is none. */
import { status } from '@grpc/grpc-js';
import type { Timer } from '../../core/clock.ts';
import { WORKLOAD_API_WAIT_MS } from '../../core/limits.ts';
import type { WorkloadCertificate } from '../certificate.ts';
import type { Caller, Failure } from './caller.ts';

export interface FeedOwner {
  /** There is a certificate where there was none, or another one. */
  changed(): void;
  /** None was issued in time. */
  late(failure: Failure): void;
}

export class CertificateFeed {
  readonly #caller: Caller;
  readonly #unfollow: () => void;
  readonly #wait: Timer | undefined;

  constructor(caller: Caller, owner: FeedOwner) {
    this.#caller = caller;
    this.#unfollow = caller.source.follow(({ identity }) => {
      if (identity === caller.identity) owner.changed();
    });
    if (this.current !== undefined) return;
    this.#wait = caller.clock.after(WORKLOAD_API_WAIT_MS, () => {
      if (this.current === undefined) owner.late({ code: status.UNAVAILABLE, details: `${caller.identity} has no certificate yet; try again` });
    });
  }

  get current(): WorkloadCertificate | undefined {
    return this.#caller.source.get(this.#caller.identity);
  }

  close(): void {
    this.#unfollow();
    this.#wait?.cancel();
  }
}
