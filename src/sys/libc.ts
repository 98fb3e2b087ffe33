/**
 * The C library through koffi, the one place where Orlop leaves JavaScript. Nothing outside src/sys imports koffi; nothing
 * outside this file loads a library. Every thread that imports it gets its own bindings and scratch memory.
 */
import koffi, { type LibraryHandle } from 'koffi';

export { SysError } from './sys-error.ts';

export const libc: LibraryHandle = koffi.load('libc.so.6');

/** errno of the last call on this thread. */
export function errno(): number {
  return koffi.errno();
}

/** Address of a buffer's first byte, for structs that hold pointers. The caller keeps the buffer alive across the call. */
export function pointer(buffer: Uint8Array): bigint {
  return koffi.address(buffer);
}
