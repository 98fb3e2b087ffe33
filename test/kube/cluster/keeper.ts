/** A process that takes a cluster down when whoever brought it up is gone, however that ended: a pipe between the two closes then. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { ClusterNames } from './names.ts';

export class Keeper {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static start({ name }: ClusterNames): Keeper {
    // Detached, so that what ends a test run from the keyboard does not end this too.
    const child = spawn(process.execPath, [join(import.meta.dirname, 'keep.ts'), name], { detached: true, stdio: ['pipe', 'ignore', 'inherit'] });
    child.unref();
    (child.stdin as unknown as { unref(): void }).unref();
    return new Keeper(child);
  }

  /** The cluster is down: it has nothing left to do. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.ref();
    this.#child.stdin?.end();
    await once(this.#child, 'exit');
  }
}
