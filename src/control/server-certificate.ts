/** The certificate of the control plane's own server, made by its own CA, in the form in which gRPC follows its changes. */
import { X509Certificate } from 'node:crypto';
import type { experimental } from '@grpc/grpc-js';
import type { Authority } from '../certs/authority.ts';
import type { Clock, Timer } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';

type Provider = Parameters<typeof experimental.createCertificateProviderServerCredentials>[0];
type Listener = Parameters<Provider['addIdentityCertificateListener']>[0];
type Update = NonNullable<Parameters<Listener>[0]>;

const RETRY_MS = 1_000;
/** Timers do not reach further than 24 days. */
const SLEEP_MAX_MS = 86_400_000;

export class ServerCertificate implements Provider {
  readonly #ca: Authority;
  readonly #names: { readonly dns: readonly string[]; readonly addresses: readonly string[] };
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #listeners = new Set<Listener>();
  #current: Update | undefined;
  #timer: Timer | undefined;
  #closed = false;

  constructor(ca: Authority, names: { readonly dns: readonly string[]; readonly addresses: readonly string[] }, { clock, log }: { readonly clock: Clock; readonly log: Logger }) {
    this.#ca = ca;
    this.#names = names;
    this.#clock = clock;
    this.#log = log;
  }

  /** Make the first certificate, or the next one; it is renewed at half of its life. */
  async renew(): Promise<void> {
    const { chain, key } = await this.#ca.signServer(this.#names);
    if (this.#closed) return;
    this.#current = { certificate: Buffer.from(chain), privateKey: Buffer.from(key) };
    for (const tell of this.#listeners) tell(this.#current);
    this.#renewAfter((Date.parse(new X509Certificate(chain).validTo) - this.#clock.wallMs()) / 2);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  addIdentityCertificateListener(listener: Listener): void {
    this.#listeners.add(listener);
    // gRPC takes notice of what it is told once this call has returned.
    queueMicrotask(() => listener(this.#current ?? null));
  }

  removeIdentityCertificateListener(listener: Listener): void {
    this.#listeners.delete(listener);
  }

  /** Clients show no certificate: the token says who they are. */
  addCaCertificateListener(): void {}

  removeCaCertificateListener(): void {}

  #renewAfter(delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.after(Math.min(delayMs, SLEEP_MAX_MS), () => {
      this.renew().catch((error: unknown) => {
        this.#log.error({ error: error instanceof Error ? error.message : String(error) }, 'the certificate of the control plane itself could not be renewed; tried again');
        if (!this.#closed) this.#renewAfter(RETRY_MS);
      });
    });
  }
}
