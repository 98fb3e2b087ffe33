/**
 * Sockets made by system call, because `server.listen(port)` and `net.connect` create theirs a tick later, when the thread
 * is back in its own network namespace. Callers hold a `Netns.run` bracket around these functions and hand the fds to Node.
 */
import { errno, libc, SysError } from './libc.ts';
import { AF_INET, AF_INET6, decodeSockaddr, encodeSockaddr, familyOf, SOCKADDR_BYTES_MAX } from './sockaddr.ts';
import type { Address, Family } from './sockaddr.ts';

const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const F_DUPFD_CLOEXEC = 1030;

const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_REUSEPORT = 15;
const SO_ACCEPTCONN = 30;
const SO_MARK = 36;
const SO_BINDTOIFINDEX = 62;
const SO_NETNS_COOKIE = 71;
const SOL_IP = 0;
const IP_FREEBIND = 15;
const IP_TRANSPARENT = 19;
const SO_ORIGINAL_DST = 80;
const SOL_IPV6 = 41;
const IPV6_V6ONLY = 26;
const IPV6_TRANSPARENT = 75;
const IPV6_FREEBIND = 78;
const IP6T_SO_ORIGINAL_DST = 80;

const socket = libc.func('int socket(int, int, int)');
const bind = libc.func('int bind(int, void*, uint)');
const listen = libc.func('int listen(int, int)');
const close = libc.func('int close(int)');
const fcntl = libc.func('int fcntl(int, int, int)');
const setsockopt = libc.func('int setsockopt(int, int, int, void*, uint)');
const getsockname = libc.func('int getsockname(int, _Out_ uint8_t*, _Inout_ uint*)');
const getsockopt = libc.func('int getsockopt(int, int, int, _Out_ uint8_t*, _Inout_ uint*)');

const scratch = Buffer.alloc(SOCKADDR_BYTES_MAX);

export interface ListenOptions {
  address: string;
  port: number;
  backlog: number;
  transparent?: boolean;
  reusePort?: boolean;
  freebind?: boolean;
  /** IPv6 only: refuse v4-mapped connections, so that a v4 listener may use the same port. */
  v6only?: boolean;
  mark?: number;
}

export interface ConnectOptions {
  family: Family;
  mark?: number;
  transparent?: boolean;
  /** Send and receive by this interface only. */
  interfaceIndex?: number;
  bindAddress?: string;
  /** 0 lets the kernel choose. */
  bindPort?: number;
}

/** A listening TCP socket in the thread's current network namespace; returns its fd (non-blocking, close-on-exec). */
export function listenTcp(options: ListenOptions): number {
  const family = familyOf(options.address);
  const what = `listen on ${formatAddress(options)}`;
  const fd = openTcp(family, what);
  return closingOnError(fd, () => {
    setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1, what);
    if (options.reusePort === true) setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1, what);
    if (options.mark !== undefined) setOption(fd, SOL_SOCKET, SO_MARK, options.mark, what);
    if (options.transparent === true) setTransparent(fd, family, what);
    if (options.freebind === true) setOption(fd, family === 4 ? SOL_IP : SOL_IPV6, family === 4 ? IP_FREEBIND : IPV6_FREEBIND, 1, what);
    if (options.v6only === true && family === 6) setOption(fd, SOL_IPV6, IPV6_V6ONLY, 1, what);
    bindTo(fd, options.address, options.port, what);
    if (listen(fd, options.backlog) !== 0) throw new SysError('listen', errno(), what);
    return fd;
  });
}

