/** Small files of the run directory, by which the next agent knows what this one did. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';

/** Undefined when there is none, or it cannot be understood: then nothing is known. */
export function readJsonFile(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

/** In one step; for root alone. Throws when it cannot be written. */
export function writeJsonFile(path: string, value: unknown): void {
  const made = `${path}.${process.pid}`;
  writeFileSync(made, JSON.stringify(value), { mode: 0o600 });
  renameSync(made, path);
}
