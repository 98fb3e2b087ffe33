/**
 * The API server of a cluster as the source of truth. Every kind is followed by a reflector of its own; what they know becomes a snapshot when
 * it has changed. While the server is away, what was known stays in force, also across a restart of the agent.
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock, Timer } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Random } from '../core/random.ts';
import { Watch } from '../core/watch.ts';
import { buildSnapshot } from '../mesh/build.ts';
import type { SourceObject } from '../mesh/build.ts';
import { record, texts } from '../mesh/parse/json.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import { Backoff } from './backoff.ts';
import type { ApiClient } from './api-client.ts';
import type { ConfigSource } from './config-source.ts';
import { LivePods } from './live-pods.ts';
import { installedKinds } from './mesh-kinds.ts';
import { ProblemLog } from './problem-log.ts';
import { Reflector } from './reflector.ts';
import type { StoredName, StoredObject } from './stored-object.ts';
import { controlScope, CRDS, groupsOf, nodeScope } from './resources.ts';
import type { Resource, Scope } from './resources.ts';
import { readSavedObjects, saveObjects } from './saved-objects.ts';

export interface ApiSourceOptions {
  readonly client: ApiClient;
  /** Whose agent follows; undefined: the control plane does ({@link controlScope}). */
  readonly node: string | undefined;
  /** Where the objects are kept for the next start; undefined: nowhere. */
  readonly savedPath: string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/** Changes come in bursts. */
const SETTLE_MS = 20;
/** Making snapshots takes at most a quarter of the time, however large the cluster is. */
const REST_PER_BUILD = 3;
/** An API server that has not told everything by then is taken to be away. */
const PATIENCE_MS = 5_000;
/** One that cannot even be asked is tried once more. */
const PATIENCE_AFTER_FAILURE_MS = 1_000;
const SAVE_AFTER_MS = 5_000;
const SAVE_EVERY_MS = 60_000;
const DISCOVERY_BACKOFF = { firstMs: 500, mostMs: 15_000 };

export class ApiSource implements ConfigSource {
  readonly snapshot: Watch<Snapshot | undefined> = new Watch<Snapshot | undefined>(undefined);
  /** An object whose status is kept has come or changed, if only its status; it is told by its collection and its name there. */
  readonly touched: Watch<StoredName | undefined> = new Watch<StoredName | undefined>(undefined);
  readonly livePods: LivePods;
  readonly #options: ApiSourceOptions;
  readonly #scope: Scope;
  readonly #problems: ProblemLog;
  readonly #crds: Reflector;
  readonly #core: readonly Reflector[];
  /** By path. */
  readonly #mesh = new Map<string, Reflector>();
  /** Paths of kinds whose objects should have a status, and cannot. */
  #mute: ReadonlySet<string> = new Set();
  readonly #discovery: Backoff;
  #discovered = false;
  #discoverTimer: Timer | undefined;
  #buildTimer: Timer | undefined;
  #saveTimer: Timer | undefined;
  #builtMs = -Infinity;
  #buildTookMs = 0;
  #savedMs = -Infinity;
  /** What keeps kinds from being followed, by path. */
  readonly #failures = new Map<string, string>();
  readonly #firstFailure = Promise.withResolvers<void>();
  #awaySinceMs: number | undefined;
  /** When the objects in force were saved, while they are those of an earlier agent. */
  #restoredMs: number | undefined;
  #digest = '';
  #closed = false;

