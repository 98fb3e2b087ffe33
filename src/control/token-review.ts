/**
 * Who asks, in a cluster: the API server says whose a token is (authentication.k8s.io/v1 TokenReview). Only tokens of the agents' service account
 * count, made for the CA and bound to a pod; the node is that of the pod. While the API server is away, its keys say it, and the pods that were there.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import { NODE_TOKENS_MAX } from '../core/limits.ts';
import type { Logger } from '../core/log.ts';
import { ApiError } from '../kube/api-client.ts';
import type { ApiClient } from '../kube/api-client.ts';
import type { NodeAuthenticator } from './node-authenticator.ts';
import type { NodeIdentities } from './node-identities.ts';
import type { ServiceAccountKeys } from './service-account-keys.ts';

export interface TokenReviewOptions {
  readonly client: ApiClient;
  /** `namespace/name` of the service accounts that agents run as. */
  readonly agents: ReadonlySet<string>;
  readonly audience: string;
  readonly keys: Pick<ServiceAccountKeys, 'verify'>;
  /** Where pods are. */
  readonly identities: NodeIdentities;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Of a TokenReview, what is read. */
interface Reviewed {
  readonly authenticated?: boolean;
  readonly audiences?: readonly string[];
  readonly user?: { readonly username?: string; readonly extra?: Readonly<Record<string, readonly string[]>> };
}

interface Known {
  readonly node: string;
  readonly untilMs: number;
}

/** A node that starts asks for all its pods' certificates at once. A token that is withdrawn counts for so long; the API server's own cache is no younger. */
const KEPT_MS = 10_000;

const EXTRA = 'authentication.kubernetes.io';

export class TokenReview implements NodeAuthenticator {
  readonly #options: TokenReviewOptions;
  /** By digest, so that no token is kept. */
  readonly #known = new Map<string, Known>();

  constructor(options: TokenReviewOptions) {
    this.#options = options;
  }

  /** Rejects when the API server cannot be asked, and its keys do not say either. */
  async authenticate(token: string): Promise<string | undefined> {
    const nowMs = this.#options.clock.nowMs();
    const digest = createHash('sha256').update(token).digest('base64');
    const known = this.#known.get(digest);
    if (known !== undefined && known.untilMs > nowMs) return known.node;
    this.#known.delete(digest);
    const node = this.#nodeOf(await this.#review(token));
    if (node === undefined) return undefined;
    if (this.#known.size >= NODE_TOKENS_MAX) this.#known.clear();
    this.#known.set(digest, { node, untilMs: nowMs + KEPT_MS });
    return node;
  }

  async #review(token: string): Promise<Reviewed> {
    const { client, audience } = this.#options;
    const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token, audiences: [audience] } };
    try {
      const { status } = await client.send('/apis/authentication.k8s.io/v1/tokenreviews', { method: 'POST', body });
      return status ?? {};
    } catch (error) {
      const verified = isAway(error) ? await this.#verified(token) : undefined;
      if (verified === undefined) throw error;
      return verified;
    }
  }

  /** As the API server would have it, but for the node: that must be where the pod was when the API server was last heard of. */
  async #verified(token: string): Promise<Reviewed | undefined> {
    const { keys, audience, log } = this.#options;
    const owner = await keys.verify(token, audience);
    if (owner === undefined) return undefined;
    const { username, pod, podUid } = owner;
    log.warn({ user: username, pod }, 'the API server cannot be asked whose a token is; its keys say so');
    return { authenticated: true, audiences: [audience], user: { username, extra: { [`${EXTRA}/pod-name`]: [pod], [`${EXTRA}/pod-uid`]: [podUid] } } };
  }

  #nodeOf({ authenticated, audiences, user }: Reviewed): string | undefined {
    const { agents, audience, log } = this.#options;
    const refuse = (reason: string): undefined => {
      log.warn({ user: user?.username }, `a token was refused: ${reason}`);
      return undefined;
    };
    if (authenticated !== true) return refuse('it is invalid, or for another audience');
    // An API server that knows no audiences answers without any, and would let every token of the account pass.
    if (audiences?.includes(audience) !== true) return refuse(`it is not for the audience ${audience}`);
    const [, namespace, name] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(user?.username ?? '') ?? [];
    if (namespace === undefined || name === undefined || !agents.has(`${namespace}/${name}`)) return refuse(`only ${[...agents].join(', ')} may ask for certificates`);
    return this.#boundTo(namespace, user?.extra ?? {}) ?? refuse('it is bound to no pod that is on a node');
  }

  /** As the API server says; servers before 1.30 name the pod only. */
  #boundTo(namespace: string, extra: Readonly<Record<string, readonly string[]>>): string | undefined {
    const only = (name: string): string | undefined => {
      const values = extra[`${EXTRA}/${name}`];
      return values?.length === 1 && values[0] !== '' ? values[0] : undefined;
    };
    const pod = only('pod-name');
    const uid = only('pod-uid');
    if (pod === undefined || uid === undefined) return undefined;
    return only('node-name') ?? this.#options.identities.nodeOf({ namespace, name: pod, uid });
  }
}

/** It does not answer, or not in its right mind; a refusal is an answer. */
function isAway(error: unknown): boolean {
  return !(error instanceof ApiError) || error.status >= 500;
}
