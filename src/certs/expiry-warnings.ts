/** Says in time that certificates which somebody else must renew are about to expire. */
import type { Logger } from '../core/log.ts';
import type { CaState } from './ca-state.ts';

const DAY_MS = 86_400_000;
const DAYS = [30, 14, 7, 1, 0] as const;

export class ExpiryWarnings {
  readonly #log: Logger;
  readonly #said = new Set<string>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Warn about the signer and the roots: 30, 14, 7 days and one day before they expire, and when they have. */
  check({ signer, roots }: CaState, nowMs: number): void {
    this.#warn('the CA certificate that signs', signer.certificate, signer.notAfterMs - nowMs, signer.notAfterMs);
    for (const { certificate, notAfterMs, retiredMs } of roots) {
      if (retiredMs === undefined && certificate !== signer.certificate) this.#warn('a root', certificate, notAfterMs - nowMs, notAfterMs);
    }
  }

  #warn(what: string, certificate: string, leftMs: number, notAfterMs: number): void {
    const days = DAYS.findLast((limit) => leftMs <= limit * DAY_MS);
    if (days === undefined) return;
    const topic = `${days} ${certificate}`;
    if (this.#said.has(topic)) return;
    this.#said.add(topic);
    const fields = { notAfter: new Date(notAfterMs).toISOString() };
    if (leftMs <= 0) this.#log.error(fields, `${what} has expired; give the CA a new one`);
    else this.#log.warn(fields, `${what} expires within ${days === 1 ? 'a day' : `${days} days`}; give the CA a new one`);
  }
}
