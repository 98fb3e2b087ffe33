/**
 * A subscription by DeltaSecrets: the client adds and drops names, the server sends what changed (xDS protocol, "Incremental
 * xDS"). A name without a secret is answered as removed, so the client need not wait for it.
 */
import { status } from '@grpc/grpc-js';
import { SDS_NAMES_MAX } from '../../core/limits.ts';
import type { WorkloadCertificate } from '../certificate.ts';
import type { Caller, Failure } from '../workload-api/caller.ts';
import { SECRET_TYPE_URL } from './protocol.ts';
import type { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from './protocol.ts';
import { Secrets, versionOf } from './secrets.ts';
import type { NamedSecret } from './secrets.ts';
import { noteRejection, noteUnknown, refusal } from './subscription.ts';

export class Incremental {
  readonly #caller: Caller;
  readonly #secrets: Secrets;
  readonly #names = new Set<string>();
  /** Version of each secret the client has, or rejected. */
  readonly #sent = new Map<string, string>();
  /** Names whose absence the client has still to be told. */
  readonly #absent = new Set<string>();
  #first = true;
  #responses = 0;
  #version = '';

  constructor(caller: Caller) {
    this.#caller = caller;
    this.#secrets = new Secrets(caller);
  }

  /** Take in a request; answers why it cannot be taken, if so. */
  take(request: DeltaDiscoveryRequest): Failure | undefined {
    const added = request.resourceNamesSubscribe;
    const failure = refusal(request.typeUrl, added);
    if (failure !== undefined) return failure;
    if (request.errorDetail !== null && this.#responses > 0) noteRejection(this.#caller, this.#version, request.errorDetail);
    for (const name of request.resourceNamesUnsubscribe) this.#drop(name);
    const known = this.#first ? request.initialResourceVersions : {};
    for (const name of added) this.#add(name, Object.hasOwn(known, name) ? known[name] : undefined);
    this.#first = false;
    if (this.#names.size > SDS_NAMES_MAX) return { code: status.RESOURCE_EXHAUSTED, details: `${this.#names.size} names; ${SDS_NAMES_MAX} are the most` };
    noteUnknown(this.#caller, this.#secrets, added);
    return undefined;
  }

  /** What the client is to be told now; undefined when it knows it. */
  next(certificate: WorkloadCertificate | undefined): DeltaDiscoveryResponse | undefined {
    const changed = certificate === undefined ? [] : this.#changed(certificate);
    const removedResources = [...this.#absent];
    if (changed.length === 0 && removedResources.length === 0) return undefined;
    for (const { name, version } of changed) this.#sent.set(name, version);
    this.#absent.clear();
    this.#responses += 1;
    this.#version = versionOf([...this.#sent.values()].join());
    return {
      systemVersionInfo: this.#version,
      resources: changed,
      typeUrl: SECRET_TYPE_URL,
      nonce: String(this.#responses),
      removedResources,
    };
  }

  /** A name subscribed to again is sent again, whether it changed or not: the client may have lost it. */
  #add(name: string, knownVersion: string | undefined): void {
    this.#names.add(name);
    if (!this.#secrets.has(name)) this.#absent.add(name);
    if (knownVersion === undefined) this.#sent.delete(name);
    else this.#sent.set(name, knownVersion);
  }

  #drop(name: string): void {
    this.#names.delete(name);
    this.#absent.delete(name);
    this.#sent.delete(name);
  }

  #changed(certificate: WorkloadCertificate): NamedSecret[] {
    return [...this.#names].flatMap((name) => this.#secrets.named(name, certificate) ?? []).filter(({ name, version }) => this.#sent.get(name) !== version);
  }
}
