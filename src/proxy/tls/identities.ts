/**
 * The certificates of this node's workloads, ready for TLS. Replaced while in use: a handshake takes the newest, connections
 * that are up keep what they began with.
 */
import { createSecureContext } from 'node:tls';
import type { SecureContext } from 'node:tls';
import type { WorkloadCertificate } from '../../certs/certificate.ts';

/** As Istio's ambient mode has it: TLS 1.3 with AES-GCM, which every CPU does in hardware. */
const CIPHERS = 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384';
/**
 * SSL_OP_NO_TICKET: sessions are not resumed, so that every connection proves its identity anew. OpenSSL still sends two tickets in
 * TLS 1.3, which Node cannot turn off; they are references to sessions that nobody keeps.
 */
const NO_TICKET = 0x4000;

export class Identities {
  readonly #credentials = new Map<string, Credentials>();
  readonly #waiting = new Map<string, Set<() => void>>();

  get(identity: string): Credentials | undefined {
    return this.#credentials.get(identity);
  }

  /** A new certificate, or new roots. */
  set(certificate: WorkloadCertificate): void {
    const { identity } = certificate;
    const known = this.#credentials.get(identity);
    if (known === undefined) this.#credentials.set(identity, new Credentials(certificate));
    else known.renew(certificate);
    const waiting = this.#waiting.get(identity);
    this.#waiting.delete(identity);
    for (const go of waiting ?? []) go();
  }

  /** No pod of this node has the identity any more. */
  forget(identity: string): void {
    this.#credentials.delete(identity);
  }

  /** Call `go` once there is a certificate: at once when there is one. Returns how to stop waiting. */
  whenThere(identity: string, go: () => void): () => void {
    if (this.#credentials.has(identity)) {
      go();
      return () => undefined;
    }
    const waiting = this.#waiting.get(identity) ?? new Set();
    this.#waiting.set(identity, waiting);
    waiting.add(go);
    return () => {
      waiting.delete(go);
      if (waiting.size === 0) this.#waiting.delete(identity);
    };
  }
}

/** One identity's. The context is made when it is needed first: reading keys costs, and some pods never talk to other nodes. */
export class Credentials {
  certificate: WorkloadCertificate;
  #context: SecureContext | undefined;

  constructor(certificate: WorkloadCertificate) {
    this.certificate = certificate;
  }

  renew(certificate: WorkloadCertificate): void {
    this.certificate = certificate;
    this.#context = undefined;
  }

  /** For either end of a connection between workloads. */
  get context(): SecureContext {
    const { chain, key, roots } = this.certificate;
    this.#context ??= createSecureContext({ cert: chain, key, ca: roots, minVersion: 'TLSv1.3', ciphers: CIPHERS, secureOptions: NO_TICKET });
    return this.#context;
  }
}