  private constructor(options: ApiSourceOptions) {
    this.#options = options;
    this.#scope = options.node === undefined ? controlScope() : nodeScope(options.node);
    this.#problems = new ProblemLog(options.log);
    this.#discovery = new Backoff(DISCOVERY_BACKOFF, options.random);
    this.#core = this.#scope.core.map((resource) => this.#reflect(resource, () => this.#coreChanged()));
    const [pods, namespaces] = ['Pod', 'Namespace'].map((kind) => this.#core.find(({ resource }) => resource.kind === kind)) as [Reflector, Reflector];
    this.livePods = new LivePods(pods, namespaces, () => this.snapshot.get());
    this.#crds = this.#reflect(CRDS, () => this.#discoverAfter(SETTLE_MS));
  }

  /**
   * Follow the API server. Resolves when there is a snapshot: of what it tells, or of what an earlier agent saved, when it is away. As long as
   * there is neither, it is waited for.
   */
  static async open(options: ApiSourceOptions): Promise<ApiSource> {
    const source = new ApiSource(options);
    for (const reflector of [source.#crds, ...source.#core]) reflector.start();
    const told = source.#firstSnapshot();
    const late = Symbol('late');
    const away = source.#firstFailure.promise.then(async () => sleep(PATIENCE_AFTER_FAILURE_MS, late, { ref: false }));
    if ((await Promise.race([told, sleep(PATIENCE_MS, late, { ref: false }), away])) === late && !source.#restore()) {
      options.log.warn({ server: options.client.address, reason: source.#reason() }, 'the API server has not told everything yet, and no earlier agent saved anything; waiting for it');
      await told;
    }
    return source;
  }

  get digest(): string {
    return this.#digest;
  }

  get stale(): string | undefined {
    if (this.#awaySinceMs === undefined && this.#restoredMs === undefined) return undefined;
    const of = new Date(this.#restoredMs ?? this.#awaySinceMs ?? 0).toISOString();
    return `the API server ${this.#options.client.address} cannot be followed (${this.#reason()}); the configuration of ${of} is in force`;
  }

  close(): void {
    this.#closed = true;
    for (const timer of [this.#discoverTimer, this.#buildTimer, this.#saveTimer]) timer?.cancel();
    for (const reflector of [this.#crds, ...this.#core, ...this.#mesh.values()]) reflector.close();
    this.#options.client.close();
  }

  async #firstSnapshot(): Promise<void> {
    await new Promise<void>((resolve) => {
      const stop = this.snapshot.follow(() => {
        stop();
        resolve();
      });
    });
  }

  #reflect(resource: Resource, onChange: () => void): Reflector {
    const { client, clock, random } = this.#options;
    const onStored = (name: string): void => this.touched.set({ collection: resource.path, name });
    return new Reflector({ client, resource, clock, random, onChange, onStored, onHealth: (failure) => this.#health(resource.path, failure) });
  }

  /** Said once when the server goes away, and once when it is back. */
  #health(path: string, failure: string | undefined): void {
    const { log, client, clock } = this.#options;
    if (failure === undefined) this.#failures.delete(path);
    else this.#failures.set(path, failure);
    if (failure !== undefined) this.#firstFailure.resolve();
    if (failure !== undefined && this.#awaySinceMs === undefined) {
      this.#awaySinceMs = clock.wallMs();
      log.warn({ server: client.address, path, reason: failure }, 'the API server cannot be followed; what is in force stays so');
    } else if (this.#failures.size === 0 && this.#awaySinceMs !== undefined) {
      const awayMs = clock.wallMs() - this.#awaySinceMs;
      this.#awaySinceMs = undefined;
      log.info({ server: client.address, awayMs }, 'the API server is followed again');
    }
  }

  #reason(): string {
    const [first] = this.#failures;
    return first === undefined ? 'it has not told everything yet' : `${first[0]}: ${first[1]}`;
  }

  #coreChanged(): void {
    this.livePods.changed();
    this.#changed();
  }

  #changed(): void {
    if (this.#buildTimer !== undefined || this.#closed || !this.#isComplete()) return;
    const { clock } = this.#options;
    const restMs = this.#builtMs + this.#buildTookMs * REST_PER_BUILD - clock.nowMs();
    this.#buildTimer = clock.after(Math.max(SETTLE_MS, restMs), () => {
      this.#buildTimer = undefined;
      this.#build(this.#objects(), this.#version());
      this.#restoredMs = undefined;
      this.#saveSoon();
    });
  }

  /** A part of the objects could open what the others keep shut, so the first snapshot is made of all. */
  #isComplete(): boolean {
    if (this.snapshot.get() !== undefined && this.#restoredMs === undefined) return true;
    return this.#discovered && [...this.#core, ...this.#mesh.values()].every(({ synced }) => synced);
  }

  /** The objects whose status is kept, and can be written, as they are known now. */
  *stored(): Generator<StoredObject, void, undefined> {
    for (const [path, reflector] of this.#mesh) if (reflector.resource.withStatus === true && !this.#mute.has(path)) yield* reflector.stored();
  }

  /** Of the definition of a kind, by the name under which it is known here; undefined: it is not installed. */
  annotations(kind: string): Readonly<Record<string, string>> | undefined {
    const followed = [...this.#mesh.values()].find(({ resource }) => resource.kind === kind);
    if (followed === undefined) return undefined;
    const [group = '', , plural = ''] = followed.resource.path.split('/').slice(2);
    return texts(record(this.#crds.get(`CustomResourceDefinition ${plural}.${group}`)?.value['metadata'])['annotations']);
  }

  /** One of them; undefined when it is not there. */
  find({ collection, name }: StoredName): StoredObject | undefined {
    return this.#mesh.get(collection)?.find(name);
  }

  *#objects(): Generator<SourceObject, void, undefined> {
    for (const { objects } of [...this.#core, ...this.#mesh.values()]) yield* objects;
  }

  #version(): string {
    return [...this.#core, ...this.#mesh.values()].map(({ resource, version }) => `${resource.path} ${version}\n`).sort().join('');
  }

  #build(objects: Iterable<SourceObject>, version: string): void {
    const { clock } = this.#options;
    const sinceMs = clock.nowMs();
    const snapshot = buildSnapshot(objects, this.snapshot.get());
    this.#digest = createHash('sha256').update(version).digest('hex');
    this.#problems.tell(snapshot.problems);
    this.snapshot.set(snapshot);
    this.#builtMs = clock.nowMs();
    this.#buildTookMs = this.#builtMs - sinceMs;
  }

  #discoverAfter(delayMs: number): void {
    this.#discoverTimer?.cancel();
    if (this.#closed) return;
    this.#discoverTimer = this.#options.clock.after(delayMs, () => {
      void this.#discover();
    });
  }

  /** Kinds come and go with their CRDs. One that is new is served some time after its CRD is there. */
  async #discover(): Promise<void> {
    try {
      const { resources, mute, crds } = await installedKinds(this.#options.client, this.#scope, new Set(this.#mesh.keys()));
      if (this.#closed) return;
      this.#follow(resources);
      this.#tellMute(mute);
      this.#discovered = true;
      this.#health('/apis', undefined);
      this.#changed();
      if (mute.length === 0 && this.#crdNames().every((name) => crds.has(name))) this.#discovery.reset();
      else this.#discoverAfter(this.#discovery.nextMs());
    } catch (error) {
      this.#health('/apis', error instanceof Error ? error.message : String(error));
      this.#discoverAfter(this.#discovery.nextMs());
    }
  }

  #crdNames(): string[] {
    const groups = groupsOf(this.#scope.kinds);
    return [...this.#crds.objects].map(({ value }) => String((value['metadata'] as { name?: unknown }).name)).filter((name) => groups.some((group) => name.endsWith(`.${group}`)));
  }

  #follow(resources: readonly Resource[]): void {
    const paths = new Set(resources.map(({ path }) => path));
    for (const [path, reflector] of this.#mesh) {
      if (paths.has(path)) continue;
      reflector.close();
      this.#mesh.delete(path);
      this.#health(path, undefined);
    }
    for (const resource of resources) {
      if (this.#mesh.has(resource.path)) continue;
      const reflector = this.#reflect(resource, () => this.#changed());
      this.#mesh.set(resource.path, reflector);
      reflector.start();
    }
    this.#options.log.debug({ kinds: resources.map(({ kind }) => kind) }, 'kinds of the mesh that are followed');
  }

  /** Nobody would notice otherwise that nothing is said of their objects. */
  #tellMute(resources: readonly Resource[]): void {
    for (const { kind, path } of resources) {
      if (!this.#mute.has(path)) this.#options.log.warn({ kind, path }, 'objects of this kind get no status, because its CustomResourceDefinition has no status subresource: add subresources: {status: {}} to its versions');
    }
    this.#mute = new Set(resources.map(({ path }) => path));
  }

  /** What an earlier agent saved; false when there is nothing. */
  #restore(): boolean {
    const { savedPath, log, client } = this.#options;
    if (savedPath === undefined) return false;
    try {
      const saved = readSavedObjects(savedPath);
      if (saved === undefined) return false;
      this.#restoredMs = saved.savedMs;
      this.#build(saved.objects, `saved ${saved.savedMs}`);
      log.warn({ server: client.address, reason: this.#reason(), of: new Date(saved.savedMs).toISOString(), objects: saved.objects.length }, 'the API server is away; what an earlier agent saved is in force');
      return true;
    } catch (error) {
      log.error({ file: savedPath, error: error instanceof Error ? error.message : String(error) }, 'what an earlier agent saved cannot be used');
      return false;
    }
  }

  #saveSoon(): void {
    const { savedPath, clock } = this.#options;
    if (savedPath === undefined || this.#saveTimer !== undefined) return;
    this.#saveTimer = clock.after(Math.max(SAVE_AFTER_MS, this.#savedMs + SAVE_EVERY_MS - clock.nowMs()), () => {
      void this.#save(savedPath).finally(() => {
        this.#saveTimer = undefined;
      });
    });
  }

  async #save(path: string): Promise<void> {
    const { clock, log } = this.#options;
    this.#savedMs = clock.nowMs();
    try {
      await saveObjects(path, this.snapshot.get()?.objects ?? {}, clock.wallMs());
    } catch (error) {
      log.warn({ file: path, error: error instanceof Error ? error.message : String(error) }, 'the configuration could not be saved; an agent that starts while the API server is away will wait for it');
    }
  }
}
