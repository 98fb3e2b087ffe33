/**
 * What the agent asks the kernel over and over about a network namespace, and the few things it changes there for each pod, by netlink
 * (man 7 netlink, rtnetlink) and socket options: a process of ip(8) or iptables-save for each would cost milliseconds per pod and round.
 * All functions are about the namespace the thread is in.
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
const NLM_F_ACK = 4;
const NLM_F_DUMP = 0x300;
const NLM_F_EXCL = 0x200;
const NLM_F_CREATE = 0x400;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RTM_NEWRULE = 32;
const RTM_DELRULE = 33;
const RTM_GETRULE = 34;
const NFT_MSG_GETGEN = (10 << 8) | 16;

/** Length of struct nlmsghdr, struct rtmsg (and fib_rule_hdr, which has its shape), struct nfgenmsg. */
const HEADER_BYTES = 16;
const RTMSG_BYTES = 12;
const NFGENMSG_BYTES = 4;

/** Attributes of rules (linux/fib_rules.h) and of routes (linux/rtnetlink.h). */
const FRA_PRIORITY = 6;
const FRA_FWMARK = 10;
const FRA_TABLE = 15;
const FRA_FWMASK = 16;
const RTA_OIF = 4;
const RTA_TABLE = 15;

const FR_ACT_TO_TBL = 1;
const RTN_LOCAL = 2;
const RTPROT_BOOT = 3;
const RT_SCOPE_HOST = 254;
const RT_SCOPE_NOWHERE = 255;
/** The loopback interface of every network namespace. */
const LOOPBACK_IFINDEX = 1;

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
  return dump(RTM_GETRULE, family).flatMap((message) => {
    const attributes = attributesOf(message.subarray(RTMSG_BYTES));
    const read = (type: number): number | undefined => attributes.get(type)?.readUInt32LE(0);
    const mark = read(FRA_FWMARK);
    if (mark === undefined) return [];
    return [{ preference: read(FRA_PRIORITY) ?? 0, mark, mask: read(FRA_FWMASK) ?? 0xffff_ffff, table: read(FRA_TABLE) ?? message[4] ?? 0 }];
  });
}

/** Routes of one table. */
export function routesOf(family: Family, table: number): Route[] {
  return dump(RTM_GETROUTE, family).map((message) => ({
    table: attributesOf(message.subarray(RTMSG_BYTES)).get(RTA_TABLE)?.readUInt32LE(0) ?? message[4] ?? 0,
    type: message[7] ?? 0,
    destinationBits: message[1] ?? 0,
  })).filter((route) => route.table === table);
}

/** `ip rule add fwmark MARK/MASK pref PREFERENCE lookup TABLE` */
export function addMarkRule(family: Family, rule: MarkRule): void {
  change(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, ruleMessage(family, rule), 'add a routing rule');
}

export function deleteMarkRule(family: Family, rule: MarkRule): void {
  change(RTM_DELRULE, 0, ruleMessage(family, rule), 'delete a routing rule');
}

/** `ip route add local default dev lo table TABLE`: whatever is looked up there is for this namespace itself. */
export function addLocalDefault(family: Family, table: number): void {
  change(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, localDefaultMessage(family, table, { protocol: RTPROT_BOOT, scope: RT_SCOPE_HOST }), 'add a route');
}

export function deleteLocalDefault(family: Family, table: number): void {
  change(RTM_DELROUTE, 0, localDefaultMessage(family, table, { protocol: 0, scope: RT_SCOPE_NOWHERE }), 'delete a route');
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
  const fd = open(domainOf(family), IPPROTO_RAW);
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
  request[0] = domainOf(family);
  return exchange(NETLINK_ROUTE, type, NLM_F_REQUEST | NLM_F_DUMP, request);
}

function change(type: number, flags: number, message: Buffer, what: string): void {
  exchange(NETLINK_ROUTE, type, NLM_F_REQUEST | NLM_F_ACK | flags, message, what);
}

/** struct fib_rule_hdr: the address family first, the action at 7. */
function ruleMessage(family: Family, { preference, mark, mask, table }: MarkRule): Buffer {
  const header = Buffer.alloc(RTMSG_BYTES);
  header[0] = domainOf(family);
  header[7] = FR_ACT_TO_TBL;
  return Buffer.concat([header, attribute(FRA_PRIORITY, preference), attribute(FRA_FWMARK, mark), attribute(FRA_FWMASK, mask), attribute(FRA_TABLE, table)]);
}

/** struct rtmsg: the address family first, then at 5 the protocol, the scope and the type. */
function localDefaultMessage(family: Family, table: number, { protocol, scope }: { protocol: number; scope: number }): Buffer {
  const header = Buffer.alloc(RTMSG_BYTES);
  header[0] = domainOf(family);
  header[5] = protocol;
  header[6] = scope;
  header[7] = RTN_LOCAL;
  return Buffer.concat([header, attribute(RTA_OIF, LOOPBACK_IFINDEX), attribute(RTA_TABLE, table)]);
}

function attribute(type: number, value: number): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeUInt16LE(buffer.length, 0);
  buffer.writeUInt16LE(type, 2);
  buffer.writeUInt32LE(value, 4);
  return buffer;
}

function domainOf(family: Family): number {
  return family === 4 ? AF_INET : AF_INET6;
}

/** Send one request; the payloads of all messages that answer it. */
function exchange(protocol: number, type: number, flags: number, payload: Buffer, what = `ask netlink (message ${type})`): Buffer[] {
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

/** Copies the payloads of `buffer` into `messages`; false once all is here. */
function readMessages(buffer: Buffer, messages: Buffer[], what: string): boolean {
  for (let at = 0; at + HEADER_BYTES <= buffer.length;) {
    const length = buffer.readUInt32LE(at);
    const type = buffer.readUInt16LE(at + 4);
    if (type === NLMSG_DONE) return false;
    if (type === NLMSG_ERROR) {
      const code = -buffer.readInt32LE(at + HEADER_BYTES);
      // Without an error it is what was asked for: an acknowledgement.
      if (code === 0) return false;
      throw new SysError('netlink', code, what);
    }
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
