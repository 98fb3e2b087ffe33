/**
 * The objects of one kind, as the API server has them: listed once, then followed by a watch that is resumed where it ended. What was known
 * stays known while the server is away, and while a list is under way (kubernetes.io/docs/reference/using-api/api-concepts, "Efficient
 * detection of changes").
 */
import { isDeepStrictEqual } from 'node:util';
import { pause } from '../core/clock.ts';
import type { Clock } from '../core/clock.ts';
import type { Random } from '../core/random.ts';
import type { SourceObject } from '../mesh/build.ts';
import { record, text } from '../mesh/parse/json.ts';
import { ApiError } from './api-client.ts';
import type { ApiClient, ApiObject, Query } from './api-client.ts';
import { Backoff } from './backoff.ts';
import type { Resource } from './resources.ts';
import type { StoredObject } from './stored-object.ts';

/** An object as it is kept. */
interface Kept extends SourceObject {
  readonly version: string;
  /** Where its kind has the status kept. */
  readonly stored: Pick<StoredObject, 'generation' | 'status'> | undefined;
}

interface Event {
  readonly type: string;
  readonly object: ApiObject;
}

export interface ReflectorOptions {
  readonly client: ApiClient;
  readonly resource: Resource;
  readonly clock: Clock;
  readonly random: Random;
  /** An object has come, changed or gone, or all of them have been listed. */
  readonly onChange: () => void;
  /** An object whose status is kept has come or changed, if only its status. */
  readonly onStored?: (name: string) => void;
  /** The server has answered (undefined), or why it has not. */
  readonly onHealth: (failure: string | undefined) => void;
}

/** Objects in one answer: a bound for the memory that a list takes on either side. */
const CHUNK_OBJECTS = 500;
/** The server ends a watch after a random part of this, so that not all of them begin again together. */
const WATCH_SECONDS = { least: 300, most: 600 };
/** What a watch may overstay before it is given up: a server that was frozen does not end it. */
const WATCH_GRACE_MS = 30_000;
/** A watch that ends sooner, and brought nothing, was none. */
const WATCH_LEAST_MS = 1_000;
const BACKOFF = { firstMs: 500, mostMs: 15_000 };
const GONE = 410;
const NOT_FOUND = 404;

/** The resource version is too old to go on from: everything is listed anew. */
class Expired extends Error {}

export class Reflector {
  readonly resource: Resource;
  readonly #options: ReflectorOptions;
  readonly #backoff: Backoff;
  readonly #closing = new AbortController();
  #objects = new Map<string, Kept>();
  /** To watch from; undefined: everything is to be listed. */
  #version: string | undefined;
  #synced = false;

  constructor(options: ReflectorOptions) {
    this.resource = options.resource;
    this.#options = options;
    this.#backoff = new Backoff(BACKOFF, options.random);
  }

  /** Has everything been listed once? */
  get synced(): boolean {
    return this.#synced;
  }

  /** Of the collection, as `objects` have it. */
  get version(): string {
    return this.#version ?? '';
  }

  get objects(): Iterable<SourceObject> {
    return this.#objects.values();
  }

  /** By its name in a snapshot: `Pod ns/name`. */
  get(name: string): SourceObject | undefined {
    return this.#objects.get(name);
  }

  /** With their status, where it is kept. */
  *stored(): Generator<StoredObject, void, undefined> {
    for (const name of this.#objects.keys()) {
      const found = this.find(name);
      if (found !== undefined) yield found;
    }
  }

  find(name: string): StoredObject | undefined {
    const kept = this.#objects.get(name);
    if (kept?.stored === undefined) return undefined;
    const { path: collection } = this.resource;
    return { collection, name, path: pathOf(collection, kept.value), value: kept.value, version: kept.version, ...kept.stored };
  }

  start(): void {
    void this.#run();
  }

