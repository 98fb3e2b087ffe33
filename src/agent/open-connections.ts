/** Connections that a pod had before its traffic was captured: they stay as they are, outside the mesh, until they end. */
import { readFileSync } from 'node:fs';
import type { Netns } from '../sys/netns.ts';

const ESTABLISHED = '01';
/** 127.0.0.0/8, ::1 and ::ffff:127.0.0.0/104, in the byte order of x86 and arm64. */
const LOOPBACK = /^(?:[0-9A-F]{6}7F|0{24}01000000|0{16}FFFF0000[0-9A-F]{6}7F)$/;

/** How many TCP connections to other hosts are open in the namespace (proc(5), /proc/net/tcp). */
export function openConnections(netns: Netns): number {
  return netns.run(() => ['tcp', 'tcp6'].reduce((sum, table) => sum + countConnections(read(`/proc/thread-self/net/${table}`)), 0));
}

/** Of the text of such a table. */
export function countConnections(table: string): number {
  return table.split('\n').slice(1).map((line) => line.trim().split(/\s+/)).filter(([, , remote = '', state]) => state === ESTABLISHED && !LOOPBACK.test(remote.split(':')[0] ?? '')).length;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // A kernel without IPv6.
    return '';
  }
}
