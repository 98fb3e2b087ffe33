/**
 * Gives agents the certificates of the gateways on their nodes. Who asks is told by the same token as for the CA, what he gets by the gateways that his
 * node serves: a node that was taken over yields the keys of its own gateways, and no others.
 */
import { status } from '@grpc/grpc-js';
import type { Metadata, ServerWritableStream } from '@grpc/grpc-js';
import type { Credential } from '../certs/credential.ts';
import type { CredentialMessage } from '../certs/credential-protocol.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { CREDENTIAL_STREAM_MS, CREDENTIAL_STREAMS_PER_NODE_MAX } from '../core/limits.ts';
import type { Logger } from '../core/log.ts';
import type { NodeAuthenticator } from './node-authenticator.ts';

/** What is to be had, and for whom. */
export interface CredentialBook {
  /** Sources (`Secret ns/name`) that gateways of the node name. */
  sourcesOf(node: string): ReadonlySet<string>;
  /** A string: why there is none; undefined: that is not known yet. The same object for as long as it stays the same. */
  get(source: string): Credential | string | undefined;
  /** Call `fn` after every change. Returns how to stop. */
  follow(fn: () => void): () => void;
}

export interface CredentialServiceOptions {
  readonly authenticator: NodeAuthenticator;
  readonly book: CredentialBook;
  readonly clock: Clock;
  readonly log: Logger;
}

type Call = ServerWritableStream<object, CredentialMessage>;

export class CredentialService {
  readonly #options: CredentialServiceOptions;
  readonly #streams = new Map<string, number>();
  readonly #calls = new Set<Call>();

  constructor(options: CredentialServiceOptions) {
    this.#options = options;
  }

  /** The handler of the method, as the gRPC server takes it. */
  readonly follow = (call: Call): void => {
    void this.#serve(call).catch((error: unknown) => {
      this.#options.log.error({ error: error instanceof Error ? error.message : String(error) }, 'it could not be found out whose a token is');
      refuse(call, status.UNAVAILABLE, 'it cannot be found out now whose the token is; try again');
    });
  };

  /** The control plane ends: agents follow another replica. */
  close(): void {
    for (const call of this.#calls) call.end();
  }

  async #serve(call: Call): Promise<void> {
    const token = tokenOf(call.metadata);
    const node = token === undefined ? undefined : await this.#options.authenticator.authenticate(token);
    if (call.cancelled) return;
    if (node === undefined) {
      refuse(call, status.UNAUTHENTICATED, 'the request has no bearer token of a node');
      return;
    }
    const open = this.#streams.get(node) ?? 0;
    if (open >= CREDENTIAL_STREAMS_PER_NODE_MAX) {
      refuse(call, status.RESOURCE_EXHAUSTED, `node ${node} has ${open} streams open`);
      return;
    }
    this.#streams.set(node, open + 1);
    this.#calls.add(call);
    const { book, clock } = this.#options;
    const subscription = new Subscription(call, node, book);
    const stop = book.follow(() => subscription.send());
    const timer: Timer = clock.after(CREDENTIAL_STREAM_MS, () => call.end());
    const over = once(() => {
      stop();
      timer.cancel();
      this.#calls.delete(call);
      this.#streams.set(node, (this.#streams.get(node) ?? 1) - 1);
    });
    for (const event of ['cancelled', 'close', 'finish', 'error']) call.on(event, over);
    subscription.send();
  }
}

/** What one agent has been told. */
class Subscription {
  readonly #call: Call;
  readonly #node: string;
  readonly #book: CredentialBook;
  readonly #sent = new Map<string, Credential | string>();

  constructor(call: Call, node: string, book: CredentialBook) {
    this.#call = call;
    this.#node = node;
    this.#book = book;
  }

  /** What has changed since the last time. */
  send(): void {
    const sources = this.#book.sourcesOf(this.#node);
    for (const source of this.#sent.keys()) {
      if (sources.has(source)) continue;
      this.#sent.delete(source);
      this.#call.write({ source, certificate: '', privateKey: '', authorities: '', problem: '', forgotten: true });
    }
    for (const source of sources) {
      const credential = this.#book.get(source);
      if (credential === undefined || credential === this.#sent.get(source)) continue;
      this.#sent.set(source, credential);
      const material = typeof credential === 'string' ? { certificate: '', privateKey: '', authorities: '', problem: credential } : { ...credential, problem: '' };
      this.#call.write({ source, ...material, forgotten: false });
    }
  }
}

function tokenOf(metadata: Metadata): string | undefined {
  const [value] = metadata.get('authorization');
  return /^Bearer +([!-~]+)$/i.exec(typeof value === 'string' ? value : '')?.[1];
}

function refuse(call: Call, code: status, details: string): void {
  call.emit('error', { code, details });
}

function once(fn: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    fn();
  };
}
