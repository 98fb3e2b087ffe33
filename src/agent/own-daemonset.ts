/**
 * The DaemonSet that this agent is a pod of: while it is there, an agent that ends is followed by another. Its deletion takes the agent's own rights
 * along at about the same time, so being refused counts as well, where it has not been refused before.
 */
import type { Logger } from '../core/log.ts';
import { list, record } from '../mesh/parse/json.ts';
import { ApiError } from '../kube/api-client.ts';
import type { ApiClient } from '../kube/api-client.ts';

export interface ObjectName {
  readonly namespace: string;
  readonly name: string;
}

const NOT_FOUND = 404;
const REFUSED: readonly number[] = [401, 403];
/** An API server that does not answer by then tells nothing: whatever stays, fails closed. */
const PATIENCE_MS = 3_000;

export class OwnDaemonSet {
  readonly #client: ApiClient;
  readonly #path: string;
  readonly #node: string;
  readonly #log: Logger;
  /** May it be asked about? */
  readonly #asked: Promise<boolean>;

  constructor(client: ApiClient, { namespace, name, node }: ObjectName & { readonly node: string }, log: Logger) {
    this.#client = client;
    this.#node = node;
    this.#path = `/apis/apps/v1/namespaces/${namespace}/daemonsets/${name}`;
    this.#log = log;
    this.#asked = this.#ask().then(() => true, (error: unknown) => {
      log.warn({ daemonSet: `${namespace}/${name}`, reason: String(error) }, 'the agent cannot see its own DaemonSet; when that is deleted, capture and the CNI plugin stay on this node');
      return false;
    });
  }

  /** Is it deleted, or about to be, or does it not want this node any more? When that cannot be told it is not. */
  async isLeaving(): Promise<boolean> {
    if (!(await this.#asked)) return false;
    try {
      const { metadata, spec } = await this.#ask();
      return record(metadata)['deletionTimestamp'] !== undefined || !(await this.#selects(record(record(record(spec)['template'])['spec'])['nodeSelector']));
    } catch (error) {
      const status = error instanceof ApiError ? error.status : 0;
      if (status === NOT_FOUND || REFUSED.includes(status)) return true;
      this.#log.warn({ reason: String(error) }, 'whether the agent is being uninstalled cannot be told');
      return false;
    }
  }

  /** Is the node among those that it selects? Labels are what nodes are taken out by: agents tolerate every taint, and have no affinity. */
  async #selects(selector: unknown): Promise<boolean> {
    try {
      const { items } = await this.#client.send(`/api/v1/nodes?fieldSelector=${encodeURIComponent(`metadata.name=${this.#node}`)}`, { signal: AbortSignal.timeout(PATIENCE_MS) });
      const [node] = list(items);
      const labels = record(record(node?.['metadata'])['labels']);
      return node === undefined || Object.entries(record(selector)).every(([key, value]) => labels[key] === value);
    } catch (error) {
      this.#log.warn({ node: this.#node, reason: String(error) }, 'the labels of the node cannot be read; it is taken to be wanted');
      return true;
    }
  }

  async #ask(): Promise<Readonly<Record<string, unknown>>> {
    return this.#client.send(this.#path, { signal: AbortSignal.timeout(PATIENCE_MS) });
  }
}
