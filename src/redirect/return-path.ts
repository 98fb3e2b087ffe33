/**
 * The way back of connections under a borrowed address (source-address.ts): in the pod's namespace one routing rule and one
 * route per family, and the sysctls that mark what the application answers.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { MARK_INBOUND, MARK_MASK } from '../sys/layout.ts';
import { addLocalDefault, addMarkRule, deleteLocalDefault, deleteMarkRule, markRules, routesOf } from '../sys/netlink.ts';
import type { MarkRule } from '../sys/netlink.ts';
import type { Netns } from '../sys/netns.ts';
import { ipBytes } from '../sys/sockaddr.ts';
import type { Family } from '../sys/sockaddr.ts';
import { HBONE_PORT, INBOUND_PORT, OUTBOUND_PORT } from '../core/ports.ts';

const ROUTE_TABLE = 100;
const FWMARK = `0x${MARK_INBOUND.toString(16)}/0x${MARK_MASK.toString(16)}`;
/**
 * Sockets that accept a marked connection carry its mark, and so do answers that belong to no socket: without the latter the
 * RST of a port nobody listens on would go to the client's real address, and the agent would wait for its timeout.
 */
const SYSCTLS = ['net/ipv4/tcp_fwmark_accept', 'net/ipv4/fwmark_reflect', 'net/ipv6/fwmark_reflect'] as const;
/**
 * The rule's place remembers what the sysctls were before us, so that whoever removes it, even another agent after a crash,
 * can put them back: this preference less one bit for each that was on. All are close before the main table (32766).
 */
const PREFERENCE_MAX = 32764;
const PREFERENCE_MIN: number = PREFERENCE_MAX - 2 ** SYSCTLS.length + 1;
const RTN_LOCAL = 2;
/** Of our listeners. */
const OWN_PORTS: ReadonlySet<number> = new Set([OUTBOUND_PORT, INBOUND_PORT, HBONE_PORT]);

interface Lingering {
  readonly netns: Netns;
  /** Somebody passes on connections to the application still. */
  served: boolean;
  readonly whenIdle: () => unknown;
}

/** The return paths of a node's pods; those of released pods stay until the connections that need them are closed. */
export class ReturnPaths {
  /** Namespaces of released pods, by inode. */
  readonly #lingering = new Map<bigint, Lingering>();

  /** Prepare a namespace; whatever an earlier agent left there is adopted. */
  install(netns: Netns, families: readonly Family[]): void {
    this.#forget(netns);
    netns.run(() => installHere(families));
  }

  /**
   * Undo `install` when `served` has resolved and the last captured connection is closed; then call `whenIdle`, inside the namespace. Takes
   * over `netns` and closes it then.
   */
  release(netns: Netns, whenIdle: () => unknown, served?: Promise<void>): void {
    this.#forget(netns);
    const lingering = { netns, served: served !== undefined, whenIdle };
    this.#lingering.set(netns.inode, lingering);
    if (served !== undefined) void noteEnd(lingering, served);
    this.tidy();
  }

  /** Remove the paths that nothing uses any more. */
  tidy(): void {
    for (const { netns, served, whenIdle } of this.#lingering.values()) {
      if (served || netns.run(hasCapturedConnections)) continue;
      removeReturnPath(netns);
      netns.run(whenIdle);
      this.#forget(netns);
    }
  }

  /** keep: leave the paths to the next agent. Otherwise remove them, used or not. */
  close(options: { keep: boolean }): void {
    for (const { netns, whenIdle } of this.#lingering.values()) {
      if (!options.keep) {
        removeReturnPath(netns);
        netns.run(whenIdle);
      }
      this.#forget(netns);
    }
  }

  #forget(netns: Netns): void {
    const lingering = this.#lingering.get(netns.inode);
    this.#lingering.delete(netns.inode);
    lingering?.netns.close();
  }
}

async function noteEnd(lingering: Lingering, served: Promise<void>): Promise<void> {
  await served;
  lingering.served = false;
}

/** What of the return path is missing, as pairs of what should be and what is. */
export function checkReturnPath(netns: Netns, families: readonly Family[]): { expected: string; found: string }[] {
  return netns.run(() => {
    const missing: { expected: string; found: string }[] = [];
    for (const family of families) {
      if (rulePreferences(family).length === 0) missing.push({ expected: `ip -${family} rule fwmark ${FWMARK} lookup ${ROUTE_TABLE}`, found: 'none' });
      if (!routeExists(family)) missing.push({ expected: `ip -${family} route local default dev lo table ${ROUTE_TABLE}`, found: 'none' });
    }
    for (const name of SYSCTLS) if (isOff(name)) missing.push({ expected: `sysctl ${name.replaceAll('/', '.')}=1`, found: '0' });
    return missing;
  });
}

