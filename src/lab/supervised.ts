/** A process that is started again whenever it ends, later each time it ends early: a container, or a node's agent. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Netns } from '../sys/netns.ts';

const FIRST_BACKOFF_MS = 200;
const BACKOFF_MAX_MS = 10_000;
/** A process that ran this long has recovered: its next end is a first one again. */
const STEADY_MS = 10_000;

export interface SupervisedOptions {
  argv: readonly string[];
  env: Record<string, string>;
  cwd: string;
  /** Its standard output and error are appended here. */
  logPath: string;
  /** Network namespace it is born in; absent when argv enters one. */
  netns?: Netns;
  /** Descriptors it gets besides, from number 3 on. */
  inherited?: readonly number[];
  onChange(): void;
}

export class Supervised {
  readonly #options: SupervisedOptions;
  #child: ChildProcess | undefined;
  #stopping = new AbortController();
  #restarts = 0;
  #backoffMs = FIRST_BACKOFF_MS;
  #loop: Promise<void> = Promise.resolve();

  constructor(options: SupervisedOptions) {
    this.#options = options;
  }

  start(): void {
    this.#stopping = new AbortController();
    this.#loop = this.#run(this.#stopping.signal);
  }

  get running(): boolean {
    return this.#child?.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get pid(): number | undefined {
    return this.running ? this.#child?.pid : undefined;
  }

  get restarts(): number {
    return this.#restarts;
  }

  signal(name: NodeJS.Signals): void {
    if (this.running) this.#child?.kill(name);
  }

  /** End it and do not start it again: SIGTERM, then SIGKILL after `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort();
    this.signal('SIGTERM');
    const timer = setTimeout(() => {
      this.signal('SIGKILL');
    }, graceMs);
    await this.#loop;
    clearTimeout(timer);
  }

  async #run(stopping: AbortSignal): Promise<void> {
    while (!stopping.aborted) {
      const started = Date.now();
      const end = await this.#runOnce();
      this.#options.onChange();
      if (stopping.aborted) return;
      if (Date.now() - started >= STEADY_MS) this.#backoffMs = FIRST_BACKOFF_MS;
      this.#note(`${end}; it is started again in ${this.#backoffMs} ms`);
      await delay(this.#backoffMs, undefined, { signal: stopping }).catch(() => undefined);
      this.#backoffMs = Math.min(2 * this.#backoffMs, BACKOFF_MAX_MS);
      this.#restarts += 1;
    }
  }

  /** Resolves when the process has ended, with how. */
  async #runOnce(): Promise<string> {
    const { argv: [command = '', ...args], env, cwd, logPath, netns, inherited = [] } = this.#options;
    const log = openSync(logPath, 'a');
    const start = (): ChildProcess => spawn(command, args, { cwd, env, stdio: ['ignore', log, log, ...inherited] });
    const child = netns === undefined ? start() : netns.run(start);
    closeSync(log);
    this.#child = child;
    return new Promise((resolve) => {
      child.once('spawn', () => {
        this.#options.onChange();
      });
      child.once('error', (error) => {
        resolve(`the process cannot be started: ${error.message}`);
      });
      child.once('exit', (code, signal) => {
        resolve(`the process ended with ${signal ?? `code ${code}`}`);
      });
    });
  }

  #note(text: string): void {
    const log = openSync(this.#options.logPath, 'a');
    writeSync(log, `lab: ${text}\n`);
    closeSync(log);
  }
}
