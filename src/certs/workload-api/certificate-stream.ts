/**
 * A stream of responses made from the caller's certificate. The client gets the newest state only: states that pass while it
 * does not read are skipped, so a slow client costs one response and not one for each rotation.
 */
import type { ServerDuplexStream, ServerWritableStream } from '@grpc/grpc-js';
import type { WorkloadCertificate } from '../certificate.ts';
import type { Caller, Endable, Failure } from './caller.ts';
import { CertificateFeed } from './certificate-feed.ts';

type Call<Response> = Pick<ServerDuplexStream<unknown, Response> | ServerWritableStream<unknown, Response>, 'write' | 'end' | 'emit' | 'on' | 'once'>;

export class CertificateStream<Response> implements Endable {
  readonly #call: Call<Response>;
  readonly #next: (certificate: WorkloadCertificate | undefined) => Response | undefined;
  readonly #feed: CertificateFeed;
  readonly #caller: Caller;
  #full = false;
  #open = true;

  /** `next` says what to send for a certificate (undefined: there is none yet), or undefined when the client knows it all. */
  constructor(call: Call<Response>, caller: Caller, next: (certificate: WorkloadCertificate | undefined) => Response | undefined) {
    this.#call = call;
    this.#next = next;
    this.#caller = caller;
    caller.open.add(this);
    for (const event of ['cancelled', 'finish', 'close']) call.on(event, () => this.#close());
    this.#feed = new CertificateFeed(caller, {
      changed: () => this.push(),
      late: (failure) => this.end(failure),
    });
  }

  /** Send what is new, now or when the client has read what came before. */
  push(): void {
    if (!this.#open || this.#full) return;
    const response = this.#next(this.#feed.current);
    if (response === undefined || this.#call.write(response)) return;
    this.#full = true;
    this.#call.once('drain', () => {
      this.#full = false;
      this.push();
    });
  }

  end(failure: Failure): void {
    if (!this.#open) return;
    this.#close();
    this.#call.emit('error', failure);
  }

  /** The client said all it has to say: so do we. */
  finish(): void {
    if (!this.#open) return;
    this.#close();
    this.#call.end();
  }

  #close(): void {
    this.#open = false;
    this.#caller.open.delete(this);
    this.#feed.close();
  }
}
