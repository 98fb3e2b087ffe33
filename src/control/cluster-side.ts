/**
 * What the control plane has of a cluster besides its configuration: nodes known by their agents' tokens, a Secret for its keys, a Lease, published roots,
 * and what it says of objects before they are stored (a webhook) and after (their status).
 */
import { systemClock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import { systemRandom } from '../core/random.ts';
import type { ApiClient } from '../kube/api-client.ts';
import { connect } from '../kube/open-config.ts';
import type { ClusterPlace } from '../kube/open-config.ts';
import type { Watch } from '../core/watch.ts';
import { ApiSource } from '../kube/api-source.ts';
import type { ConfigSource } from '../kube/config-source.ts';
import { admit } from '../mesh/admission.ts';
import { isMadeOf } from '../mesh/build.ts';
import type { GatewayFacts } from '../mesh/gateway/status.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import { AgentPods } from './agent-pods.ts';
import { caBundle } from './ca-bundle.ts';
import { GatewayServices } from './gateway-services.ts';
import { gatewayStatusWishes } from './gateway-statuses.ts';
import { istioStatuses } from './istio-statuses.ts';
import { LeaderLoop } from './leader-loop.ts';
import { Leadership } from './leadership.ts';
import type { NodeAuthenticator } from './node-authenticator.ts';
import type { NodeIdentities } from './node-identities.ts';
import { publishedRoots } from './published-roots.ts';
import type { Listen } from './ca-server.ts';
import { SecretStore } from './secret-store.ts';
import type { ServerCertificate } from './server-certificate.ts';
import { ServiceAccountKeys } from './service-account-keys.ts';
import { StatusWriter } from './status-writer.ts';
import type { StatusWish, WriteOutcome } from './status-writer.ts';
import { TokenReview } from './token-review.ts';
import { Webhook } from './webhook.ts';
import type { ReviewOutcome } from './webhook.ts';

export interface ClusterOptions {
  readonly place: ClusterPlace;
  /** Of the control plane's own objects. */
  readonly namespace: string;
  /** Of this replica: the name of its pod. */
  readonly identity: string;
  /** `namespace/name` of the agents' service accounts. */
  readonly agents: readonly string[];
  readonly audience: string;
  /** Where API servers ask before they store objects. */
  readonly webhook: Listen;
}

/** What the status of gateways takes besides the configuration. */
export interface GatewaysView {
  readonly facts: (snapshot: Snapshot, cluster: Pick<GatewayFacts, 'addresses' | 'annotations'>) => GatewayFacts;
  /** Call `fn` when the facts may have changed. */
  readonly follow: (fn: () => void) => void;
}

/** As the metrics have it. */
export interface ClusterCounts {
  readonly leads: boolean;
  readonly reviews: Readonly<Record<ReviewOutcome, number>>;
  readonly statuses: Readonly<Record<WriteOutcome, number>>;
}

const LEASE = 'orlop-control';
const SECRET = 'orlop-ca';
const ROOTS = 'orlop-ca-roots';
const WEBHOOK = 'orlop-control';
/** How often it is looked for the addresses of gateways that have none. */
const ADDRESS_POLL_MS = 1_000;

export class ClusterSide {
  readonly authenticator: NodeAuthenticator;
  readonly store: SecretStore;
  readonly client: ApiClient;
  readonly #options: ClusterOptions;
  readonly #leadership: Leadership;
  readonly #keys: ServiceAccountKeys;
  readonly #log: Logger;
  #loops: readonly LeaderLoop[] = [];
  #agents: AgentPods | undefined;
  #writer: StatusWriter | undefined;
  #webhook: Webhook | undefined;

  private constructor(client: ApiClient, options: ClusterOptions, identities: NodeIdentities, log: Logger) {
    const { namespace, identity, agents, audience } = options;
    this.client = client;
    this.#options = options;
    this.#log = log;
    this.#leadership = new Leadership({ client, namespace, name: LEASE, identity, clock: systemClock, random: systemRandom, log });
    this.store = new SecretStore(client, { namespace, name: SECRET }, this.#leadership);
    this.#keys = new ServiceAccountKeys(client, systemClock, log);
    this.authenticator = new TokenReview({ client, agents: new Set(agents), audience, keys: this.#keys, identities, clock: systemClock, log });
  }

  /** Resolves when it is known, as far as it can be, whether this replica leads. */
  static async open(options: ClusterOptions, identities: NodeIdentities, log: Logger): Promise<ClusterSide> {
    const side = new ClusterSide(await connect(options.place), options, identities, log);
    await Promise.all([side.#keys.start(), side.#leadership.start()]);
    return side;
  }

  /** Agents that start, and API servers that ask, trust what is published. */
  async publish(roots: Watch<string>): Promise<void> {
    const options = { client: this.client, leader: this.#leadership, roots: () => roots.get(), clock: systemClock, log: this.#log };
    this.#loops = [publishedRoots({ ...options, namespace: this.#options.namespace, name: ROOTS }), caBundle({ ...options, name: WEBHOOK })];
    roots.follow(() => {
      for (const loop of this.#loops) void loop.soon();
    });
    await Promise.all(this.#loops.map((loop) => loop.start()));
  }

  /** Say what is to be said of the objects of `config`: when they are about to be stored, and in their status. */
  async speak(config: ConfigSource, certificate: ServerCertificate, gateways: GatewaysView): Promise<void> {
    this.#webhook = await Webhook.serve({ judge: (object, stored) => admit(object, stored, config.snapshot.get()), certificate, log: this.#log }, this.#options.webhook);
    this.#log.info({ address: this.#options.webhook.address, port: this.#webhook.port }, 'objects are judged here before they are stored');
    if (!(config instanceof ApiSource)) return;
    const services = await this.#reach(config);
    const wishes = (): StatusWish[] => {
      const snapshot = config.snapshot.get();
      if (snapshot === undefined) return [];
      // What has changed since is not judged yet.
      const stored = [...config.stored()].filter((object) => isMadeOf(snapshot, object));
      const facts = gateways.facts(snapshot, { addresses: (id) => services.addresses(id), annotations: (kind) => config.annotations(kind) });
      return [...istioStatuses(snapshot, stored), ...gatewayStatusWishes(snapshot, stored, facts)];
    };
    const writer = new StatusWriter({ client: this.client, leader: this.#leadership, wishes, find: (name) => config.find(name), clock: systemClock, random: systemRandom, log: this.#log });
    config.snapshot.follow(() => writer.changed());
    gateways.follow(() => writer.changed());
    services.follow(() => writer.changed());
    config.touched.follow((name) => {
      if (name !== undefined) writer.touched(name);
    });
    writer.start();
    this.#writer = writer;
  }

  /** Keep what clients reach gateways by. */
  async #reach(config: ConfigSource): Promise<GatewayServices> {
    const { client } = this;
    const soon = (): void => void loop.soon();
    const agents = new AgentPods({ client, agents: this.#options.agents, clock: systemClock, random: systemRandom, onChange: soon });
    const services = new GatewayServices({ client, snapshot: () => config.snapshot.get(), agents: () => agents.present, log: this.#log });
    const step = async (): Promise<void> => {
      // A cloud takes its time to give a Service an address, and nothing that is followed tells of it.
      if (!(await services.step())) systemClock.after(ADDRESS_POLL_MS, soon);
    };
    const loop = new LeaderLoop({ leader: this.#leadership, clock: systemClock, log: this.#log, step, failed: 'the Services of gateways could not be kept; they stay as they are' });
    this.#loops = [...this.#loops, loop];
    this.#agents = agents;
    config.snapshot.follow(soon);
    await loop.start();
    return services;
  }

  counts(): ClusterCounts {
    return {
      leads: this.#leadership.leads,
      reviews: this.#webhook?.counts ?? { allowed: 0, refused: 0, failed: 0 },
      statuses: this.#writer?.counts ?? { written: 0, conflict: 0, failed: 0 },
    };
  }

  async close(): Promise<void> {
    for (const loop of this.#loops) loop.close();
    this.#agents?.close();
    this.#keys.close();
    this.#writer?.close();
    await this.#webhook?.close();
    await this.#leadership.close();
    this.client.close();
  }
}
