/** What runs left behind that were killed before they could clean up: namespaces, the processes in them, directories. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { PREFIX } from './topology.ts';

const DIR_PREFIX = 'orlop-bench-';

/** The directory of this very run. */
export function runDir(): string {
  return join(tmpdir(), `${DIR_PREFIX}${String(process.pid)}`);
}

/** Removes everything whose owner no longer runs. */
export function removeLeftovers(): void {
  for (const netns of orphans('/run/netns', new RegExp(`^${PREFIX}(\\d+)-`))) {
    const pids = execFileSync('ip', ['netns', 'pids', netns], { encoding: 'utf8' }).split('\n').filter(Boolean);
    for (const pid of pids) process.kill(Number(pid), 'SIGKILL');
    execFileSync('ip', ['netns', 'delete', netns]);
  }
  for (const dir of orphans(tmpdir(), new RegExp(`^${DIR_PREFIX}(\\d+)$`))) rmSync(join(tmpdir(), dir), { recursive: true, force: true });
}

/** Names in `dir` that hold the id of a process which is gone. */
function orphans(dir: string, pattern: RegExp): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir).filter((name) => {
    const owner = pattern.exec(name)?.[1];
    return owner !== undefined && !existsSync(`/proc/${owner}`);
  });
}
