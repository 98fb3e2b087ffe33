/** A system call that failed: its name, errno, what it was for and what to do about it. */
import { constants } from 'node:os';

/** Of two names for one number (EAGAIN, EWOULDBLOCK) the one that comes first in the alphabet. */
const ERRNO_NAMES = new Map(Object.entries(constants.errno).toSorted(([a], [b]) => (a < b ? 1 : -1)).map(([name, value]) => [value, name]));

/** Remedies for the errnos a user can do something about; callers give a better one where they know more. */
const REMEDIES: Readonly<Record<string, string>> = {
  EPERM: 'run as root, or grant CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_BPF',
  EACCES: 'run as root, or grant CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_BPF',
  EADDRINUSE: 'another process listens on this address and port in the same network namespace; `ss -ltnp` there names it',
  EADDRNOTAVAIL: 'the address is not configured in this network namespace (for ::1, is IPv6 disabled on lo?)',
  EAFNOSUPPORT: 'the kernel has no support for this address family',
  EMFILE: 'raise the limit of open files (ulimit -n, LimitNOFILE)',
  ENFILE: 'raise fs.file-max',
  ENOSYS: 'the kernel is too old or was built without this system call',
  ENOPROTOOPT: 'the kernel lacks this socket option',
};

export class SysError extends Error {
  readonly syscall: string;
  readonly errno: number;
  /** Name of the errno, as in `EADDRINUSE`. */
  readonly code: string;
  readonly remedy: string | undefined;

  constructor(syscall: string, errno: number, what: string, remedy?: string) {
    const code = ERRNO_NAMES.get(errno) ?? `errno ${errno}`;
    const advice = remedy ?? REMEDIES[code];
    super(`${what}: ${syscall} failed with ${code}${advice === undefined ? '' : `; ${advice}`}`);
    this.name = 'SysError';
    this.syscall = syscall;
    this.errno = errno;
    this.code = code;
    this.remedy = advice;
  }
}