/** An unconnected TCP socket (nodelay) in the thread's current network namespace, for `new net.Socket({ fd }).connect()`. */
export function connectSocket(options: ConnectOptions): number {
  const what = 'make a socket to connect';
  const fd = openTcp(options.family, what);
  return closingOnError(fd, () => {
    setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1, what);
    if (options.mark !== undefined) setOption(fd, SOL_SOCKET, SO_MARK, options.mark, what);
    if (options.transparent === true) setTransparent(fd, options.family, what);
    if (options.interfaceIndex !== undefined) setOption(fd, SOL_SOCKET, SO_BINDTOIFINDEX, options.interfaceIndex, what);
    if (options.bindAddress !== undefined) {
      bindTo(fd, options.bindAddress, options.bindPort ?? 0, `bind to ${options.bindAddress} port ${options.bindPort ?? 0}`);
    }
    return fd;
  });
}

/** `count` sockets in one go: one namespace bracket costs tens of microseconds, a socket two. Returns as many fds. */
export function connectSockets(count: number, options: ConnectOptions): number[] {
  const fds: number[] = [];
  try {
    while (fds.length < count) fds.push(connectSocket(options));
    return fds;
  } catch (error) {
    for (const fd of fds) closeFd(fd);
    throw error;
  }
}

/**
 * Where a connection was going before netfilter redirected it: SO_ORIGINAL_DST, or IP6T_SO_ORIGINAL_DST for v6.
 * Undefined when conntrack knows nothing of it, as for a connection that was not redirected.
 */
export function originalDst(fd: number, family: Family): Address | undefined {
  const length = [SOCKADDR_BYTES_MAX];
  const failed = family === 4
    ? getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, scratch, length)
    : getsockopt(fd, SOL_IPV6, IP6T_SO_ORIGINAL_DST, scratch, length);
  return failed === 0 ? decodeSockaddr(scratch) : undefined;
}

/** Address a socket is bound to, or connected from. */
export function localAddress(fd: number): Address {
  if (getsockname(fd, scratch, [SOCKADDR_BYTES_MAX]) !== 0) throw new SysError('getsockname', errno(), `read the address of socket ${fd}`);
  return decodeSockaddr(scratch);
}

/** Does this socket listen? False for whatever is not a socket, too. */
export function isListening(fd: number): boolean {
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, scratch, [4]) === 0 && scratch.readInt32LE(0) === 1;
}

/** Kernel's cookie of the network namespace a socket was born in (SO_NETNS_COOKIE, Linux 5.14). */
export function netnsCookie(fd: number): bigint {
  if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, scratch, [8]) !== 0) {
    throw new SysError('getsockopt', errno(), 'read the cookie of a network namespace', 'Linux 5.14 or newer is needed');
  }
  return scratch.readBigUInt64LE(0);
}

/** Another descriptor of the same socket (close-on-exec). */
export function dup(fd: number): number {
  const copy = fcntl(fd, F_DUPFD_CLOEXEC, 3) as number;
  if (copy < 0) throw new SysError('fcntl', errno(), `duplicate descriptor ${fd}`);
  return copy;
}

export function closeFd(fd: number): void {
  if (close(fd) !== 0) throw new SysError('close', errno(), `close descriptor ${fd}`);
}

function openTcp(family: Family, what: string): number {
  const fd = socket(family === 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP) as number;
  if (fd < 0) throw new SysError('socket', errno(), what);
  return fd;
}

function setTransparent(fd: number, family: Family, what: string): void {
  if (family === 4) setOption(fd, SOL_IP, IP_TRANSPARENT, 1, what);
  else setOption(fd, SOL_IPV6, IPV6_TRANSPARENT, 1, what);
}

function setOption(fd: number, level: number, option: number, value: number, what: string): void {
  scratch.writeInt32LE(value, 0);
  if (setsockopt(fd, level, option, scratch, 4) !== 0) throw new SysError('setsockopt', errno(), `${what} (option ${level}/${option})`);
}

function bindTo(fd: number, address: string, port: number, what: string): void {
  const sockaddr = encodeSockaddr(address, port);
  if (bind(fd, sockaddr, sockaddr.length) !== 0) throw new SysError('bind', errno(), what);
}

function closingOnError(fd: number, fn: () => number): number {
  try {
    return fn();
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

function formatAddress({ address, port }: Address): string {
  return familyOf(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`;
}
