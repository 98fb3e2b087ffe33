/**
 * The CNI plugin on the node: its program where runtimes look for it, and its entry in their configuration, for as long as they are wanted. Other
 * plugins write that configuration anew when they start; it is put right within milliseconds, and looked at from time to time in any case.
 */
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from '../core/log.ts';
import { configsWithEntry, ensureEntry, PROGRAM, removeEntry } from './cni-config.ts';
import type { CniEntry } from './cni-config.ts';

export interface CniDirectories {
  readonly confDirectory: string;
  readonly binDirectory: string;
}

export interface CniInstallOptions extends CniDirectories {
  /** The program to install. */
  readonly program: string;
  readonly entry: CniEntry;
  readonly log: Logger;
  /** The entry, or the program, was no longer as it should be, and has been put right. */
  readonly onRepaired: () => void;
}

/** Whoever writes a file in pieces is let finish. */
const SETTLE_MS = 10;
/** Two that write the same file in turns must not keep each other busy. */
const REPAIR_EVERY_MS = 1_000;
const CHECK_EVERY_MS = 30_000;

export class CniInstall {
  readonly #options: CniInstallOptions;
  readonly #check: NodeJS.Timeout;
  #watcher: FSWatcher | undefined;
  #due: NodeJS.Timeout | undefined;
  #installed = false;
  #repairedMs = -Infinity;
  #complaint = '';

  /** Install it; where there is no network configuration yet, as soon as there is one. */
  constructor(options: CniInstallOptions) {
    this.#options = options;
    this.#ensure();
    this.#watch();
    this.#check = setInterval(() => this.#ensure(), CHECK_EVERY_MS).unref();
  }

  /** Why new pods are not captured before they start; undefined when they are. */
  get missing(): string | undefined {
    return this.#installed ? undefined : this.#complaint;
  }

  /** Leave it as it is, for the next agent. */
  close(): void {
    this.#watcher?.close();
    clearInterval(this.#check);
    clearTimeout(this.#due);
  }

  /** Leave nothing of it. */
  remove(): void {
    this.close();
    const removed = cniLeftovers(this.#options, { remove: true });
    this.#options.log.info({ removed }, 'the CNI plugin is uninstalled');
  }

  #watch(): void {
    const { confDirectory, log } = this.#options;
    try {
      this.#watcher = watch(confDirectory, () => this.#soon());
      this.#watcher.on('error', (error) => log.warn({ directory: confDirectory, reason: error.message }, 'changes of the network configuration are noticed late: it cannot be watched'));
    } catch (error) {
      log.warn({ directory: confDirectory, reason: String(error) }, 'changes of the network configuration are noticed late: it cannot be watched');
    }
  }

  #soon(): void {
    clearTimeout(this.#due);
    this.#due = setTimeout(() => this.#ensure(), Math.max(SETTLE_MS, this.#repairedMs + REPAIR_EVERY_MS - performance.now())).unref();
  }

  #ensure(): void {
    const { confDirectory, entry, log } = this.#options;
    try {
      const replaced = this.#putProgram();
      const ensured = ensureEntry(confDirectory, entry);
      if (ensured.state === 'waiting') {
        this.#complain(ensured.reason);
        return;
      }
      const { file, state } = ensured;
      if (!this.#installed) log.info({ file: join(confDirectory, file), found: state === 'unchanged' }, 'new pods are captured before they start');
      else if (replaced || state === 'added') this.#tellRepair(join(confDirectory, file));
      this.#installed = true;
      this.#complaint = '';
    } catch (error) {
      this.#complain(error instanceof Error ? error.message : String(error));
    }
  }

  #tellRepair(file: string): void {
    this.#repairedMs = performance.now();
    this.#options.log.warn({ file }, 'the CNI plugin had been removed by somebody else; put back. Pods that came up meanwhile are joined as running pods');
    this.#options.onRepaired();
  }

  #complain(reason: string): void {
    if (this.#complaint !== reason) this.#options.log.warn({ reason }, 'new pods are not captured before they start, but some moments after; tried again');
    this.#complaint = reason;
  }

  /** In one step, also while it runs. True when there was none, or another. */
  #putProgram(): boolean {
    const { binDirectory, program } = this.#options;
    const path = join(binDirectory, PROGRAM);
    if (existsSync(path) && readFileSync(path).equals(readFileSync(program))) return false;
    mkdirSync(binDirectory, { recursive: true });
    const made = join(binDirectory, `.${PROGRAM}.${process.pid}`);
    copyFileSync(program, made);
    chmodSync(made, 0o755);
    renameSync(made, path);
    return true;
  }
}

/**
 * What there is of the plugin on a node: its entry in network configurations, and its program. With `remove` it is removed, from the configuration
 * first, so that no runtime looks for a program that is gone.
 */
export function cniLeftovers({ confDirectory, binDirectory }: CniDirectories, { remove }: { readonly remove: boolean }): string[] {
  const entries = existsSync(confDirectory) ? configsWithEntry(confDirectory) : [];
  // With what an agent left that was killed while it wrote.
  const programs = existsSync(binDirectory) ? readdirSync(binDirectory).filter((name) => name === PROGRAM || name.startsWith(`.${PROGRAM}.`)) : [];
  if (remove) {
    for (const file of entries) removeEntry(confDirectory, file);
    for (const name of programs) rmSync(join(binDirectory, name), { force: true });
  }
  return [...entries.map((file) => `entry of ${PROGRAM} in ${join(confDirectory, file)}`), ...programs.map((name) => join(binDirectory, name))];
}
