/** orlop-keeper as its container runs it, with every access to memory checked. */
import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const KEEPER = join(import.meta.dirname, '../../keeper');

export class KeeperProcess {
  readonly #child: ChildProcess;
  #said = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#said += text));
  }

  static async start(path: string, { argv = [] }: { readonly argv?: readonly string[] } = {}): Promise<KeeperProcess> {
    // Several suites may want it at once, on a clean machine.
    execFileSync('flock', [join(KEEPER, 'Makefile'), 'make', '-s', '-C', KEEPER, 'orlop-keeper-checked']);
    const keeper = new KeeperProcess(spawnAs([...argv, join(KEEPER, 'orlop-keeper-checked'), path]));
    while (!existsSync(path)) await sleep(5);
    return keeper;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Each line that it has said. */
  get said(): readonly { level: number; scope: string; msg: string }[] {
    return this.#said.split('\n').slice(0, -1).map((line) => JSON.parse(line) as { level: number; scope: string; msg: string });
  }

  /** Resolves with its exit code, when it has ended. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill(signal);
      await once(this.#child, 'exit');
    }
    return this.#child.exitCode;
  }
}

function spawnAs([command = '', ...argv]: readonly string[]): ChildProcess {
  return spawn(command, argv, { stdio: ['ignore', 'ignore', 'pipe'] });
}
