/**
 * A directory of YAML as the source of truth. Read whole whenever something in it changes; what is wrong with it is told, and
 * the objects that were good before stay in force.
 */
import { watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import type { Logger } from '../core/log.ts';
import { Watch } from '../core/watch.ts';
import { configDigest } from '../mesh/config-digest.ts';
import { buildSnapshot } from '../mesh/build.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { ConfigSource } from './config-source.ts';
import { ProblemLog } from './problem-log.ts';
import { readConfigDir } from './read-config.ts';

/** Editors and `kubectl`-like tools write in several steps; they are read once they have been quiet for so long. */
const SETTLE_MS = 20;
/** A watch can miss changes (a replaced directory, a network file system), so the directory is looked at anyway. */
const RESCAN_MS = 5_000;

export class ConfigDir implements ConfigSource {
  readonly snapshot: Watch<Snapshot | undefined> = new Watch<Snapshot | undefined>(undefined);
  readonly #directory: string;
  readonly #log: Logger;
  #digest = '';
  #watcher: FSWatcher | undefined;
  #settle: NodeJS.Timeout | undefined;
  #rescan: NodeJS.Timeout | undefined;
  readonly #problems: ProblemLog;
  #unreadable: string | undefined;

  /** Throws when the directory cannot be read at all. */
  constructor(directory: string, log: Logger) {
    this.#directory = directory;
    this.#log = log;
    this.#problems = new ProblemLog(log);
    this.#read();
    this.#watch();
    this.#rescan = setInterval(() => this.#reread(), RESCAN_MS);
    this.#rescan.unref();
  }

  /** Of the files as they were last read: who wrote them can tell when they are in force. */
  get digest(): string {
    return this.#digest;
  }

  get stale(): string | undefined {
    return this.#unreadable;
  }

  close(): void {
    this.#watcher?.close();
    clearTimeout(this.#settle);
    clearInterval(this.#rescan);
  }

  #watch(): void {
    try {
      this.#watcher = watch(this.#directory, { persistent: false, recursive: false }, () => this.#changed());
      this.#watcher.on('error', (error) => {
        this.#log.warn({ directory: this.#directory, error: error.message }, 'the directory cannot be watched; it is read every few seconds');
      });
    } catch (error) {
      this.#log.warn({ directory: this.#directory, error: String(error) }, 'the directory cannot be watched; it is read every few seconds');
    }
  }

  #changed(): void {
    clearTimeout(this.#settle);
    this.#settle = setTimeout(() => this.#reread(), SETTLE_MS);
  }

  #reread(): void {
    try {
      this.#read();
      this.#unreadable = undefined;
    } catch (error) {
      this.#unreadable = `${this.#directory} cannot be read`;
      this.#log.error({ directory: this.#directory, error: String(error) }, 'the configuration cannot be read; the one before it stays in force');
    }
  }

  #read(): void {
    const files = readConfigDir(this.#directory);
    const digest = configDigest(files);
    if (digest === this.#digest) return;
    const snapshot = buildSnapshot(files, this.snapshot.get());
    this.#digest = digest;
    this.#problems.tell(snapshot.problems);
    this.snapshot.set(snapshot);
  }
}
