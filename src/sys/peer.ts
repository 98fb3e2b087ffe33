/**
 * Which process is at the other end of a unix socket, and which network namespace it is in, as the kernel saw it when it
 * connected (unix(7), SO_PEERCRED). A pid alone proves little: its process may have ended and another have got the number.
 */
import { readFileSync, statSync } from 'node:fs';
import { errno, libc, SysError } from './libc.ts';
import { closeFd } from './socket.ts';

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** Linux 6.5 */
const SO_PEERPIDFD = 77;

const getsockopt = libc.func('int getsockopt(int, int, int, _Out_ uint8_t*, _Inout_ uint*)');

const scratch = Buffer.alloc(12);

export interface PeerCredentials {
  /** As seen from this process's PID namespace; 0 when the peer is not visible from there. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** A namespace by its file in nsfs: a name that is unique among the namespaces alive. */
export interface NamespaceId {
  readonly device: bigint;
  readonly inode: bigint;
}

/** Who connected to the unix socket with this descriptor. */
export function peerCredentials(fd: number): PeerCredentials {
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, scratch, [12]) !== 0) throw new SysError('getsockopt', errno(), 'read the credentials of a peer');
  return { pid: scratch.readInt32LE(0), uid: scratch.readUInt32LE(4), gid: scratch.readUInt32LE(8) };
}

/**
 * The network namespace of the process that connected; undefined when that process is gone, also when its pid has been given
 * to another meanwhile. Where the kernel lends a descriptor of the process itself, that is certain; on kernels before 6.5 the
 * process's start time tells whether the pid changed hands while we looked.
 */
export function peerNamespace(fd: number, { pid }: PeerCredentials): NamespaceId | undefined {
  const pidfd = peerPidfd(fd);
  if (pidfd === undefined) return namespaceWhile(pid, () => startTime(pid));
  if (pidfd === 'gone') return undefined;
  try {
    return namespaceWhile(pid, () => (pidOf(pidfd) === pid ? 'alive' : undefined));
  } finally {
    closeFd(pidfd);
  }
}

/**
 * Is the other end of this unix socket root, and on this node itself? A process in a pod is in the pod's network namespace, and is not taken for an
 * agent even when it runs as root and the socket was mounted into it.
 */
export function isOfThisNode(fd: number): boolean {
  const credentials = peerCredentials(fd);
  const namespace = peerNamespace(fd, credentials);
  const own = namespaceAt('/proc/self/ns/net');
  return credentials.uid === 0 && namespace !== undefined && namespace.inode === own?.inode && namespace.device === own.device;
}

/** The namespace of `pid`, if `life` says the same before and after it was looked up. */
export function namespaceWhile(pid: number, life: () => string | undefined): NamespaceId | undefined {
  const before = life();
  const namespace = namespaceAt(`/proc/${pid}/ns/net`);
  return before !== undefined && life() === before ? namespace : undefined;
}

/** The namespace that a path such as /run/netns/NAME leads to; undefined when there is none. */
export function namespaceAt(path: string): NamespaceId | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return { device: dev, inode: ino };
  } catch (error) {
    const { code, errno: number = 0 } = error as NodeJS.ErrnoException;
    // Whoever may not look must not conclude that there is nothing.
    if (code === 'EACCES' || code === 'EPERM') throw new SysError('stat', -number, `look up the namespace at ${path}`, 'run as root, or grant CAP_SYS_PTRACE');
    return undefined;
  }
}

function peerPidfd(fd: number): number | 'gone' | undefined {
  if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, scratch, [4]) === 0) return scratch.readInt32LE(0);
  const { code } = new SysError('getsockopt', errno(), 'get a descriptor of a peer');
  return code === 'ENOPROTOOPT' ? undefined : 'gone';
}

/** Pid of the process behind a pidfd, -1 once it has been reaped (pidfd_open(2), /proc/PID/fdinfo). */
function pidOf(pidfd: number): number {
  return Number(/^Pid:\s*(-?\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${pidfd}`, 'latin1'))?.[1] ?? -1);
}

/**
 * When a process started, in clock ticks since boot: field 22 of /proc/PID/stat. Undefined when there is none of this pid. The name before
 * it may hold spaces and parentheses, but ends with the last `)`.
 */
export function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
