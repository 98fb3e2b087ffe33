/** A program of the cluster: started on its own, stopped, killed and started again; found again by other processes through its pid file. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { sleep } from '../../../src/lab/command.ts';
import { inGroups } from './cgroups.ts';
import { ClusterError } from './cluster-error.ts';

const POLL_MS = 20;
const STOP_GRACE_MS = 10_000;
const LOG_LINES_SHOWN = 8;

export interface ComponentSpec {
  name: string;
  argv: readonly string[];
  env?: Record<string, string>;
  groups: readonly string[];
  logPath: string;
  pidPath: string;
  /** Command line in front that enters the namespaces of a node, as the parent of the program. */
  entry?: readonly string[];
}

export class Component {
  readonly #spec: ComponentSpec;
  /** When this process started it; else it is known by its pid file. */
  #child: ChildProcess | undefined;

  constructor(spec: ComponentSpec) {
    this.#spec = spec;
  }

  get name(): string {
    return this.#spec.name;
  }

  get running(): boolean {
    return this.#pid() !== undefined;
  }

  /** Start it, unless it runs. */
  start(): void {
    if (this.running) return;
    const { argv, env, groups, logPath, pidPath, entry = [] } = this.#spec;
    const [command = '', ...args] = inGroups(groups, [...entry, ...argv]);
    const log = openSync(logPath, 'a');
    const child = spawn(command, args, { detached: true, stdio: ['ignore', log, log], env: { PATH: process.env['PATH'] ?? '', HOME: '/root', ...env } });
    closeSync(log);
    child.on('error', () => undefined).unref();
    if (child.pid === undefined) throw new ClusterError(`${this.name} cannot be started`);
    this.#child = child;
    writeFileSync(pidPath, String(child.pid));
  }

  /** End it, by SIGTERM and after a while SIGKILL, or at once. Resolves when it is gone. */
  async stop(how: 'stop' | 'kill' = 'stop'): Promise<void> {
    this.#signal(how === 'stop' ? 'SIGTERM' : 'SIGKILL');
    const deadline = Date.now() + STOP_GRACE_MS;
    while (this.running) {
      if (Date.now() > deadline) this.#signal('SIGKILL');
      await sleep(POLL_MS);
    }
    rmSync(this.#spec.pidPath, { force: true });
  }

  /** Poll until `ready` resolves true; throws with the end of its log when it ends before, or is not ready in time. */
  async until(ready: () => Promise<boolean> | boolean, timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!await ready()) {
      if (!this.running) throw new ClusterError(`${this.name} ended:\n${this.lastLines()}`);
      if (Date.now() > deadline) throw new ClusterError(`${this.name} is not ready after ${timeoutMs / 1000} s:\n${this.lastLines()}`);
      await sleep(POLL_MS);
    }
  }

  lastLines(): string {
    const { logPath } = this.#spec;
    return existsSync(logPath) ? readFileSync(logPath, 'utf8').trimEnd().split('\n').slice(-LOG_LINES_SHOWN).join('\n') : '(it has written nothing)';
  }

  /** Of the program, or of what enters the namespaces for it; undefined when it does not run. */
  #pid(): number | undefined {
    if (this.#child !== undefined) return this.#child.exitCode === null && this.#child.signalCode === null ? this.#child.pid : undefined;
    try {
      const pid = Number(readFileSync(this.#spec.pidPath, 'utf8'));
      // A process id may have passed to another: only one in our group is ours. One that ended and is not waited for yet is over too.
      const [group = ''] = this.#spec.groups;
      const ours = readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(group.slice(group.indexOf('/orlop-kube/')));
      return ours && !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')) ? pid : undefined;
    } catch {
      return undefined;
    }
  }

  #signal(name: NodeJS.Signals): void {
    const pid = this.#pid();
    if (pid === undefined) return;
    try {
      process.kill(this.#spec.entry === undefined ? pid : onlyChild(pid) ?? pid, name);
    } catch {
      // It ended meanwhile.
    }
  }
}

/** What a process that enters namespaces has started in them: a process namespace is joined by children only (setns(2)). */
export function onlyChild(pid: number): number | undefined {
  const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ');
  return child === undefined || child === '' ? undefined : Number(child);
}
