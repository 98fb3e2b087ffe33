/** What the control plane has of a cluster besides its configuration: nodes known by their agents' tokens, a Secret for its keys, a Lease, and published roots. */
import { systemClock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import { systemRandom } from '../core/random.ts';
import type { ApiClient } from '../kube/api-client.ts';
import { connect } from '../kube/open-config.ts';
import type { ClusterPlace } from '../kube/open-config.ts';
import { Leadership } from './leadership.ts';
import type { NodeAuthenticator } from './node-authenticator.ts';
import type { NodeIdentities } from './node-identities.ts';
import { PublishedRoots } from './published-roots.ts';
import { SecretStore } from './secret-store.ts';
import { TokenReview } from './token-review.ts';

export interface ClusterOptions {
  readonly place: ClusterPlace;
  /** Of the control plane's own objects. */
  readonly namespace: string;
  /** Of this replica: the name of its pod. */
  readonly identity: string;
  /** `namespace/name` of the agents' service accounts. */
  readonly agents: readonly string[];
  readonly audience: string;
}

const LEASE = 'orlop-control';
const SECRET = 'orlop-ca';
const ROOTS = 'orlop-ca-roots';

export class ClusterSide {
  readonly authenticator: NodeAuthenticator;
  readonly store: SecretStore;
  readonly #client: ApiClient;
  readonly #options: ClusterOptions;
  readonly #leadership: Leadership;
  readonly #log: Logger;
  #roots: PublishedRoots | undefined;

  private constructor(client: ApiClient, options: ClusterOptions, identities: NodeIdentities, log: Logger) {
    const { namespace, identity, agents, audience } = options;
    this.#client = client;
    this.#options = options;
    this.#log = log;
    this.#leadership = new Leadership({ client, namespace, name: LEASE, identity, clock: systemClock, random: systemRandom, log });
    this.store = new SecretStore(client, { namespace, name: SECRET }, this.#leadership);
    this.authenticator = new TokenReview({ client, agents: new Set(agents), audience, identities, clock: systemClock, log });
  }

  /** Resolves when it is known, as far as it can be, whether this replica leads. */
  static async open(options: ClusterOptions, identities: NodeIdentities, log: Logger): Promise<ClusterSide> {
    const side = new ClusterSide(await connect(options.place), options, identities, log);
    await side.#leadership.start();
    return side;
  }

  /** Agents that start trust what is published. */
  async publish(roots: () => string): Promise<void> {
    const { namespace } = this.#options;
    this.#roots = new PublishedRoots({ client: this.#client, namespace, name: ROOTS, leader: this.#leadership, roots, clock: systemClock, log: this.#log });
    await this.#roots.start();
  }

  async close(): Promise<void> {
    this.#roots?.close();
    await this.#leadership.close();
    this.#client.close();
  }
}
