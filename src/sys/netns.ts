/** A network namespace: enter it for one synchronous call and come back. Sockets keep the namespace they are born in. */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { errno, libc, SysError } from './libc.ts';
import { closeFd, connectSocket, netnsCookie } from './socket.ts';

const CLONE_NEWNET = 0x40000000;

const setns = libc.func('int setns(int, int)');
const ifNameToIndex = libc.func('uint if_nametoindex(str)');
const abort = libc.func('void abort()');

/** Descriptor of the namespace this thread is in: its own, but for the time of a `run`. */
let current = openSync('/proc/thread-self/ns/net', 'r');

export class Netns implements Disposable {
  readonly path: string;
  /** Inode and device together name a namespace for as long as it lives (nsfs). */
  readonly inode: bigint;
  readonly device: bigint;
  #fd: number;
  #cookie: bigint | undefined;

  private constructor(path: string) {
    this.path = path;
    this.#fd = openSync(path, 'r');
    const { ino, dev } = fstatSync(this.#fd, { bigint: true });
    this.inode = ino;
    this.device = dev;
  }

  /** The namespace at `path`: /run/netns/NAME or /proc/PID/ns/net. Throws ENOENT when there is none. */
  static open(path: string): Netns {
    return new Netns(path);
  }

  /** The namespace this thread is in now. */
  static self(): Netns {
    return new Netns('/proc/thread-self/ns/net');
  }

  /** Descriptor of the namespace, for system calls that take one. */
  get fd(): number {
    return this.#fd;
  }

  /** The kernel's number for it, as BPF programs see it; never reused while the machine is up. */
  get cookie(): bigint {
    this.#cookie ??= this.run(() => {
      const fd = connectSocket({ family: 4 });
      try {
        return netnsCookie(fd);
      } finally {
        closeFd(fd);
      }
    });
    return this.#cookie;
  }

  equals(other: Netns): boolean {
    return this.inode === other.inode && this.device === other.device;
  }

  /**
   * Run `fn` with this thread inside the namespace. `fn` must be synchronous: a tick later the thread is elsewhere.
   * If the thread cannot come back, every later socket would land in a pod's namespace, so the process aborts.
   */
  run<T>(fn: () => T extends PromiseLike<unknown> ? never : T): T {
    const back = current;
    if (setns(this.#fd, CLONE_NEWNET) !== 0) throw new SysError('setns', errno(), `enter the network namespace ${this.path}`);
    current = this.#fd;
    try {
      return fn();
    } finally {
      // process.abort() does not exist in worker threads; the C library's does.
      if (setns(back, CLONE_NEWNET) !== 0) abort();
      current = back;
    }
  }

  close(): void {
    if (this.#fd < 0) return;
    closeSync(this.#fd);
    this.#fd = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Number of the interface `name` in the current network namespace; undefined when there is none. */
export function interfaceIndex(name: string): number | undefined {
  const index = ifNameToIndex(name) as number;
  return index === 0 ? undefined : index;
}
