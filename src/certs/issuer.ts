/**
 * The certificates of a node's workloads: one per identity, however many pods have it. Each is renewed at half of its life; while the CA is
 * away the old one serves until it expires. Keys are made here and stay in memory.
 */
import type { Clock, Timer } from '../core/clock.ts';
import { CERTIFICATE_REQUESTS_MAX } from '../core/limits.ts';
import type { Logger } from '../core/log.ts';
import type { Random } from '../core/random.ts';
import { Watch } from '../core/watch.ts';
import type { CertificateAuthority } from './certificate-authority.ts';
import type { WorkloadCertificate } from './certificate.ts';
import { readAnswer } from './answer.ts';
import { createCsr } from './csr.ts';
import type { CertificateSource } from './source.ts';

const BACKOFF_MIN_MS = 500;
const BACKOFF_MAX_MS = 60_000;
/** Renewals are spread by this part of the life around its half, so that a node's certificates do not all fall due at once. */
const JITTER = 0.1;
/** Validity goes by the wall clock, timers do not: they stop while a machine is suspended, and reach no further than 24 days. */
const SLEEP_MAX_MS = 300_000;
/** Parts of its life at which a certificate that could not be renewed is complained about again. */
const REMINDERS = [0.75, 0.9] as const;

export interface IssuerOptions {
  readonly ca: CertificateAuthority;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** What is asked for; the CA may grant less. */
  readonly lifetimeMs: number;
}

/** An identity as `orlop certs` shows it. */
export interface IdentityState {
  readonly identity: string;
  /** requested: there has been no certificate yet; stale: it could not be renewed when it was due, and is still valid. */
  readonly state: 'requested' | 'valid' | 'stale' | 'expired';
  readonly certificate: WorkloadCertificate | undefined;
  /** When it will be renewed, or tried again. */
  readonly nextMs: number;
  /** Why the last attempt failed; empty when it did not. */
  readonly lastError: string;
}

interface Entry {
  readonly identity: string;
  /** Pods that have the identity. */
  holders: number;
  certificate: WorkloadCertificate | undefined;
  /** When the certificate came, by the wall clock of this node. */
  issuedMs: number;
  failures: number;
  lastError: string;
  nextMs: number;
  timer: Timer | undefined;
  /** How many of {@link REMINDERS} have been given. */
  reminded: number;
}

export class Issuer implements CertificateSource {
  /** PEM of every root that the CA trusts; empty until its first answer. */
  readonly roots: Watch<string> = new Watch('');
  readonly #options: IssuerOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #followers = new Set<(certificate: WorkloadCertificate) => void>();
  readonly #waiting: Entry[] = [];
  #underWay = 0;
  /** Requests are numbered, so that a late answer does not bring back the roots of a time before. */
  #requests = 0;
  #rootsOfRequest = 0;
  #closed = false;

  constructor(options: IssuerOptions) {
    this.#options = options;
  }

  /** A pod with this identity has come: its certificate is obtained, unless it is there already. */
  want(identity: string): void {
    const known = this.#entries.get(identity);
    if (known !== undefined) {
      known.holders += 1;
      return;
    }
    const entry: Entry = { identity, holders: 1, certificate: undefined, issuedMs: 0, failures: 0, lastError: '', nextMs: 0, timer: undefined, reminded: 0 };
    this.#entries.set(identity, entry);
    this.#request(entry);
  }

  /** A pod with this identity has gone. With the last one the certificate and its key are forgotten. */
  release(identity: string): void {
    const entry = this.#entries.get(identity);
    if (entry === undefined) return;
    entry.holders -= 1;
    if (entry.holders > 0) return;
    entry.timer?.cancel();
    this.#entries.delete(identity);
  }

  /** The certificate to use now; undefined while there is none yet, and when it has expired. */
  get(identity: string): WorkloadCertificate | undefined {
    const certificate = this.#entries.get(identity)?.certificate;
    return certificate !== undefined && certificate.notAfterMs > this.#options.clock.wallMs() ? certificate : undefined;
  }

  /** Call `fn` with each certificate of any identity that is new from now on, or whose roots have changed. Returns how to stop. */
  follow(fn: (certificate: WorkloadCertificate) => void): () => void {
    this.#followers.add(fn);
    return () => this.#followers.delete(fn);
  }

