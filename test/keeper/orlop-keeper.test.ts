/** The keeper itself, under what no agent should say to it. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { receivePacket, sendPacket } from '../../src/sys/descriptors.ts';
import type { Packet } from '../../src/sys/descriptors.ts';
import { closeFd, listenTcp, localAddress } from '../../src/sys/socket.ts';
import { connectUnix } from '../../src/sys/unix-socket.ts';
import { KeeperProcess } from './keeper-process.ts';

let directory: string;
let path: string;
let keeper: KeeperProcess;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-keeper-'));
  path = join(directory, 'keeper.sock');
  keeper = await KeeperProcess.start(path);
});

afterEach(async () => {
  await keeper.end();
  rmSync(directory, { recursive: true });
});

function agent(): number {
  return connectUnix(path, { packets: true });
}

/** Undefined: it has hung up. */
async function next(fd: number): Promise<Packet | undefined> {
  return vi.waitFor(() => receivePacket(fd), { timeout: 5_000, interval: 2 });
}

async function names(): Promise<string[]> {
  const fd = agent();
  sendPacket(fd, { text: 'T', fds: [] });
  const found: string[] = [];
  for (let packet = await next(fd); packet?.text.startsWith('K') === true; packet = await next(fd)) {
    found.push(packet.text.slice(1));
    for (const socket of packet.fds) closeFd(socket);
  }
  closeFd(fd);
  return found;
}

test('whoever says something else is cut off, and what is kept stays', async () => {
  const socket = listenTcp({ address: '127.0.0.1', port: 0, backlog: 1 });
  const good = agent();
  sendPacket(good, { text: 'Kshop/web', fds: [socket] });
  const bad = agent();
  sendPacket(bad, { text: 'X', fds: [socket] });
  expect(await next(bad)).toBeUndefined();
  expect(await names()).toEqual(['shop/web']);
  await vi.waitFor(() => expect(keeper.said.map(({ scope, msg }) => `${scope}: ${msg}`)).toContain('keeper: a message of a kind that is not known; the agent is asked to begin anew'));
  for (const fd of [good, bad, socket]) closeFd(fd);
});

test('keeps what it is told among any messages, and no descriptor too many', async () => {
  const random = seededRandom(7);
  const pick = (below: number): number => Math.floor(random.next() * below);
  const socket = listenTcp({ address: '127.0.0.1', port: 0, backlog: 1 });
  const expected = new Map<string, number>();
  let fd = agent();
  for (let i = 0; i < 400; i += 1) {
    const name = `${'n'.repeat(pick(4) === 0 ? pick(900) : 1)}${pick(12)}`;
    const count = pick(3) === 0 ? 0 : 1 + pick(6);
    const kind = 'KKKFT?'[pick(6)] ?? '';
    sendPacket(fd, { text: `${kind}${name}`, fds: Array.from({ length: count }, () => socket) });
    if (kind === 'K' && count > 0) expected.set(name, count);
    else if (kind === 'K' || kind === 'F') expected.delete(name);
    if (kind === 'T') for (let packet = await next(fd); packet?.text !== 'E'; packet = await next(fd)) for (const copy of packet?.fds ?? []) closeFd(copy);
    if (kind === '?') {
      expect(await next(fd)).toBeUndefined();
      closeFd(fd);
      fd = agent();
    }
  }
  closeFd(fd);
  expect((await names()).toSorted()).toEqual([...expected.keys()].toSorted());
  const sockets = execFileSync('sh', ['-c', `ls -l /proc/${keeper.pid}/fd | grep -c 'socket:'`], { encoding: 'utf8' });
  // Beside those it has one to listen on, and perhaps the last connection still.
  const kept = [...expected.values()].reduce((sum, count) => sum + count, 0);
  expect(Number(sockets) - kept).toBeLessThanOrEqual(2);
  closeFd(socket);
});

