/**
 * The way back of connections under a borrowed address (source-address.ts): in the pod's namespace one routing rule, one
 * route per family, and the sysctl that marks the application's sockets.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { MARK_INBOUND, MARK_MASK } from '../sys/layout.ts';
import { markRules, routesOf } from '../sys/netlink.ts';
import type { Netns } from '../sys/netns.ts';
import { ipBytes } from '../sys/sockaddr.ts';
import type { Family } from '../sys/sockaddr.ts';
import { run } from './command.ts';

const ROUTE_TABLE = 100;
/**
 * The rule's place also remembers what tcp_fwmark_accept was before us, so that whoever removes it, even another agent after
 * a crash, can put it back. Both are close before the main table (32766).
 */
const PREFERENCE = { acceptWasOff: 32764, acceptWasOn: 32763 } as const;
const FWMARK = `0x${MARK_INBOUND.toString(16)}/0x${MARK_MASK.toString(16)}`;
const FWMARK_ACCEPT = '/proc/sys/net/ipv4/tcp_fwmark_accept';
const RTN_LOCAL = 2;

/** The return paths of a node's pods; those of released pods stay until the connections that need them are closed. */
export class ReturnPaths {
  /** Namespaces of released pods, each with a descriptor of our own. */
  readonly #lingering = new Map<bigint, Netns>();

  /** Prepare a namespace; whatever an earlier agent left there is adopted. */
  install(netns: Netns, families: readonly Family[]): void {
    this.#lingering.get(netns.inode)?.close();
    this.#lingering.delete(netns.inode);
    netns.run(() => installHere(families));
  }

  /** Undo `install`, now or once the last connection that needs the path is closed. Takes over `netns` and closes it then. */
  release(netns: Netns): void {
    this.#lingering.get(netns.inode)?.close();
    this.#lingering.set(netns.inode, netns);
    this.tidy();
  }

  /** Remove the paths that nothing uses any more. */
  tidy(): void {
    for (const netns of this.#lingering.values()) {
      if (removeReturnPath(netns, { evenIfUsed: false })) this.#drop(netns);
    }
  }

  /** keep: leave the paths to the next agent. Otherwise remove them, used or not. */
  close(options: { keep: boolean }): void {
    for (const netns of this.#lingering.values()) {
      if (!options.keep) removeReturnPath(netns, { evenIfUsed: true });
      this.#drop(netns);
    }
  }

  #drop(netns: Netns): void {
    this.#lingering.delete(netns.inode);
    netns.close();
  }
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
 * Undo the return path of a namespace. While connections under borrowed addresses are open the routing stays unless
 * `evenIfUsed`, or they would die; then it returns false.
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

function installHere(families: readonly Family[]): void {
  const present = families.flatMap(rulePreferences);
  const preference = present[0] ?? (fwmarkAccept() ? PREFERENCE.acceptWasOn : PREFERENCE.acceptWasOff);
  for (const family of families) {
    if (rulePreferences(family).length === 0) ip(family, `rule add fwmark ${FWMARK} pref ${preference} lookup ${ROUTE_TABLE}`);
    if (!routeExists(family)) ip(family, `route add local default dev lo table ${ROUTE_TABLE}`);
  }
  if (!fwmarkAccept()) writeFileSync(FWMARK_ACCEPT, '1');
}

function ip(family: Family, command: string): string {
  return run('ip', [`-${family}`, ...command.split(' ')]);
}

/** Preferences of our rule in the current namespace. */
function rulePreferences(family: Family): number[] {
  return markRules(family)
    .filter(({ mark, mask, table }) => mark === MARK_INBOUND && mask === MARK_MASK && table === ROUTE_TABLE)
    .map(({ preference }) => preference)
    .filter((preference) => Object.values<number>(PREFERENCE).includes(preference));
}

function routeExists(family: Family): boolean {
  return routesOf(family, ROUTE_TABLE).some(({ type, destinationBits }) => type === RTN_LOCAL && destinationBits === 0);
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
