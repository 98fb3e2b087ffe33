/**
 * A subscription by StreamSecrets: the client repeats all names it wants, the server all secrets it has for them
 * (xDS protocol, "State of the World"). Names without a secret are left out; the client's own timeout tells it.
 */
import type { WorkloadCertificate } from '../certificate.ts';
import type { Caller, Failure } from '../workload-api/caller.ts';
import { SECRET_TYPE_URL } from './protocol.ts';
import type { DiscoveryRequest, DiscoveryResponse } from './protocol.ts';
import { Secrets, versionOf } from './secrets.ts';
import type { NamedSecret } from './secrets.ts';
import { noteRejection, noteUnknown, refusal } from './subscription.ts';

export class StateOfTheWorld {
  readonly #caller: Caller;
  readonly #secrets: Secrets;
  #names = new Set<string>();
  /** Version of each secret the client was last sent. */
  #sent = new Map<string, string>();
  #responses = 0;
  #version = '';

  constructor(caller: Caller) {
    this.#caller = caller;
    this.#secrets = new Secrets(caller);
  }

  /** Take in a request; answers why it cannot be taken, if so. */
  take({ typeUrl, resourceNames, responseNonce, errorDetail }: DiscoveryRequest): Failure | undefined {
    const failure = refusal(typeUrl, resourceNames);
    if (failure !== undefined) return failure;
    // A request made before the client had seen our last response: another follows that answers it.
    if (this.#responses > 0 && responseNonce !== this.#nonce) return undefined;
    if (this.#responses > 0 && errorDetail !== null) noteRejection(this.#caller, this.#version, errorDetail);
    this.#names = new Set(resourceNames);
    for (const name of this.#sent.keys()) if (!this.#names.has(name)) this.#sent.delete(name);
    noteUnknown(this.#caller, this.#secrets, this.#names);
    return undefined;
  }

  /** What the client is to be told now; undefined when it knows it. */
  next(certificate: WorkloadCertificate | undefined): DiscoveryResponse | undefined {
    const secrets = certificate === undefined ? [] : this.#wanted(certificate);
    if (secrets.every(({ name, version }) => this.#sent.get(name) === version)) return undefined;
    this.#sent = new Map(secrets.map(({ name, version }) => [name, version]));
    this.#responses += 1;
    this.#version = versionOf(secrets.map(({ version }) => version).join());
    return responseOf(secrets, this.#version, this.#nonce);
  }

  get #nonce(): string {
    return String(this.#responses);
  }

  #wanted(certificate: WorkloadCertificate): NamedSecret[] {
    return [...this.#names].flatMap((name) => this.#secrets.named(name, certificate) ?? []);
  }
}

export function responseOf(secrets: readonly NamedSecret[], versionInfo: string, nonce: string): DiscoveryResponse {
  return { versionInfo, resources: secrets.map(({ resource }) => resource), typeUrl: SECRET_TYPE_URL, nonce };
}
