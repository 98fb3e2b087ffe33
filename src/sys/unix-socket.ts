/** Unix sockets at paths that processes take over from each other, and connections to them that Node does not read from. */
import { chmodSync, renameSync, rmSync, statSync } from 'node:fs';
import type { Server } from 'node:net';
import { errno, libc, SysError } from './libc.ts';
import { closeFd } from './socket.ts';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_SEQPACKET = 5;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
/** sun_path of struct sockaddr_un, with its final zero. */
const PATH_BYTES_MAX = 108;

const socket = libc.func('int socket(int, int, int)');
const connect = libc.func('int connect(int, void*, uint)');

/**
 * Listen at `path` with these rights. The socket takes the place of one before it in one step, complete with its rights, so
 * clients never find it missing. Returns how to take it away, before the server is closed: a socket that another process has put
 * there by then stays.
 */
export async function listenAt(server: Server, path: string, mode: number): Promise<() => void> {
  const bound = `${path}.${process.pid}`;
  rmSync(bound, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(bound, () => {
      server.off('error', reject);
      resolve();
    });
  });
  chmodSync(bound, mode);
  const { ino } = statSync(bound);
  renameSync(bound, path);
  let isThere = true;
  // Once, and while the server holds its inode: later its number may be that of the socket in its place.
  return () => {
    if (isThere && statSync(path, { throwIfNoEntry: false })?.ino === ino) rmSync(path, { force: true });
    isThere = false;
  };
}

/**
 * A connection to the socket at `path` that belongs to nobody but the caller (close-on-exec). `packets`: one that keeps messages apart, and does not wait for a server
 * that is too busy (`EAGAIN`).
 */
export function connectUnix(path: string, { packets = false }: { readonly packets?: boolean } = {}): number {
  const name = Buffer.from(path);
  if (name.length >= PATH_BYTES_MAX) throw new RangeError(`${path}: longer than the ${PATH_BYTES_MAX - 1} bytes that the path of a socket may have`);
  const fd = socket(AF_UNIX, (packets ? SOCK_SEQPACKET | SOCK_NONBLOCK : SOCK_STREAM) | SOCK_CLOEXEC, 0) as number;
  if (fd < 0) throw new SysError('socket', errno(), `connect to ${path}`);
  const address = Buffer.alloc(2 + PATH_BYTES_MAX);
  address.writeUInt16LE(AF_UNIX, 0);
  name.copy(address, 2);
  if (connect(fd, address, address.length) !== 0) {
    const failure = new SysError('connect', errno(), `connect to ${path}`);
    closeFd(fd);
    throw failure;
  }
  return fd;
}