  /** Every wanted identity, by name. */
  states(): IdentityState[] {
    const nowMs = this.#options.clock.wallMs();
    return [...this.#entries.values()]
      .map((entry) => ({ identity: entry.identity, state: stateOf(entry, nowMs), certificate: entry.certificate, nextMs: entry.nextMs, lastError: entry.lastError }))
      .sort((a, b) => (a.identity < b.identity ? -1 : 1));
  }

  close(): void {
    this.#closed = true;
    for (const { timer } of this.#entries.values()) timer?.cancel();
    this.#entries.clear();
  }

  /** Now, or when fewer requests are under way. */
  #request(entry: Entry): void {
    if (this.#underWay >= CERTIFICATE_REQUESTS_MAX) {
      this.#waiting.push(entry);
      return;
    }
    this.#underWay += 1;
    void this.#obtain(entry).finally(() => {
      this.#underWay -= 1;
      const next = this.#waiting.shift();
      if (next !== undefined) this.#request(next);
    });
  }

  async #obtain(entry: Entry): Promise<void> {
    if (!this.#isWanted(entry)) return;
    this.#requests += 1;
    const request = this.#requests;
    const { ca, clock, lifetimeMs } = this.#options;
    const { identity } = entry;
    try {
      const { csr, key } = await createCsr(identity);
      const answer = await ca.sign({ csr, identity, lifetimeMs });
      const certificate = readAnswer(answer, { identity, key, nowMs: clock.wallMs() });
      if (this.#isWanted(entry)) this.#accept(entry, certificate, request);
    } catch (error) {
      if (this.#isWanted(entry)) this.#failed(entry, error instanceof Error ? error.message : String(error));
    }
  }

  /** A released identity's answer may come late; so may that of one which was released and wanted anew, which is another entry. */
  #isWanted(entry: Entry): boolean {
    return !this.#closed && this.#entries.get(entry.identity) === entry;
  }

  #accept(entry: Entry, certificate: WorkloadCertificate, request: number): void {
    const { clock, log, random } = this.#options;
    if (entry.failures > 0) log.info({ identity: entry.identity, attempts: entry.failures + 1 }, 'certificate obtained after failures');
    entry.failures = 0;
    entry.lastError = '';
    entry.reminded = 0;
    entry.issuedMs = clock.wallMs();
    if (request > this.#rootsOfRequest) {
      this.#rootsOfRequest = request;
      this.#trust(certificate.roots, entry);
    }
    entry.certificate = { ...certificate, roots: this.roots.get() };
    this.#tell(entry.certificate);
    const leftMs = certificate.notAfterMs - entry.issuedMs;
    this.#later(entry, leftMs * (0.5 + JITTER * (random.next() - 0.5)));
  }

  /** Roots are the node's, not one identity's: what one answer says holds for the certificates of all others at once. */
  #trust(roots: string, from: Entry): void {
    if (roots === this.roots.get()) return;
    this.roots.set(roots);
    for (const entry of this.#entries.values()) {
      if (entry === from || entry.certificate === undefined) continue;
      entry.certificate = { ...entry.certificate, roots };
      this.#tell(entry.certificate);
    }
  }

  #tell(certificate: WorkloadCertificate): void {
    for (const follow of this.#followers) follow(certificate);
  }

  #failed(entry: Entry, error: string): void {
    const { random } = this.#options;
    entry.lastError = error;
    this.#complain(entry);
    entry.failures += 1;
    const lifeMs = entry.certificate === undefined ? this.#options.lifetimeMs : entry.certificate.notAfterMs - entry.issuedMs;
    const mostMs = Math.min(BACKOFF_MAX_MS, Math.max(BACKOFF_MIN_MS, lifeMs / 20));
    const delayMs = Math.min(mostMs, BACKOFF_MIN_MS * 2 ** Math.min(entry.failures - 1, 20));
    this.#later(entry, delayMs * (0.5 + random.next() / 2));
  }

  /** At the first failure, and again when little of the life is left: more lines would say no more. */
  #complain({ identity, certificate, issuedMs, failures, lastError, reminded }: Entry): void {
    const { clock, log } = this.#options;
    const nowMs = clock.wallMs();
    if (certificate === undefined) {
      if (failures === 0) log.warn({ identity, error: lastError }, 'no certificate could be obtained yet; tried again until there is one');
      return;
    }
    const part = (nowMs - issuedMs) / (certificate.notAfterMs - issuedMs);
    const stage = part >= 1 ? REMINDERS.length + 1 : REMINDERS.filter((reminder) => part >= reminder).length;
    if (failures > 0 && stage <= reminded) return;
    (this.#entries.get(identity) as Entry).reminded = stage;
    const fields = { identity, error: lastError, servedUntil: new Date(certificate.notAfterMs).toISOString() };
    if (part >= 1) log.error(fields, 'the certificate could not be renewed, and has expired');
    else log.warn(fields, `the certificate could not be renewed; the old one is served until ${fields.servedUntil}`);
  }

  #later(entry: Entry, delayMs: number): void {
    entry.nextMs = this.#options.clock.wallMs() + delayMs;
    this.#sleep(entry);
  }

  #sleep(entry: Entry): void {
    const { clock } = this.#options;
    const leftMs = entry.nextMs - clock.wallMs();
    entry.timer?.cancel();
    entry.timer = clock.after(Math.min(leftMs, SLEEP_MAX_MS), () => {
      if (clock.wallMs() >= entry.nextMs) this.#request(entry);
      else this.#sleep(entry);
    });
  }
}

function stateOf({ certificate, lastError }: Entry, nowMs: number): IdentityState['state'] {
  if (certificate === undefined) return 'requested';
  if (certificate.notAfterMs <= nowMs) return 'expired';
  return lastError === '' ? 'valid' : 'stale';
}