/** Undo the return path of a namespace, with no regard to connections that need it. Does nothing where there is none. */
export function removeReturnPath(netns: Netns): void {
  netns.run(() => {
    const families: Family[] = [4, 6];
    const rules = families.flatMap((family) => rulePreferences(family).map((preference) => ({ family, preference })));
    const [first] = rules;
    if (first === undefined) return;
    SYSCTLS.forEach((name, i) => write(name, ((PREFERENCE_MAX - first.preference) & (1 << i)) === 0 ? '0' : '1'));
    for (const { family, preference } of rules) deleteMarkRule(family, ruleAt(preference));
    for (const family of families) if (routeExists(family)) deleteLocalDefault(family, ROUTE_TABLE);
  });
}

/** What there is of the return path in the current namespace, in words. */
export function returnPathLeft(): string[] {
  const families: Family[] = [4, 6];
  return families.flatMap((family) => [
    ...rulePreferences(family).map((preference) => `routing rule ${preference} (IPv${family})`),
    ...(routeExists(family) ? [`route in table ${ROUTE_TABLE} (IPv${family})`] : []),
  ]);
}

function installHere(families: readonly Family[]): void {
  const present = families.flatMap(rulePreferences);
  const wereOn = SYSCTLS.reduce((bits, name, i) => read(name) === '1' ? bits | (1 << i) : bits, 0);
  const preference = present[0] ?? PREFERENCE_MAX - wereOn;
  for (const family of families) {
    if (rulePreferences(family).length === 0) addMarkRule(family, ruleAt(preference));
    if (!routeExists(family)) addLocalDefault(family, ROUTE_TABLE);
  }
  for (const name of SYSCTLS) if (isOff(name)) write(name, '1');
}

function ruleAt(preference: number): MarkRule {
  return { preference, mark: MARK_INBOUND, mask: MARK_MASK, table: ROUTE_TABLE };
}

/** Preferences of our rule in the current namespace. */
function rulePreferences(family: Family): number[] {
  return markRules(family)
    .filter(({ mark, mask, table }) => mark === MARK_INBOUND && mask === MARK_MASK && table === ROUTE_TABLE)
    .map(({ preference }) => preference)
    .filter((preference) => preference >= PREFERENCE_MIN && preference <= PREFERENCE_MAX);
}

function routeExists(family: Family): boolean {
  return routesOf(family, ROUTE_TABLE).some(({ type, destinationBits }) => type === RTN_LOCAL && destinationBits === 0);
}

type Sysctl = (typeof SYSCTLS)[number];

function isOff(name: Sysctl): boolean {
  return read(name) === '0';
}

/** undefined: the kernel has no such setting, as without IPv6. */
function read(name: Sysctl): string | undefined {
  try {
    return readFileSync(`/proc/sys/${name}`, 'utf8').trim();
  } catch {
    return undefined;
  }
}

function write(name: Sysctl, value: string): void {
  if (read(name) !== undefined) writeFileSync(`/proc/sys/${name}`, value);
}

/**
 * Is a connection of the current namespace open that capture made: accepted by a listener of ours (netfilter must go on
 * translating it, and connections to the application come out of tunnels), or under an address that is none of the
 * namespace's (it needs the return path)? Those that BPF programs brought to a listener cannot be told from others.
 */
function hasCapturedConnections(): boolean {
  const own = new Set(Object.values(networkInterfaces()).flatMap((list) => list ?? []).map(({ address }) => ipBytes(address).toString('hex')));
  return ['tcp', 'tcp6'].flatMap(openConnections).some(({ address, port }) =>
    OWN_PORTS.has(port) || (!own.has(address.toString('hex')) && !isLoopbackOrAny(address)));
}

/** Local ends of connections (not listeners, not TIME_WAIT) in /proc/net/tcp, whose words are in host byte order. */
function openConnections(table: string): { address: Buffer; port: number }[] {
  const TIME_WAIT = '06';
  const LISTEN = '0A';
  let text: string;
  try {
    text = readFileSync(`/proc/thread-self/net/${table}`, 'utf8');
  } catch {
    return [];
  }
  const ends: { address: Buffer; port: number }[] = [];
  for (const line of text.split('\n').slice(1)) {
    const [, local = '', , state = ''] = line.trim().split(/\s+/);
    if (local === '' || state === TIME_WAIT || state === LISTEN) continue;
    const [words = '', port = ''] = local.split(':');
    const bytes = Buffer.from(words, 'hex').swap32();
    ends.push({ address: bytes.length === 4 ? ipBytes([...bytes].join('.')) : bytes, port: Number.parseInt(port, 16) });
  }
  return ends;
}

function isLoopbackOrAny(address: Buffer): boolean {
  const mapped = address.readUInt32BE(8) === 0xffff && address.readBigUInt64BE(0) === 0n;
  if (mapped) return address[12] === 127 || address.readUInt32BE(12) === 0;
  return address.readBigUInt64BE(0) === 0n && address.readBigUInt64BE(8) <= 1n;
}
