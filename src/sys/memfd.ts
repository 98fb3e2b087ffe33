/** Files that have no name (memfd_create(2)): what only a process and its children shall read. */
import { errno, libc, SysError } from './libc.ts';

const memfdCreate = libc.func('int memfd_create(const char*, uint)');

/** A new empty file in memory; `name` is for people who look at /proc. Children inherit it only where they are given it. */
export function memoryFile(name: string): number {
  const MFD_CLOEXEC = 1;
  const fd = memfdCreate(name, MFD_CLOEXEC) as number;
  if (fd < 0) throw new SysError('memfd_create', errno(), `cannot make the file ${name} in memory`);
  return fd;
}
