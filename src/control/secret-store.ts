/** The keys of the CA in a Secret of the cluster, which all replicas of the control plane sign from. */
import type { CaState, SharedCaStore } from '../certs/ca-state.ts';
import { StoreConflict } from '../certs/ca-state.ts';
import { CA_STATE_BYTES_MAX } from '../core/limits.ts';
import { ApiError, unlessMissing } from '../kube/api-client.ts';
import type { ApiClient, ApiObject } from '../kube/api-client.ts';
import type { Leader } from './leadership.ts';

const KEY = 'state.json';

export class SecretStore implements SharedCaStore {
  readonly #client: ApiClient;
  readonly #namespace: string;
  readonly #name: string;
  readonly #leader: Leader;
  /** Of the Secret as it was last loaded or saved; undefined: there is none. */
  #version: string | undefined;

  constructor(client: ApiClient, { namespace, name }: { readonly namespace: string; readonly name: string }, leader: Leader) {
    this.#client = client;
    this.#namespace = namespace;
    this.#name = name;
    this.#leader = leader;
  }

  get leads(): boolean {
    return this.#leader.leads;
  }

  async load(): Promise<CaState | undefined> {
    const secret = await unlessMissing(this.#client.send(this.#path));
    this.#version = secret === undefined ? undefined : versionOf(secret);
    if (secret === undefined) return undefined;
    const encoded = (secret['data'] as Readonly<Record<string, string>> | undefined)?.[KEY];
    if (encoded === undefined) throw new Error(`the Secret ${this.#namespace}/${this.#name} does not hold the keys of a CA; remove it, and new ones are made`);
    return JSON.parse(Buffer.from(encoded, 'base64').toString()) as CaState;
  }

  /** Rejects with a {@link StoreConflict} when another replica has changed it since it was loaded. */
  async save(state: CaState): Promise<void> {
    const text = Buffer.from(JSON.stringify(state));
    if (text.length > CA_STATE_BYTES_MAX) throw new Error(`the state of the CA has ${text.length} bytes; ${CA_STATE_BYTES_MAX} is the limit`);
    const metadata = { name: this.#name, namespace: this.#namespace, ...(this.#version === undefined ? {} : { resourceVersion: this.#version }) };
    const body = { apiVersion: 'v1', kind: 'Secret', type: 'orlop.io/ca', metadata, data: { [KEY]: text.toString('base64') } };
    try {
      const saved = await (this.#version === undefined ? this.#client.send(this.#collection, { method: 'POST', body }) : this.#client.send(this.#path, { method: 'PUT', body }));
      this.#version = versionOf(saved);
    } catch (error) {
      if (error instanceof ApiError && error.status === 409) throw new StoreConflict('another replica has changed the keys of the CA', { cause: error });
      throw error;
    }
  }

  get #collection(): string {
    return `/api/v1/namespaces/${this.#namespace}/secrets`;
  }

  get #path(): string {
    return `${this.#collection}/${this.#name}`;
  }
}

function versionOf({ metadata }: ApiObject): string {
  return (metadata as { readonly resourceVersion: string }).resourceVersion;
}
