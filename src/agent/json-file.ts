/** A small file of the run directory, by which the next agent knows what this one did. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Logger } from '../core/log.ts';

export class JsonFile {
  readonly #path: string;
  readonly #log: Logger;

  constructor(path: string, log: Logger) {
    this.#path = path;
    this.#log = log;
  }

  /** Undefined when there is none, or it cannot be understood: then nothing is known. */
  read(): unknown {
    try {
      return JSON.parse(readFileSync(this.#path, 'utf8'));
    } catch {
      return undefined;
    }
  }

  /** In one step; for root alone. That it cannot be written is told, and holds nothing up. */
  write(value: unknown): void {
    const made = `${this.#path}.${process.pid}`;
    try {
      writeFileSync(made, JSON.stringify(value), { mode: 0o600 });
      renameSync(made, this.#path);
    } catch (error) {
      this.#log.warn({ file: this.#path, reason: error instanceof Error ? error.message : String(error) }, 'what the next agent should know cannot be written');
    }
  }
}
