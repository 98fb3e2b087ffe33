/** Objects of a cluster of any kind: looked at, applied on the server's side, removed. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiError, unlessMissing } from '../kube/api-client.ts';
import type { ApiClient, ApiObject, ApiRequest, Query } from '../kube/api-client.ts';
import { chunksOf } from './chunks.ts';
import { FIELD_MANAGER, nameOf } from './manifest.ts';
import type { Manifest } from './manifest.ts';

interface Kind {
  readonly plural: string;
  readonly namespaced: boolean;
}

export interface ApplyOptions {
  /** Ask the API server what would become of it, and change nothing. */
  readonly dryRun?: boolean;
  /** Take over fields that others have set to something else. */
  readonly force?: boolean;
}

/** For so long a request is repeated that the server asks to be repeated: a kind whose definition is new is not there at once. */
const PATIENCE_MS = 30_000;

export class ClusterObjects {
  readonly client: ApiClient;
  readonly #kinds = new Map<string, ReadonlyMap<string, Kind>>();

  constructor(client: ApiClient) {
    this.client = client;
  }

  /** Without the namespace that kustomize gives also to kinds that have none, when it does not know them. */
  async placed(object: Manifest): Promise<Manifest> {
    const known = (await this.#kindsOf(object.apiVersion)).get(object.kind);
    if (known === undefined || known.namespaced || object.metadata.namespace === undefined) return object;
    const { namespace: _, ...metadata } = object.metadata;
    return { ...object, metadata };
  }

  /** As it is in the cluster. */
  async get(object: Manifest): Promise<Manifest | undefined> {
    const path = await this.#path(object);
    return path === undefined ? undefined : ((await unlessMissing(this.#send(path))) as Manifest | undefined);
  }

  /** Server-side apply: fields that `object` names get its values, those that it named before and no longer does go; all others stay. */
  async apply(object: Manifest, { dryRun = false, force = false }: ApplyOptions = {}): Promise<Manifest> {
    const path = await this.#path(object);
    if (path === undefined) throw new Error(`${nameOf(object)}: the cluster does not know this kind (${object.apiVersion}); install what it belongs to, or leave the object out`);
    const query = { fieldManager: FIELD_MANAGER, force: force || undefined, dryRun: dryRun ? 'All' : undefined };
    return (await this.#send(path, { method: 'PATCH', query, body: object, contentType: 'application/apply-patch+yaml' })) as Manifest;
  }

  /** False when it was not there. What it owns goes after it. */
  async remove(object: Manifest, { uid = object.metadata.uid }: { uid?: string | undefined } = {}): Promise<boolean> {
    const path = await this.#path(object);
    if (path === undefined) return false;
    const body = { kind: 'DeleteOptions', apiVersion: 'v1', propagationPolicy: 'Background', ...(uid !== undefined && { preconditions: { uid } }) };
    return (await unlessMissing(this.#send(path, { method: 'DELETE', body }))) !== undefined;
  }

  /** Those of a kind that is installed, in all namespaces or in one. */
  async list(apiVersion: string, kind: string, { namespace, ...query }: Query & { readonly namespace?: string } = {}): Promise<Manifest[]> {
    const collection = await this.#collection(apiVersion, kind, namespace);
    const found = collection === undefined ? undefined : await unlessMissing(this.#send(collection, { query }));
    const { items = [] } = (found ?? {}) as { items?: readonly ApiObject[] };
    return items.map((item) => ({ ...item, apiVersion, kind }) as Manifest);
  }

  /** All of a kind that is installed, in parts; see {@link chunksOf}. */
  async *chunks(apiVersion: string, kind: string): AsyncGenerator<readonly Manifest[], void, undefined> {
    const collection = await this.#collection(apiVersion, kind, undefined);
    if (collection === undefined) return;
    for await (const items of chunksOf(async (path, options) => this.#send(path, options), collection)) yield items.map((item) => ({ ...item, apiVersion, kind }) as Manifest);
  }

  /** Members of its status, null for those that go; null: all of it goes. `object` is the version that this is for: rejects when it is another by now. */
  async writeStatus(object: Manifest, status: ApiObject | null): Promise<void> {
    const { metadata: { resourceVersion } } = object;
    await this.#send(`${(await this.#path(object)) ?? ''}/status`, { method: 'PATCH', query: { fieldManager: FIELD_MANAGER }, body: { metadata: { resourceVersion }, status } });
  }

  /** `daemonsets`; undefined when the cluster does not know the kind. */
  async pluralOf(apiVersion: string, kind: string): Promise<string | undefined> {
    return (await this.#kindsOf(apiVersion)).get(kind)?.plural;
  }

  /** The kinds may have changed. */
  forgetKinds(): void {
    this.#kinds.clear();
  }

  async #send(path: string, options: ApiRequest = {}): Promise<ApiObject> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      try {
        return await this.client.send(path, options);
      } catch (error) {
        const { retryAfterMs } = error instanceof ApiError ? error : { retryAfterMs: undefined };
        if (retryAfterMs === undefined || performance.now() + retryAfterMs > deadline) throw error;
        await sleep(retryAfterMs);
      }
    }
  }

  async #path({ apiVersion, kind, metadata: { namespace, name } }: Manifest): Promise<string | undefined> {
    const collection = await this.#collection(apiVersion, kind, namespace);
    return collection === undefined ? undefined : `${collection}/${encodeURIComponent(name)}`;
  }

  async #collection(apiVersion: string, kind: string, namespace: string | undefined): Promise<string | undefined> {
    const known = (await this.#kindsOf(apiVersion)).get(kind);
    if (known === undefined) return undefined;
    const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    return `${root}${known.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : ''}/${known.plural}`;
  }

  async #kindsOf(apiVersion: string): Promise<ReadonlyMap<string, Kind>> {
    const known = this.#kinds.get(apiVersion);
    if (known !== undefined) return known;
    const found = await unlessMissing(this.#send(apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`));
    const { resources = [] } = (found ?? {}) as { resources?: readonly { name: string; kind: string; namespaced: boolean }[] };
    const kinds = new Map(resources.filter(({ name }) => !name.includes('/')).map(({ name, kind, namespaced }) => [kind, { plural: name, namespaced }]));
    this.#kinds.set(apiVersion, kinds);
    return kinds;
  }
}
