/** Every process a run starts: placed in a network namespace, pinned to a core, and ended with the run. */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

const END_GRACE_MS = 10_000;

export interface Place {
  readonly netns: string;
  readonly core: number;
}

export class Processes {
  readonly #live = new Set<ChildProcess>();
  #closed = false;

  /** Starts a server that stays until `stop` or the end of the run; what it prints goes to `logFile`. Returns its pid. */
  start(command: readonly string[], place: Place, logFile: string, env: NodeJS.ProcessEnv = {}): number {
    const log = openSync(logFile, 'a');
    const child = this.#spawn(command, place, ['ignore', log, log], env);
    closeSync(log);
    return child.pid!;
  }

  /** Starts a client that prints one line when it is in position, then holds it until `stop`. Resolves with its pid at that line. */
  async hold(command: readonly string[], place: Place, timeoutMs: number): Promise<number> {
    const child = this.#spawn(command, place, ['ignore', 'pipe', 'inherit']);
    const inPosition = await new Promise<boolean>((resolve) => {
      child.stdout!.once('data', () => resolve(true));
      child.once('exit', () => resolve(false));
      setTimeout(() => resolve(false), timeoutMs).unref();
    });
    if (inPosition) return child.pid!;
    await this.#end(child);
    throw new Error(`${command.slice(1).join(' ')} did not get into position`);
  }

  /** Runs a program to its end and returns what it printed. Throws with its error output when it fails or overruns. */
  async run(command: readonly string[], place: Place, timeoutMs: number): Promise<string> {
    const child = this.#spawn(command, place, ['ignore', 'pipe', 'pipe']);
    const output: string[] = [];
    const errors: string[] = [];
    child.stdout!.setEncoding('utf8').on('data', (text: string) => output.push(text));
    child.stderr!.setEncoding('utf8').on('data', (text: string) => errors.push(text));
    const overrun = setTimeout(() => signal(child, 'SIGKILL'), timeoutMs);
    const [code, signalName] = (await once(child, 'close')) as [number | null, string | null];
    clearTimeout(overrun);
    if (code === 0) return output.join('');
    const said = (errors.join('') || output.join('')).trim().slice(-500);
    throw new Error(`${command.slice(0, 3).join(' ')} … ended with ${signalName ?? String(code)}: ${said}`);
  }

  /** Whether a started process still runs. */
  alive(pid: number): boolean {
    return [...this.#live].some((child) => child.pid === pid);
  }

  /** Ends the process `pid`: asked first, made to after a grace. */
  async stop(pid: number): Promise<void> {
    const child = [...this.#live].find((candidate) => candidate.pid === pid);
    if (child !== undefined) await this.#end(child);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Ends every process, and starts no more: what is still under way when a run is interrupted must not outlive it. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#live].map((child) => this.#end(child)));
  }

  #spawn(command: readonly string[], place: Place, stdio: ('ignore' | 'pipe' | 'inherit' | number)[], env: NodeJS.ProcessEnv = {}): ChildProcess {
    if (this.#closed) throw new Error('the run has ended');
    // `ip netns exec` would mount a fresh /sys over cgroup and bpf file systems; nsenter changes the network alone.
    const placed = ['-c', String(place.core), 'nsenter', `--net=/run/netns/${place.netns}`, '--', ...command];
    // A group of its own, so that Ctrl-C reaches the run alone and the run decides in which order things end.
    const child = spawn('taskset', placed, { stdio, detached: true, env: { ...process.env, ...env } });
    child.once('error', (error) => process.stderr.write(`taskset: ${error.message}\n`));
    if (child.pid === undefined) throw new Error('taskset cannot be started: is util-linux installed?');
    this.#live.add(child);
    child.once('exit', () => this.#live.delete(child));
    return child;
  }

  async #end(child: ChildProcess): Promise<void> {
    if (!this.#live.has(child)) return;
    const exited = once(child, 'exit');
    signal(child, 'SIGTERM');
    await Promise.race([exited, delay(END_GRACE_MS, undefined, { ref: false })]);
    if (!this.#live.has(child)) return;
    signal(child, 'SIGKILL');
    await exited;
  }
}

/** The last lines of a log, for the message that says why a server did not start. */
export function logTail(logFile: string): string {
  return readFileSync(logFile, 'utf8').trim().split('\n').slice(-5).join('\n');
}

function signal(child: ChildProcess, name: NodeJS.Signals): void {
  try {
    process.kill(-child.pid!, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
