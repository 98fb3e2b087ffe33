/**
 * Secrets and ConfigMaps that gateways take certificates from, as they are now. They are asked for one by one, by name: what may be read can so be left to
 * roles of the namespaces that have gateways, and nothing can be listed. In memory only.
 */
import { createHash } from 'node:crypto';
import { readCredential } from '../certs/credential.ts';
import type { Credential } from '../certs/credential.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { CREDENTIALS_MAX } from '../core/limits.ts';
import type { Logger } from '../core/log.ts';
import { ApiError, isMissing } from '../kube/api-client.ts';
import type { ApiClient } from '../kube/api-client.ts';
import { dataOf, readSecretFiles } from '../kube/secret-files.ts';
import { gatewaysOf } from '../mesh/gateway/compile.ts';
import { KeptTables } from '../mesh/gateway/kept-tables.ts';
import { isPlacedOn, placementOf } from '../mesh/gateway/placement.ts';
import type { Placement } from '../mesh/gateway/placement.ts';
import { isObject, sourcesOf } from '../mesh/gateway/sources.ts';
import type { GatewayId } from '../mesh/gateway/table.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { ObjectRef } from '../mesh/table.ts';
import type { CredentialBook } from './credential-service.ts';

/** What an object holds; a string: why that is not known. Undefined: that cannot be told now, and what was known stays. */
export type ReadObject = (ref: ObjectRef) => Promise<Readonly<Record<string, string>> | string | undefined>;

export interface GatewayCredentialsOptions {
  readonly read: ReadObject;
  readonly standalone: boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

/** How soon a rotation is noticed. */
const EVERY_MS = 3_000;
/** Requests under way at a time. */
const AT_A_TIME = 8;

interface Placed {
  readonly placement: Placement;
  readonly sources: ReadonlySet<string>;
}

interface Entry {
  readonly ref: ObjectRef;
  /** Of its data as last read. */
  digest: string;
  credential: Credential | string | undefined;
}

export class GatewayCredentials implements CredentialBook {
  readonly #options: GatewayCredentialsOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #tables = new KeptTables();
  readonly #followers = new Set<() => void>();
  #gateways: readonly Placed[] = [];
  #nodeLabels: Snapshot['nodeLabels'] = {};
  #timer: Timer | undefined;
  #isFull = false;
  #reading = false;
  #again = false;
  #closed = false;

  constructor(options: GatewayCredentialsOptions) {
    this.#options = options;
  }

  /** The gateways may name other objects now, or be on other nodes. */
  apply(snapshot: Snapshot): void {
    const refs = new Map<string, ObjectRef>();
    this.#nodeLabels = snapshot.nodeLabels;
    this.#gateways = gatewaysOf(snapshot).map((id) => this.#placed(id, snapshot, refs));
    for (const source of this.#entries.keys()) if (!refs.has(source)) this.#entries.delete(source);
    let isNew = false;
    for (const [source, ref] of refs) {
      if (this.#entries.has(source)) continue;
      if (this.#entries.size >= CREDENTIALS_MAX) {
        if (!this.#isFull) this.#options.log.error({ source, max: CREDENTIALS_MAX }, 'gateways name more Secrets and ConfigMaps than are kept; this one and others are not read');
        this.#isFull = true;
        break;
      }
      this.#entries.set(source, { ref, digest: '', credential: undefined });
      isNew = true;
    }
    this.#tell();
    if (isNew) void this.#read();
  }

  sourcesOf(node: string): ReadonlySet<string> {
    const labels = this.#nodeLabels[node];
    return new Set(this.#gateways.filter(({ placement }) => isPlacedOn(placement, labels)).flatMap(({ sources }) => [...sources]));
  }

  get(source: string): Credential | string | undefined {
    return this.#entries.get(source)?.credential;
  }

  follow(fn: () => void): () => void {
    this.#followers.add(fn);
    return () => this.#followers.delete(fn);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #placed(id: GatewayId, snapshot: Snapshot, refs: Map<string, ObjectRef>): Placed {
    const placement = placementOf(id, snapshot, this.#options.standalone);
    const table = this.#tables.of(snapshot, id);
    const sources = new Set<string>();
    for (const [key, source] of table === undefined ? [] : sourcesOf(table)) {
      if (!isObject(source)) continue;
      sources.add(key);
      refs.set(key, source);
    }
    return { placement, sources };
  }

  async #read(): Promise<void> {
    this.#again = true;
    if (this.#reading) return;
    this.#reading = true;
    this.#timer?.cancel();
    while (this.#again && !this.#closed) {
      this.#again = false;
      const waiting = [...this.#entries];
      const takeTurns = async (): Promise<void> => {
        for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) await this.#readOne(...next);
      };
      await Promise.all(Array.from({ length: AT_A_TIME }, takeTurns));
    }
    this.#reading = false;
    if (!this.#closed && this.#entries.size > 0) {
      this.#timer = this.#options.clock.after(EVERY_MS, () => {
        void this.#read();
      });
    }
  }

  async #readOne(source: string, entry: Entry): Promise<void> {
    const { read, log } = this.#options;
    const data = await read(entry.ref);
    if (data === undefined) return;
    const digest = createHash('sha256').update(JSON.stringify(data)).digest('base64');
    if (digest === entry.digest) return;
    entry.digest = digest;
    entry.credential = typeof data === 'string' ? data : readCredential(data);
    if (typeof entry.credential === 'string') log.warn({ source, reason: entry.credential }, 'gateways that name it have no certificate from it');
    else log.info({ source }, 'certificates for gateways were read');
    this.#tell();
  }

  #tell(): void {
    for (const follow of this.#followers) follow();
  }
}

/** Out of a cluster. */
export function readFromCluster(client: ApiClient, log: Logger): ReadObject {
  let told = '';
  return async ({ kind, namespace, name }) => {
    try {
      const object = await client.send(`/api/v1/namespaces/${encodeURIComponent(namespace)}/${kind === 'Secret' ? 'secrets' : 'configmaps'}/${encodeURIComponent(name)}`);
      return dataOf({ ...object, kind });
    } catch (error) {
      if (isMissing(error)) return `there is no ${kind} ${namespace}/${name}`;
      if (error instanceof ApiError && error.status === 403) return `the control plane may not read ${kind} ${namespace}/${name}: let it by a Role of the namespace`;
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== told) log.warn({ reason }, 'certificates of gateways cannot be read now; those that are known stay in use');
      told = reason;
      return undefined;
    }
  };
}

/** Out of a configuration directory. */
export function readFromDirectory(directory: string): ReadObject {
  return async ({ kind, namespace, name }) => {
    try {
      return readSecretFiles(directory).get(`${kind} ${namespace}/${name}`) ?? `there is no ${kind} ${namespace}/${name}`;
    } catch {
      return undefined;
    }
  };
}
