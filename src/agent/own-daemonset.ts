/**
 * The DaemonSet that this agent is a pod of: while it is there, an agent that ends is followed by another. Its deletion takes the agent's own rights
 * along at about the same time, so being refused counts as well, where it has not been refused before.
 */
import type { Logger } from '../core/log.ts';
import { record } from '../mesh/parse/json.ts';
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
  readonly #log: Logger;
  /** May it be asked about? */
  readonly #asked: Promise<boolean>;

  constructor(client: ApiClient, { namespace, name }: ObjectName, log: Logger) {
    this.#client = client;
    this.#path = `/apis/apps/v1/namespaces/${namespace}/daemonsets/${name}`;
    this.#log = log;
    this.#asked = this.#ask().then(() => true, (error: unknown) => {
      log.warn({ daemonSet: `${namespace}/${name}`, reason: String(error) }, 'the agent cannot see its own DaemonSet; when that is deleted, its CNI plugin stays on this node');
      return false;
    });
  }

  /** Is it deleted, or about to be? When that cannot be told it is not. */
  async isLeaving(): Promise<boolean> {
    if (!(await this.#asked)) return false;
    try {
      return record((await this.#ask())['metadata'])['deletionTimestamp'] !== undefined;
    } catch (error) {
      const status = error instanceof ApiError ? error.status : 0;
      if (status === NOT_FOUND || REFUSED.includes(status)) return true;
      this.#log.warn({ reason: String(error) }, 'whether the agent is being uninstalled cannot be told');
      return false;
    }
  }

  async #ask(): Promise<Readonly<Record<string, unknown>>> {
    return this.#client.send(this.#path, { signal: AbortSignal.timeout(PATIENCE_MS) });
  }
}
