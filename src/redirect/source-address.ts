/**
 * The application sees the client's own address, with no conntrack. The agent's socket towards it borrows that address
 * (IP_TRANSPARENT) and carries a mark; tcp_fwmark_accept gives the application's accepted socket the same mark; one routing
 * rule sends what is marked, the replies to a foreign address, back over loopback to the agent.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { MARK_INBOUND, MARK_MASK } from '../sys/layout.ts';
import type { Netns } from '../sys/netns.ts';
import { connectSocket } from '../sys/socket.ts';
import { ipBytes } from '../sys/sockaddr.ts';
import type { Family } from '../sys/sockaddr.ts';
import { SysError } from '../sys/sys-error.ts';
import { CommandError, run } from './command.ts';

const ROUTE_TABLE = 100;
/**
 * The rule's place also remembers what tcp_fwmark_accept was before us, so that whoever removes it, even another agent after
 * a crash, can put it back. Both are close before the main table (32766).
 */
const PREFERENCE = { acceptWasOff: 32764, acceptWasOn: 32763 } as const;
const FWMARK = `0x${MARK_INBOUND.toString(16)}/0x${MARK_MASK.toString(16)}`;
const FWMARK_ACCEPT = '/proc/sys/net/ipv4/tcp_fwmark_accept';

/**
 * Ports the agent gives its sockets that borrow a client's address. Below the kernel's default range for clients (32768 up),
 * because under eBPF the agent's accepted socket has the address pair (pod, client) already: a port equal to the client's
 * own would make the connection to the application look like the client's.
 */
const BORROWED_PORT_MIN = 16_000;
const BORROWED_PORT_MAX = 32_767;
const BORROW_TRIES_MAX = 64;

/**
 * Loopback is the first interface of every namespace. Bound to it, the socket's packets come in by loopback too, which is how
 * the sk_lookup program knows them; unbound they would seem to come in by the interface that has the pod's address.
 */
const LOOPBACK_INDEX = 1;

let nextPort = BORROWED_PORT_MIN + Math.floor(process.hrtime()[1] % (BORROWED_PORT_MAX - BORROWED_PORT_MIN));

/**
 * A socket for a connection to the pod's application under `clientAddress`; call it inside the pod's `Netns.run`. Returns its
 * fd, bound and not connected. Connect it to the address and port the client meant.
 */
export function openBorrowedSocket(family: Family, clientAddress: string): number {
  for (let tries = 1; ; tries += 1) {
    const bindPort = nextPort;
    nextPort = nextPort === BORROWED_PORT_MAX ? BORROWED_PORT_MIN : nextPort + 1;
    try {
      return connectSocket({ family, mark: MARK_INBOUND, transparent: true, interfaceIndex: LOOPBACK_INDEX, bindAddress: clientAddress, bindPort });
    } catch (error) {
      if (!(error instanceof SysError) || error.code !== 'EADDRINUSE' || tries === BORROW_TRIES_MAX) throw error;
    }
  }
}

/** Prepare a pod's namespace; any state an earlier agent left is adopted. */
export function installReturnPath(netns: Netns, families: readonly Family[]): void {
  netns.run(() => {
    const present = families.flatMap(rulePreferences);
    const preference = present[0] ?? (fwmarkAccept() ? PREFERENCE.acceptWasOn : PREFERENCE.acceptWasOff);
    for (const family of families) {
      if (rulePreferences(family).length === 0) ip(family, `rule add fwmark ${FWMARK} pref ${preference} lookup ${ROUTE_TABLE}`);
      ip(family, `route replace local default dev lo table ${ROUTE_TABLE}`);
    }
    writeFileSync(FWMARK_ACCEPT, '1');
  });
}

/** What of the return path is missing, as pairs of what should be and what is. */
export function checkReturnPath(netns: Netns, families: readonly Family[]): { expected: string; found: string }[] {
  return netns.run(() => {
    const missing: { expected: string; found: string }[] = [];
    for (const family of families) {
      if (rulePreferences(family).length === 0) missing.push({ expected: `ip -${family} rule fwmark ${FWMARK} lookup ${ROUTE_TABLE}`, found: 'none' });
      if (!routeExists(family)) missing.push({ expected: `ip -${family} route local default dev lo table ${ROUTE_TABLE}`, found: 'none' });
    }
    if (!fwmarkAccept()) missing.push({ expected: 'sysctl net.ipv4.tcp_fwmark_accept=1', found: '0' });
    return missing;
  });
}

