/**
 * The few questions the agent asks the kernel over and over about a network namespace, by netlink (man 7 netlink, rtnetlink)
 * and socket options: a process of ip(8) or iptables-save for each would cost milliseconds per pod and round.
 * All functions answer for the namespace the thread is in.
 */
import { errno, libc, SysError } from './libc.ts';
import { AF_INET, AF_INET6 } from './sockaddr.ts';
import type { Family } from './sockaddr.ts';
import { closeFd } from './socket.ts';

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const NETLINK_ROUTE = 0;
const NETLINK_NETFILTER = 12;
const NLM_F_REQUEST = 1;
const NLM_F_DUMP = 0x300;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const RTM_GETROUTE = 26;
const RTM_GETRULE = 34;
const NFT_MSG_GETGEN = (10 << 8) | 16;

/** Length of struct nlmsghdr, struct rtmsg (and fib_rule_hdr, which has its shape), struct nfgenmsg. */
const HEADER_BYTES = 16;
const RTMSG_BYTES = 12;
const NFGENMSG_BYTES = 4;

const SOL_IP = 0;
const SOL_IPV6 = 41;
const IPT_SO_GET_INFO = 64;
/** struct ipt_getinfo: name, valid hooks, five entry points, five underflows, number and size of the entries. */
const IPT_GETINFO_BYTES = 84;
const IPPROTO_RAW = 255;

const socket = libc.func('int socket(int, int, int)');
const send = libc.func('long send(int, void*, size_t, int)');
const recv = libc.func('long recv(int, _Out_ uint8_t*, size_t, int)');
const getsockopt = libc.func('int getsockopt(int, int, int, _Inout_ uint8_t*, _Inout_ uint*)');

/** The kernel fills at most 32 KiB of a dump at a time. */
const reply = Buffer.alloc(65_536);

export interface MarkRule {
  readonly preference: number;
  readonly mark: number;
  readonly mask: number;
  readonly table: number;
}

export interface Route {
  readonly table: number;
  /** enum RTN_*: 1 unicast, 2 local. */
  readonly type: number;
  readonly destinationBits: number;
}

/** Routing rules that match on a packet's mark. */
export function markRules(family: Family): MarkRule[] {
  const FRA_PRIORITY = 6, FRA_FWMARK = 10, FRA_TABLE = 15, FRA_FWMASK = 16;
  return dump(RTM_GETRULE, family).flatMap((message) => {
    const attributes = attributesOf(message.subarray(RTMSG_BYTES));
    const read = (attribute: number): number | undefined => attributes.get(attribute)?.readUInt32LE(0);
    const mark = read(FRA_FWMARK);
    if (mark === undefined) return [];
    return [{ preference: read(FRA_PRIORITY) ?? 0, mark, mask: read(FRA_FWMASK) ?? 0xffff_ffff, table: read(FRA_TABLE) ?? message[4] ?? 0 }];
  });
}

/** Routes of one table. */
export function routesOf(family: Family, table: number): Route[] {
  const RTA_TABLE = 15;
  return dump(RTM_GETROUTE, family).map((message) => ({
    table: attributesOf(message.subarray(RTMSG_BYTES)).get(RTA_TABLE)?.readUInt32LE(0) ?? message[4] ?? 0,
    type: message[7] ?? 0,
    destinationBits: message[1] ?? 0,
  })).filter((route) => route.table === table);
}

/** A number that changes with every change of nftables' rules; undefined where the kernel has no nftables. */
export function nftGeneration(): number | undefined {
  const NFTA_GEN_ID = 1;
  try {
    const [message] = exchange(NETLINK_NETFILTER, NFT_MSG_GETGEN, NLM_F_REQUEST, Buffer.alloc(NFGENMSG_BYTES));
    return message === undefined ? undefined : attributesOf(message.subarray(NFGENMSG_BYTES)).get(NFTA_GEN_ID)?.readUInt32BE(0);
  } catch (error) {
    if (error instanceof SysError) return undefined;
    throw error;
  }
}

/** Number and size of the rules of a legacy iptables table, as opaque text; undefined when the table is not there. */
export function legacyTableInfo(family: Family, table: string): string | undefined {
  const fd = open(family === 4 ? AF_INET : AF_INET6, IPPROTO_RAW);
  try {
    const info = Buffer.alloc(IPT_GETINFO_BYTES);
    info.write(table);
    return getsockopt(fd, family === 4 ? SOL_IP : SOL_IPV6, IPT_SO_GET_INFO, info, [info.length]) === 0 ? info.toString('base64') : undefined;
  } finally {
    closeFd(fd);
  }
}

function dump(type: number, family: Family): Buffer[] {
  const request = Buffer.alloc(RTMSG_BYTES);
  request[0] = family === 4 ? AF_INET : AF_INET6;
  return exchange(NETLINK_ROUTE, type, NLM_F_REQUEST | NLM_F_DUMP, request);
}

/** Send one request; the payloads of all messages that answer it. */
function exchange(protocol: number, type: number, flags: number, payload: Buffer): Buffer[] {
  const what = `ask netlink (message ${type})`;
  const fd = open(AF_NETLINK, protocol);
  try {
    const request = Buffer.alloc(HEADER_BYTES + payload.length);
    request.writeUInt32LE(request.length, 0);
    request.writeUInt16LE(type, 4);
    request.writeUInt16LE(flags, 6);
    payload.copy(request, HEADER_BYTES);
    if (Number(send(fd, request, request.length, 0)) < 0) throw new SysError('send', errno(), what);
    const messages: Buffer[] = [];
    for (let more = true; more;) {
      const length = Number(recv(fd, reply, reply.length, 0));
      if (length < 0) throw new SysError('recv', errno(), what);
      more = readMessages(reply.subarray(0, length), messages, what) && (flags & NLM_F_DUMP) === NLM_F_DUMP;
    }
    return messages;
  } finally {
    closeFd(fd);
  }
}

/** Copies the payloads of `buffer` into `messages`; false once the dump is done. */
function readMessages(buffer: Buffer, messages: Buffer[], what: string): boolean {
  for (let at = 0; at + HEADER_BYTES <= buffer.length;) {
    const length = buffer.readUInt32LE(at);
    const type = buffer.readUInt16LE(at + 4);
    if (type === NLMSG_DONE) return false;
    if (type === NLMSG_ERROR) throw new SysError('netlink', -buffer.readInt32LE(at + HEADER_BYTES), what);
    messages.push(Buffer.from(buffer.subarray(at + HEADER_BYTES, at + length)));
    at += align(length);
  }
  return true;
}

function attributesOf(buffer: Buffer): Map<number, Buffer> {
  const attributes = new Map<number, Buffer>();
  for (let at = 0; at + 4 <= buffer.length;) {
    const length = buffer.readUInt16LE(at);
    if (length < 4) break;
    attributes.set(buffer.readUInt16LE(at + 2), buffer.subarray(at + 4, at + length));
    at += align(length);
  }
  return attributes;
}

function align(length: number): number {
  return (length + 3) & ~3;
}

function open(domain: number, protocol: number): number {
  const fd = socket(domain, SOCK_RAW | SOCK_CLOEXEC, protocol) as number;
  if (fd < 0) throw new SysError('socket', errno(), 'open a socket to ask the kernel');
  return fd;
}
