/** A process that takes a cluster down when whoever brought it up is gone, however that ended: a pipe between the two closes then. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sleep } from '../../../src/lab/command.ts';
import type { ClusterNames } from './names.ts';

const POLL_MS = 20;

export class Keeper {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static start(names: ClusterNames): Keeper {
    const { name } = names;
    // Detached, so that what ends a test run from the keyboard does not end this too.
    const child = spawn(process.execPath, [join(import.meta.dirname, 'keep.ts'), name], { detached: true, stdio: ['pipe', 'ignore', 'inherit'] });
    writeFileSync(names.pid('keeper'), String(child.pid));
    child.unref();
    (child.stdin as unknown as { unref(): void }).unref();
    return new Keeper(child);
  }

  /** Wait for one that is taking the cluster of this name down: what it does last would take a new one's files. */
  static async untilGone(names: ClusterNames): Promise<void> {
    const isKeeping = (): boolean => {
      try {
        return readFileSync(`/proc/${readFileSync(names.pid('keeper'), 'utf8')}/cmdline`, 'utf8').includes('keep.ts');
      } catch {
        return false;
      }
    };
    while (isKeeping()) await sleep(POLL_MS);
  }

  /** The cluster is down: it has nothing left to do. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.ref();
    this.#child.stdin?.end();
    await once(this.#child, 'exit');
  }
}
