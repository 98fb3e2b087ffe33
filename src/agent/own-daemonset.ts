/**
 * The DaemonSet that this agent is a pod of: while it is there, and wants the node, an agent that ends is followed by another. Its deletion takes the
 * agent's own rights along at about the same time, so being refused counts as well, where it was not refused before.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../core/log.ts';
import { list, record } from '../mesh/parse/json.ts';
import { ApiError } from '../kube/api-client.ts';
import type { ApiClient, ApiObject } from '../kube/api-client.ts';

export interface ObjectName {
  readonly namespace: string;
  readonly name: string;
}

const NOT_FOUND = 404;
const REFUSED: readonly number[] = [401, 403];
/** For one answer. An API server that does not answer the tries tells nothing: then what is there stays, which fails closed. */
const PATIENCE_MS = 5_000;
const TRIES = 2;
const RETRY_MS = 5_000;

export class OwnDaemonSet {
  readonly #client: ApiClient;
  readonly #name: ObjectName & { readonly node: string };
  readonly #log: Logger;
  /** Has it been seen, and so may it be asked about? */
  #isKnown = false;

  constructor(client: ApiClient, name: ObjectName & { readonly node: string }, log: Logger) {
    this.#client = client;
    this.#name = name;
    this.#log = log;
    void this.#becomeKnown();
  }

  /** Is it deleted, or about to be, with its namespace perhaps, or does it not want this node any more? When that cannot be told it is not. */
  async isLeaving(): Promise<boolean> {
    for (let tries = TRIES; ; tries -= 1) {
      try {
        return await this.#ask();
      } catch (error) {
        const status = error instanceof ApiError ? error.status : 0;
        if (status === NOT_FOUND || REFUSED.includes(status)) return this.#isKnown;
        if (tries > 1) continue;
        this.#log.warn({ reason: String(error) }, 'whether the agent is being uninstalled cannot be told; capture and the CNI plugin stay on this node');
        return false;
      }
    }
  }

  async #becomeKnown(): Promise<void> {
    const { namespace, name } = this.#name;
    while (!this.#isKnown) {
      try {
        await this.#get(`/apis/apps/v1/namespaces/${namespace}/daemonsets/${name}`);
        this.#isKnown = true;
      } catch (error) {
        if (error instanceof ApiError && (error.status === NOT_FOUND || REFUSED.includes(error.status))) {
          this.#log.warn({ daemonSet: `${namespace}/${name}`, reason: error.message }, 'the agent cannot see its own DaemonSet; when that is deleted, capture and the CNI plugin stay on this node');
          return;
        }
        await sleep(RETRY_MS, undefined, { ref: false });
      }
    }
  }

  async #ask(): Promise<boolean> {
    const { namespace, name, node } = this.#name;
    const { metadata, spec } = await this.#get(`/apis/apps/v1/namespaces/${namespace}/daemonsets/${name}`);
    if (record(metadata)['deletionTimestamp'] !== undefined) return true;
    // With a namespace its pods may go before the DaemonSet does.
    const home = await this.#listed('namespaces', namespace);
    if (home !== undefined && record(home['metadata'])['deletionTimestamp'] !== undefined) return true;
    // Labels are what nodes are taken out by: agents tolerate every taint, and have no affinity.
    const selector = record(record(record(record(spec)['template'])['spec'])['nodeSelector']);
    const found = await this.#listed('nodes', node);
    const labels = record(record(found?.['metadata'])['labels']);
    return found !== undefined && Object.entries(selector).some(([key, value]) => labels[key] !== value);
  }

  /** By the right to list, which the agent has. */
  async #listed(collection: string, name: string): Promise<ApiObject | undefined> {
    return list((await this.#get(`/api/v1/${collection}?fieldSelector=${encodeURIComponent(`metadata.name=${name}`)}`))['items'])[0];
  }

  async #get(path: string): Promise<ApiObject> {
    return this.#client.send(path, { signal: AbortSignal.timeout(PATIENCE_MS) });
  }
}