/**
 * Undo installReturnPath. While connections under borrowed addresses are open the routing stays, or they would die; then it
 * returns false, and wants to be called again later.
 */
export function removeReturnPath(netns: Netns, options: { evenIfUsed: boolean }): boolean {
  return netns.run(() => {
    const families: Family[] = [4, 6];
    const preferences = families.map((family) => ({ family, present: rulePreferences(family) }));
    const ours = preferences.flatMap(({ present }) => present);
    if (ours.length === 0) return true;
    writeFileSync(FWMARK_ACCEPT, ours.includes(PREFERENCE.acceptWasOn) ? '1' : '0');
    if (!options.evenIfUsed && hasBorrowedConnections()) return false;
    for (const { family, present } of preferences) {
      for (const preference of present) ip(family, `rule del fwmark ${FWMARK} pref ${preference} lookup ${ROUTE_TABLE}`);
      if (present.length > 0 && routeExists(family)) ip(family, `route del local default dev lo table ${ROUTE_TABLE}`);
    }
    return true;
  });
}

function ip(family: Family, command: string): string {
  return run('ip', [`-${family}`, ...command.split(' ')]);
}

/** Preferences of our rule in the current namespace; none where the family is off. */
function rulePreferences(family: Family): number[] {
  let text: string;
  try {
    text = ip(family, 'rule show');
  } catch (error) {
    if (error instanceof CommandError && /not supported/i.test(error.message)) return [];
    throw error;
  }
  return text.split('\n')
    .filter((line) => line.includes(`fwmark ${FWMARK} lookup ${ROUTE_TABLE}`))
    .map((line) => Number.parseInt(line, 10))
    .filter((preference) => Object.values<number>(PREFERENCE).includes(preference));
}

function routeExists(family: Family): boolean {
  try {
    return /^local default dev lo/m.test(ip(family, `route show table ${ROUTE_TABLE}`));
  } catch (error) {
    // `ip` fails when no route was ever put into the table.
    if (error instanceof CommandError && /table does not exist/i.test(error.message)) return false;
    throw error;
  }
}

function fwmarkAccept(): boolean {
  return readFileSync(FWMARK_ACCEPT, 'utf8').trim() !== '0';
}

/** Is a TCP socket of the current namespace open whose local address is none of the namespace's? */
function hasBorrowedConnections(): boolean {
  const own = new Set(Object.values(networkInterfaces()).flatMap((list) => list ?? []).map(({ address }) => ipBytes(address).toString('hex')));
  return ['tcp', 'tcp6'].flatMap(socketAddresses).some((address) => !own.has(address.toString('hex')) && !isLoopbackOrAny(address));
}

/** Local addresses of connections (not listeners, not TIME_WAIT) in /proc/net/tcp, whose words are in host byte order. */
function socketAddresses(table: string): Buffer[] {
  const TIME_WAIT = '06';
  const LISTEN = '0A';
  let text: string;
  try {
    text = readFileSync(`/proc/thread-self/net/${table}`, 'utf8');
  } catch {
    return [];
  }
  const addresses: Buffer[] = [];
  for (const line of text.split('\n').slice(1)) {
    const [, local = '', , state = ''] = line.trim().split(/\s+/);
    if (local === '' || state === TIME_WAIT || state === LISTEN) continue;
    const bytes = Buffer.from(local.slice(0, local.indexOf(':')), 'hex').swap32();
    addresses.push(bytes.length === 4 ? ipBytes([...bytes].join('.')) : bytes);
  }
  return addresses;
}

function isLoopbackOrAny(address: Buffer): boolean {
  const mapped = address.readUInt32BE(8) === 0xffff && address.readBigUInt64BE(0) === 0n;
  if (mapped) return address[12] === 127 || address.readUInt32BE(12) === 0;
  return address.readBigUInt64BE(0) === 0n && address.readBigUInt64BE(8) <= 1n;
}
