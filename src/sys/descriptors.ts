/**
 * Descriptors that pass from one process to another over a unix socket (unix(7), SCM_RIGHTS): what arrives is another
 * descriptor of the same open socket, so a listening one goes on with the connections that wait in its backlog.
 */
import { errno, libc, pointer, SysError } from './libc.ts';
import { closeFd } from './socket.ts';

/** SCM_MAX_FD (include/net/scm.h): the kernel takes no more in one message. */
export const DESCRIPTORS_PER_MESSAGE_MAX = 253;

/** Text of one message. */
export const PACKET_BYTES_MAX = 1024;

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CTRUNC = 0x8;
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;

/** struct msghdr, struct iovec and struct cmsghdr of 64-bit Linux. */
const MSGHDR = { size: 56, iov: 16, iovCount: 24, control: 32, controlBytes: 40, flags: 48 } as const;
const CMSG_HEADER_BYTES = 16;
const FD_BYTES = 4;

const sendmsg = libc.func('int64_t sendmsg(int, void*, int)');
const recvmsg = libc.func('int64_t recvmsg(int, void*, int)');

/** One message at a time on a thread. A buffer that only another one points to would be collected: `prepare` names them all. */
const data = Buffer.alloc(PACKET_BYTES_MAX);
const iov = Buffer.alloc(16);
const control = Buffer.alloc(controlBytes(DESCRIPTORS_PER_MESSAGE_MAX));
const header = Buffer.alloc(MSGHDR.size);

/** What arrived together. The descriptors are close-on-exec, and the receiver's to close. */
export interface Packet {
  readonly text: string;
  readonly fds: readonly number[];
}

/**
 * Send duplicates of `fds`, at most {@link DESCRIPTORS_PER_MESSAGE_MAX}, with one byte of data: without any a stream would
 * carry no message. Throws when the other end is gone or has not taken what it was sent before.
 */
export function sendDescriptors(socket: number, fds: readonly number[]): void {
  if (fds.length === 0) throw new RangeError('no descriptors in a message that is there for nothing else');
  sendPacket(socket, { text: '\0', fds });
}

/**
 * Take the descriptors of one message that has arrived (close-on-exec). Throws when there is none, or when this process may
 * not open as many; then it keeps none of them.
 */
export function receiveDescriptors(socket: number): readonly number[] {
  return receive(socket, 1).fds;
}

/**
 * Send a message of at most {@link PACKET_BYTES_MAX} bytes, with duplicates of at most {@link DESCRIPTORS_PER_MESSAGE_MAX} descriptors.
 * Throws a {@link SysError}, of the code `EAGAIN` when the other end has not taken what it was sent before.
 */
export function sendPacket(socket: number, { text, fds }: Packet): void {
  if (fds.length > DESCRIPTORS_PER_MESSAGE_MAX) throw new RangeError(`${fds.length} descriptors in one message`);
  const bytes = Buffer.byteLength(text);
  if (bytes === 0 || bytes > PACKET_BYTES_MAX) throw new RangeError(`${bytes} bytes in one message`);
  data.write(text);
  control.writeBigUInt64LE(BigInt(CMSG_HEADER_BYTES + FD_BYTES * fds.length), 0);
  control.writeInt32LE(SOL_SOCKET, 8);
  control.writeInt32LE(SCM_RIGHTS, 12);
  fds.forEach((fd, i) => control.writeInt32LE(fd, CMSG_HEADER_BYTES + FD_BYTES * i));
  prepare(bytes, fds.length === 0 ? 0 : controlBytes(fds.length));
  if (Number(sendmsg(socket, header, MSG_DONTWAIT | MSG_NOSIGNAL)) !== bytes) throw new SysError('sendmsg', errno(), `pass ${fds.length} sockets to another process`);
}

/**
 * The next packet that has arrived on a socket that keeps them apart (SOCK_SEQPACKET); undefined when the other end is gone. Throws a {@link SysError}, of the
 * code `EAGAIN` when there is none yet.
 */
export function receivePacket(socket: number): Packet | undefined {
  const packet = receive(socket, PACKET_BYTES_MAX);
  if (packet.text !== '') return packet;
  for (const fd of packet.fds) closeFd(fd);
  return undefined;
}

function receive(socket: number, bytesMax: number): Packet {
  prepare(bytesMax, control.length);
  const bytes = Number(recvmsg(socket, header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
  if (bytes < 0) throw new SysError('recvmsg', errno(), 'take over sockets');
  const fds = descriptorsIn(control.subarray(0, Number(header.readBigUInt64LE(MSGHDR.controlBytes))));
  const flags = header.readInt32LE(MSGHDR.flags);
  if ((flags & (MSG_CTRUNC | MSG_TRUNC)) === 0) return { text: data.toString('utf8', 0, bytes), fds };
  for (const fd of fds) closeFd(fd);
  if ((flags & MSG_TRUNC) !== 0) throw new Error(`take over sockets: a message of more than ${bytesMax} bytes`);
  throw new Error('take over sockets: not all of them could be opened; raise the limit of open files (ulimit -n, LimitNOFILE)');
}

function prepare(bytes: number, controlSpace: number): void {
  iov.writeBigUInt64LE(pointer(data), 0);
  iov.writeBigUInt64LE(BigInt(bytes), 8);
  header.fill(0);
  header.writeBigUInt64LE(pointer(iov), MSGHDR.iov);
  header.writeBigUInt64LE(1n, MSGHDR.iovCount);
  header.writeBigUInt64LE(pointer(control), MSGHDR.control);
  header.writeBigUInt64LE(BigInt(controlSpace), MSGHDR.controlBytes);
}

function descriptorsIn(received: Buffer): number[] {
  if (received.length < CMSG_HEADER_BYTES || received.readInt32LE(8) !== SOL_SOCKET || received.readInt32LE(12) !== SCM_RIGHTS) return [];
  const count = (Number(received.readBigUInt64LE(0)) - CMSG_HEADER_BYTES) / FD_BYTES;
  return Array.from({ length: count }, (_, i) => received.readInt32LE(CMSG_HEADER_BYTES + FD_BYTES * i));
}

/** CMSG_SPACE: the header and the descriptors, aligned to words. */
function controlBytes(fds: number): number {
  return CMSG_HEADER_BYTES + Math.ceil((FD_BYTES * fds) / 8) * 8;
}
