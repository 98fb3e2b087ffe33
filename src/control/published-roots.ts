/** The public roots in a ConfigMap, which agents mount to know the control plane by; the replica that leads keeps it up to date. */
import type { Logger } from '../core/log.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { ApiError } from '../kube/api-client.ts';
import type { ApiClient, ApiObject } from '../kube/api-client.ts';
import type { Leader } from './secret-store.ts';

export interface PublishedRootsOptions {
  readonly client: ApiClient;
  readonly namespace: string;
  readonly name: string;
  readonly leader: Leader;
  readonly roots: () => string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The key that Istio's own has. */
const KEY = 'root-cert.pem';
/** Somebody may have changed or removed it. */
const EVERY_MS = 10_000;
const RETRY_MS = 1_000;

export class PublishedRoots {
  readonly #options: PublishedRootsOptions;
  #timer: Timer | undefined;
  #closed = false;
  #told = '';

  constructor(options: PublishedRootsOptions) {
    this.#options = options;
  }

  /** Resolves after the first try; it is kept from then on. */
  async start(): Promise<void> {
    const { leader, clock, log, namespace, name } = this.#options;
    let againMs = EVERY_MS;
    try {
      if (leader.leads) await this.#publish();
      else againMs = RETRY_MS;
      this.#told = '';
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== this.#told) log.error({ configMap: `${namespace}/${name}`, reason }, 'the roots could not be published; agents that start now wait for them');
      this.#told = reason;
      againMs = RETRY_MS;
    }
    if (this.#closed) return;
    this.#timer = clock.after(againMs, () => {
      void this.start();
    });
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #publish(): Promise<void> {
    const { client, namespace, name, roots } = this.#options;
    const collection = `/api/v1/namespaces/${namespace}/configmaps`;
    const data = { [KEY]: roots() };
    let known: ApiObject;
    try {
      known = await client.send(`${collection}/${name}`);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
      await client.send(collection, { method: 'POST', body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace, name }, data } });
      return;
    }
    if ((known['data'] as Readonly<Record<string, string>> | undefined)?.[KEY] === data[KEY]) return;
    await client.send(`${collection}/${name}`, { method: 'PUT', body: { ...known, data } });
  }
}
