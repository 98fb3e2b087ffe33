/**
 * Which replica takes the steps that only one may take: the holder of a Lease (coordination.k8s.io/v1), as client-go elects. Clocks of machines are
 * not compared: a lease has ended when it has not been renewed for its length of this process's own time.
 */
import type { Clock, Timer } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Random } from '../core/random.ts';
import { ApiError, unlessMissing } from '../kube/api-client.ts';
import type { ApiClient, ApiObject } from '../kube/api-client.ts';

/** The one of the replicas that changes what all of them share. */
export interface Leader {
  readonly leads: boolean;
}

export interface LeadershipOptions {
  readonly client: ApiClient;
  readonly namespace: string;
  readonly name: string;
  /** This replica: the name of its pod. */
  readonly identity: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/** client-go's LeaseDuration, RenewDeadline and RetryPeriod. */
const LEASE_MS = 15_000;
const DEADLINE_MS = 10_000;
const RETRY_MS = 2_000;

interface LeaseSpec {
  readonly holderIdentity?: string;
  readonly leaseDurationSeconds?: number;
  readonly acquireTime?: string;
  readonly renewTime?: string;
  readonly leaseTransitions?: number;
}

export class Leadership implements Leader {
  readonly #options: LeadershipOptions;
  #renewedMs = -Infinity;
  /** Another's lease as it was last seen changed. */
  #seen = '';
  #seenMs = 0;
  #timer: Timer | undefined;
  #ledBefore = false;
  #closed = false;

  constructor(options: LeadershipOptions) {
    this.#options = options;
  }

  /** Resolves after the first try. */
  async start(): Promise<void> {
    await this.#try();
  }

  /** No longer than the deadline after the last renewal: then another may be about to take over. */
  get leads(): boolean {
    return this.#options.clock.nowMs() - this.#renewedMs < DEADLINE_MS;
  }

  /** The lease is given up, so that another need not wait for its end. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    if (!this.leads) return;
    this.#renewedMs = -Infinity;
    try {
      const lease = await this.#options.client.send(this.#path);
      if (specOf(lease).holderIdentity === this.#options.identity) await this.#write(lease, { ...specOf(lease), holderIdentity: '', leaseDurationSeconds: 1 });
    } catch {
      // It ends by itself.
    }
  }

  async #try(): Promise<void> {
    const { log, clock, random, identity } = this.#options;
    const sinceMs = clock.nowMs();
    try {
      this.#renewedMs = (await this.#acquire()) ? sinceMs : -Infinity;
    } catch (error) {
      // A conflict means that another was faster.
      if (!(error instanceof ApiError) || error.status !== 409) log.debug({ error: error instanceof Error ? error.message : String(error) }, 'the lease could not be renewed');
    }
    if (this.leads !== this.#ledBefore) log.info({ identity }, this.leads ? 'this replica leads' : 'this replica no longer leads');
    this.#ledBefore = this.leads;
    if (!this.#closed) {
      this.#timer = clock.after(RETRY_MS * (1 + random.next() / 5), () => {
        void this.#try();
      });
    }
  }

  /** True when the lease is ours from now on. */
  async #acquire(): Promise<boolean> {
    const { client, identity, clock } = this.#options;
    const now = microTime(clock.wallMs());
    const lease = await unlessMissing(client.send(this.#path));
    const fresh = { holderIdentity: identity, leaseDurationSeconds: LEASE_MS / 1000, acquireTime: now, renewTime: now };
    if (lease === undefined) {
      const { namespace, name } = this.#options;
      await client.send(this.#collection, { method: 'POST', body: { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { namespace, name }, spec: { ...fresh, leaseTransitions: 0 } } });
      return true;
    }
    const spec = specOf(lease);
    if (spec.holderIdentity === identity) {
      await this.#write(lease, { ...spec, renewTime: now });
      return true;
    }
    if (!this.#hasEnded(spec)) return false;
    await this.#write(lease, { ...fresh, leaseTransitions: (spec.leaseTransitions ?? 0) + 1 });
    return true;
  }

  #hasEnded(spec: LeaseSpec): boolean {
    if ((spec.holderIdentity ?? '') === '') return true;
    const nowMs = this.#options.clock.nowMs();
    const seen = `${spec.holderIdentity ?? ''} ${spec.renewTime ?? ''}`;
    if (seen !== this.#seen) {
      this.#seen = seen;
      this.#seenMs = nowMs;
    }
    return nowMs - this.#seenMs >= (spec.leaseDurationSeconds ?? LEASE_MS / 1000) * 1000;
  }

  async #write(lease: ApiObject, spec: LeaseSpec): Promise<void> {
    await this.#options.client.send(this.#path, { method: 'PUT', body: { ...lease, spec } });
  }

  get #collection(): string {
    return `/apis/coordination.k8s.io/v1/namespaces/${this.#options.namespace}/leases`;
  }

  get #path(): string {
    return `${this.#collection}/${this.#options.name}`;
  }
}

function specOf({ spec }: ApiObject): LeaseSpec {
  return spec ?? {};
}

/** meta/v1 MicroTime. */
function microTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z');
}
