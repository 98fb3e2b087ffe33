/** The system's tools (iptables, bpftool, mount), run to their end. A child inherits the network namespace the thread is in. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Root's tools live where a user's PATH may not look. */
const DIRECTORIES = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/local/sbin'];
const TIMEOUT_MS = 20_000;
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;

/** A tool that is missing, or that failed: what was asked of it and what it said. */
export class CommandError extends Error {
  readonly status: number | undefined;

  constructor(message: string, status?: number) {
    super(message);
    this.name = 'CommandError';
    this.status = status;
  }
}

/** Full path of the first of `names` that is installed. */
export function findCommand(...names: readonly string[]): string | undefined {
  for (const name of names) {
    const directory = DIRECTORIES.find((candidate) => candidate !== '' && existsSync(join(candidate, name)));
    if (directory !== undefined) return join(directory, name);
  }
  return undefined;
}

/** Run a tool and return what it printed. Throws CommandError with its complaint when it fails or is not installed. */
export function run(name: string, args: readonly string[], input?: string): string {
  const path = name.startsWith('/') ? name : findCommand(name);
  if (path === undefined) throw new CommandError(`${name} is not installed; ${packageOf(name)}`);
  const { status, stdout, stderr, error } = spawnSync(path, args, { input: input ?? '', encoding: 'utf8', timeout: TIMEOUT_MS, maxBuffer: OUTPUT_BYTES_MAX });
  if (error !== undefined) throw new CommandError(`${name} ${args.join(' ')}: ${error.message}`);
  if (status !== 0) throw new CommandError(`${name} ${args.join(' ')}: ${stderr.trim() || `exit status ${status}`}`, status ?? undefined);
  return stdout;
}

function packageOf(name: string): string {
  if (name.includes('tables')) return 'install the package iptables';
  return `install the package ${name}`;
}
