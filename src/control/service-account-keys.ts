/**
 * The public keys by which a cluster's service account tokens are signed (OpenID discovery of the API server). With them an agent that starts while the API
 * server is away is known by its token all the same, and its pods get their certificates.
 */
import { createLocalJWKSet, jwtVerify } from 'jose';
import type { JSONWebKeySet, JWTPayload } from 'jose';
import { pause } from '../core/clock.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { ApiClient } from '../kube/api-client.ts';
import { record, text } from '../mesh/parse/json.ts';

/** Whose a token is, and the pod that it was made for. */
export interface TokenOwner {
  /** `system:serviceaccount:NAMESPACE:NAME`. */
  readonly username: string;
  readonly pod: string;
  readonly podUid: string;
}

interface Keys {
  readonly issuer: string;
  readonly set: ReturnType<typeof createLocalJWKSet>;
}

/** A cluster announces a new key well before it signs with it. */
const REFRESH_MS = 300_000;
const RETRY_MS = 5_000;

export class ServiceAccountKeys {
  readonly #client: ApiClient;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #closing = new AbortController();
  #keys: Keys | undefined;
  #told = '';

  constructor(client: ApiClient, clock: Clock, log: Logger) {
    this.#client = client;
    this.#clock = clock;
    this.#log = log;
  }

  /** Keep the keys as they are; resolves after the first try. */
  async start(): Promise<void> {
    const again = await this.#read();
    void this.#follow(again);
  }

  close(): void {
    this.#closing.abort();
  }

  /**
   * The owner of a token that is signed, in its time, and for `audience`; undefined when it is none, or no keys are known. That the token was not
   * withdrawn since, as with its pod, is not known here.
   */
  async verify(token: string, audience: string): Promise<TokenOwner | undefined> {
    if (this.#keys === undefined) return undefined;
    const { issuer, set } = this.#keys;
    try {
      const { payload } = await jwtVerify(token, set, { issuer, audience, requiredClaims: ['exp', 'sub'], currentDate: new Date(this.#clock.wallMs()) });
      return ownerOf(payload);
    } catch (error) {
      this.#log.debug({ error: String(error) }, 'a token');
      return undefined;
    }
  }

  async #follow(firstMs: number): Promise<void> {
    let againMs = firstMs;
    while (!this.#closing.signal.aborted) {
      await pause(this.#clock, againMs, this.#closing.signal);
      if (!this.#closing.signal.aborted) againMs = await this.#read();
    }
  }

  /** Returns after how many milliseconds to look again. Keys that are known stay while there are no others. */
  async #read(): Promise<number> {
    try {
      const issuer = text((await this.#client.send('/.well-known/openid-configuration'))['issuer']);
      const set = createLocalJWKSet((await this.#client.send('/openid/v1/jwks', { accept: 'application/jwk-set+json' })) as unknown as JSONWebKeySet);
      this.#keys = { issuer, set };
      this.#told = '';
      return REFRESH_MS;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== this.#told) this.#log.warn({ error: reason }, 'the keys of service account tokens cannot be read; agents that start while the API server is away get no certificates');
      this.#told = reason;
      return RETRY_MS;
    }
  }
}

/** Claims of bound tokens (Kubernetes, "Managing Service Accounts"). */
function ownerOf(payload: JWTPayload): TokenOwner | undefined {
  const { name, uid } = record(record(payload['kubernetes.io'])['pod']);
  const owner = { username: payload.sub ?? '', pod: text(name), podUid: text(uid) };
  return owner.pod === '' || owner.podUid === '' ? undefined : owner;
}