  close(): void {
    this.#closing.abort();
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        if (this.#version === undefined) await this.#list();
        await this.#watch(this.#version ?? '');
      } catch (error) {
        if (!signal.aborted) await this.#recover(error);
      }
    }
  }

  async #recover(error: unknown): Promise<void> {
    const { onHealth } = this.#options;
    if (error instanceof Expired) {
      this.#version = undefined;
      // Not at once: a server that calls even fresh versions expired would be listed in a loop.
      await this.#wait(this.#backoff.nextMs());
    } else if (error instanceof ApiError && error.status === NOT_FOUND) {
      // The kind itself is not there (any more), and took its objects along.
      this.#version = undefined;
      this.#replace(new Map());
      onHealth(undefined);
      await this.#wait(BACKOFF.mostMs);
    } else {
      onHealth(error instanceof Error ? error.message : String(error));
      await this.#wait(Math.max(this.#backoff.nextMs(), error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0));
    }
  }

  /** All objects in chunks; they take the place of those known when the last of them is here. */
  async #list(): Promise<void> {
    const objects = new Map<string, Kept>();
    let token = '';
    let version: string;
    do {
      const list = await this.#chunk(token);
      // Null in an empty list of metadata.
      for (const item of (list['items'] ?? []) as ApiObject[]) {
        const kept = this.#keep(item);
        objects.set(kept.name, kept);
      }
      token = text(record(list['metadata'])['continue']);
      version = versionOf(list);
    } while (token !== '');
    this.#version = version;
    this.#replace(objects);
    this.#options.onHealth(undefined);
  }

  async #chunk(token: string): Promise<ApiObject> {
    const { client, resource } = this.#options;
    const query: Query = { ...resource.query, limit: CHUNK_OBJECTS, continue: token === '' ? undefined : token };
    try {
      return await client.send(resource.path, { query, accept: acceptOf(resource, 'PartialObjectMetadataList'), signal: this.#closing.signal });
    } catch (error) {
      // The token of a list that took too long has expired.
      throw isGone(error) ? new Expired() : error;
    }
  }

  /** Resolves when the server ends the watch in its time. */
  async #watch(version: string): Promise<void> {
    const { client, resource, random, clock, onHealth } = this.#options;
    const seconds = Math.round(WATCH_SECONDS.least + random.next() * (WATCH_SECONDS.most - WATCH_SECONDS.least));
    const query: Query = { ...resource.query, watch: true, allowWatchBookmarks: true, resourceVersion: version, timeoutSeconds: seconds };
    const late = new AbortController();
    const timer = clock.after(seconds * 1000 + WATCH_GRACE_MS, () => late.abort());
    const sinceMs = clock.nowMs();
    let events = 0;
    try {
      const lines = client.lines(resource.path, { query, accept: acceptOf(resource, 'PartialObjectMetadata'), signal: AbortSignal.any([this.#closing.signal, late.signal]) }, () => onHealth(undefined));
      for await (const line of lines) {
        this.#take(JSON.parse(line) as Event);
        events += 1;
        this.#backoff.reset();
      }
    } catch (error) {
      if (!late.signal.aborted) throw isGone(error) ? new Expired() : error;
    } finally {
      timer.cancel();
    }
    if (events === 0 && clock.nowMs() - sinceMs < WATCH_LEAST_MS) throw new Error('the API server ended a watch at once');
  }

  #take({ type, object }: Event): void {
    if (type === 'ERROR') throw Number(object['code']) === GONE ? new Expired() : new ApiError(Number(object['code']), text(object['reason']), text(object['message']));
    const hasChanged = type !== 'BOOKMARK' && this.#change(type, object);
    this.#version = versionOf(object);
    if (hasChanged) this.#options.onChange();
  }

  /** False: nothing of what is kept is different. Most changes of pods are such: the kubelet's reports, and what agents tell them. */
  #change(type: string, object: ApiObject): boolean {
    const kept = this.#keep(object);
    const known = this.#objects.get(kept.name);
    if (type === 'DELETED') return this.#objects.delete(kept.name);
    this.#objects.set(kept.name, kept);
    if (kept.stored !== undefined) this.#options.onStored?.(kept.name);
    return kept.value !== known?.value;
  }

  /** An object that is as it was stays the same value, so that nothing of it is looked at again. */
  #keep(item: ApiObject): Kept {
    const { resource } = this.#options;
    const name = nameOf(resource.kind, item);
    const version = versionOf(item);
    const known = this.#objects.get(name);
    if (known?.version === version) return known;
    const value = resource.keep(item);
    const stored = resource.withStatus === true ? { generation: Number(record(item['metadata'])['generation'] ?? 0), status: record(item['status']) } : undefined;
    return { name, version, value: isDeepStrictEqual(value, known?.value) ? (known?.value ?? value) : value, stored };
  }

  #replace(objects: Map<string, Kept>): void {
    this.#objects = objects;
    this.#synced = true;
    this.#options.onChange();
  }

  async #wait(delayMs: number): Promise<void> {
    await pause(this.#options.clock, delayMs, this.#closing.signal);
  }
}

/** The API server takes the one form for lists and the other for watches. */
function acceptOf({ metadataOnly }: Resource, form: 'PartialObjectMetadataList' | 'PartialObjectMetadata'): string {
  return metadataOnly === true ? `application/json;as=${form};g=meta.k8s.io;v=v1` : 'application/json';
}

function isGone(error: unknown): boolean {
  return error instanceof ApiError && error.status === GONE;
}

function versionOf({ metadata }: ApiObject): string {
  return text(record(metadata)['resourceVersion']);
}

function pathOf(collection: string, { metadata }: ApiObject): string {
  const { name, namespace } = record(metadata);
  const slash = collection.lastIndexOf('/');
  return namespace === undefined ? `${collection}/${text(name)}` : `${collection.slice(0, slash)}/namespaces/${text(namespace)}${collection.slice(slash)}/${text(name)}`;
}

/** As a snapshot calls it: `Pod ns/name`. */
function nameOf(kind: string, { metadata }: ApiObject): string {
  const { name, namespace } = record(metadata);
  return namespace === undefined ? `${kind} ${text(name)}` : `${kind} ${text(namespace)}/${text(name)}`;
}
