/**
 * The taint by which a node that has just joined, or was made anew, is kept free of pods until its agent is ready. Whoever makes nodes puts it there
 * (kubelet --register-with-taints, the cluster autoscaler's node groups); the agent takes it away. Other taints stay as they are.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../core/log.ts';
import { ApiError } from '../kube/api-client.ts';
import type { ApiClient } from '../kube/api-client.ts';
import { list, record } from '../mesh/parse/json.ts';

export interface NodeTaintOptions {
  readonly client: ApiClient;
  readonly node: string;
  /** Its key. */
  readonly taint: string;
  readonly log: Logger;
  readonly isReady: () => boolean;
}

const POLL_MS = 200;
const RETRY_MS = 2_000;
/** A node that is registered anew has its taint again. */
const CHECK_EVERY_MS = 30_000;
const CONFLICT = 409;

export class NodeTaint {
  readonly #options: NodeTaintOptions;
  readonly #closing = new AbortController();
  #complaint = '';

  constructor(options: NodeTaintOptions) {
    this.#options = options;
    void this.#run();
  }

  close(): void {
    this.#closing.abort();
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) await sleep(this.#options.isReady() ? await this.#remove() : POLL_MS, undefined, { signal, ref: false }).catch(() => undefined);
  }

  /** How long until the next look. */
  async #remove(): Promise<number> {
    const { client, node, taint, log } = this.#options;
    const { signal } = this.#closing;
    const path = `/api/v1/nodes/${encodeURIComponent(node)}`;
    try {
      const { metadata, spec } = await client.send(path, { signal });
      const taints = list(record(spec)['taints']);
      const others = taints.filter(({ key }) => key !== taint);
      this.#complaint = '';
      if (others.length === taints.length) return CHECK_EVERY_MS;
      // Of the version that was read: a taint that somebody has put there meanwhile must not be lost.
      const { resourceVersion } = record(metadata);
      await client.send(path, { method: 'PATCH', body: { metadata: { resourceVersion }, spec: { taints: others.length === 0 ? null : others } }, signal });
      log.info({ node, taint }, 'the agent is ready: the node takes pods now');
      return CHECK_EVERY_MS;
    } catch (error) {
      if (error instanceof ApiError && error.status === CONFLICT) return POLL_MS;
      const reason = error instanceof Error ? error.message : String(error);
      if (!signal.aborted && this.#complaint !== reason) log.warn({ node, taint, reason }, 'the taint of the node cannot be taken away; tried again');
      this.#complaint = reason;
      return RETRY_MS;
    }
  }
}
