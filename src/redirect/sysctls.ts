/** In a container that is not privileged, /proc/sys is mounted read-only, also for what it shows of other network namespaces. */
import { readFileSync } from 'node:fs';
import { run } from './command.ts';

const DIRECTORY = '/proc/sys';

/** Make it writable for this process's own mount namespace; on a host it is already. */
export function ensureWritableSysctls(): void {
  if (isReadOnly(readFileSync('/proc/self/mounts', 'utf8'))) run('mount', ['-o', 'remount,bind,rw', DIRECTORY]);
}

/** proc(5): device, path, type, options. What is mounted last at a path is what is seen there. */
export function isReadOnly(mounts: string): boolean {
  const last = mounts.split('\n').map((line) => line.split(' ')).findLast(([, path]) => path === DIRECTORY);
  return last?.[3]?.split(',').includes('ro') ?? false;
}