test.each([
  ['who is not root', ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']],
  ['root of a pod, which has another network namespace', ['unshare', '--net']],
])('turns away %s', async (_, as) => {
  chmodSync(directory, 0o777);
  chmodSync(path, 0o777);
  const script = `import socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\ns.connect("${path}")\ntry:\n  s.send(b"T")\n  print(len(s.recv(10)))\nexcept (BrokenPipeError, ConnectionResetError):\n  print(0)`;
  const [command = '', ...argv] = as;
  const { stdout, stderr } = spawnSync(command, [...argv, '/usr/bin/python3', '-c', script], { encoding: 'utf8' });
  expect(stdout.trim(), stderr).toBe('0');
  await vi.waitFor(() => expect(keeper.said.map(({ msg }) => msg)).toEqual(['somebody who is not an agent was turned away']));
});

test('its name is for root alone, and goes with it', async () => {
  expect(statSync(path).mode & 0o777).toBe(0o600);
  await keeper.end();
  expect(existsSync(path)).toBe(false);
});

test('closes what was not kept by the connection that says so, or everything', async () => {
  const socket = listenTcp({ address: '127.0.0.1', port: 0, backlog: 1 });
  const first = agent();
  for (const name of ['shop/web', 'shop/cart', 'shop/gone']) sendPacket(first, { text: `K${name}`, fds: [socket] });
  const second = agent();
  for (const text of ['Kshop/web', 'Kshop/cart']) sendPacket(second, { text, fds: [socket] });
  sendPacket(second, { text: 'S', fds: [] });
  expect((await names()).toSorted()).toEqual(['shop/cart', 'shop/web']);
  const third = agent();
  sendPacket(third, { text: 'C', fds: [] });
  expect(await names()).toEqual([]);
  for (const fd of [first, second, third, socket]) closeFd(fd);
});

test('does not spin when it can open nothing more, and listens again when it can', { timeout: 60_000 }, async () => {
  const scarce = join(directory, 'scarce.sock');
  const other = await KeeperProcess.start(scarce, { argv: ['prlimit', '--nofile=12:12'] });
  const socket = listenTcp({ address: '127.0.0.1', port: 0, backlog: 1 });
  const fd = connectUnix(scarce, { packets: true });
  // With its three files, the socket that it listens on and this connection it may open seven more.
  for (const name of ['a', 'b', 'c', 'd', 'e', 'f', 'g']) sendPacket(fd, { text: `K${name}`, fds: [socket] });
  // This one is not kept; the others are, and the connection stays.
  sendPacket(fd, { text: 'Kh', fds: [socket] });
  const more = Array.from({ length: 3 }, () => connectUnix(scarce, { packets: true }));
  await sleep(500);
  const ticks = (): number => readFileSync(`/proc/${other.pid}/stat`, 'utf8').split(') ')[1]?.split(' ').slice(11, 13).map(Number).reduce((sum, one) => sum + one, 0) ?? 0;
  const before = ticks();
  await sleep(1_000);
  expect(ticks() - before).toBeLessThan(30);
  closeFd(fd);
  await vi.waitFor(() => expect(other.said.map(({ msg }) => msg)).toEqual([
    'no room for more than these pods and ports of gateways: 7; of others, connections are refused while no agent runs',
    'the agent is gone; connections wait for the next one (pods and ports of gateways: 7)',
  ]));
  for (const one of [socket, ...more]) closeFd(one);
  await other.end();
});

test('closes what it has when no agent comes', { timeout: 60_000 }, async () => {
  const socket = listenTcp({ address: '127.0.0.1', port: 0, backlog: 1 });
  const { port } = localAddress(socket);
  const fd = agent();
  sendPacket(fd, { text: 'Kshop/web', fds: [socket] });
  closeFd(fd);
  closeFd(socket);
  const listens = (): boolean => readFileSync('/proc/net/tcp', 'utf8').includes(`0100007F:${port.toString(16).toUpperCase().padStart(4, '0')} 00000000:0000 0A`);
  await sleep(10_000);
  expect(listens()).toBe(true);
  await vi.waitFor(() => expect(listens()).toBe(false), { timeout: 40_000, interval: 500 });
  await vi.waitFor(() => expect(keeper.said.map(({ msg }) => msg)).toEqual([
    'the agent is gone; connections wait for the next one (pods and ports of gateways: 1)',
    'no agent came within 30 s: connections are refused from now on (pods and ports of gateways: 1)',
  ]));
});

test('ends when it is asked to, and says what is wrong with its arguments', async () => {
  expect(await keeper.end()).toBe(0);
  const { status, stderr } = spawnSync(join(import.meta.dirname, '../../keeper/orlop-keeper-checked'), [], { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 64, stderr: 'usage: orlop-keeper SOCKET\n' });
  const nowhere = spawnSync(join(import.meta.dirname, '../../keeper/orlop-keeper-checked'), ['/nowhere/keeper.sock'], { encoding: 'utf8' });
  expect(nowhere.status).toBe(1);
  expect(JSON.parse(nowhere.stderr)).toMatchObject({ level: 60, scope: 'keeper', msg: 'the socket could not be made: No such file or directory' });
});
