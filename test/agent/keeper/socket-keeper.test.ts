/** What an agent has kept for the next one by orlop-keeper, and what is closed. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { KeeperConnection } from '../../../src/agent/keeper/connection.ts';
import { SocketKeeper } from '../../../src/agent/keeper/socket-keeper.ts';
import { closeFd, isListening, listenTcp, localAddress } from '../../../src/sys/socket.ts';
import { RecordedLog } from '../../certs/recorded-log.ts';
import { KeeperProcess } from '../../keeper/keeper-process.ts';
import { answers } from '../answers.ts';

let directory: string;
let path: string;
let process: KeeperProcess;
let log: RecordedLog;
const keepers: SocketKeeper[] = [];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-keeper-'));
  path = join(directory, 'keeper.sock');
  log = new RecordedLog();
  process = await KeeperProcess.start(path);
});

afterEach(async () => {
  for (const keeper of keepers.splice(0)) keeper.close({ keep: true });
  await process.end();
  rmSync(directory, { recursive: true });
});

function agent(): SocketKeeper {
  const keeper = new SocketKeeper({ path, log });
  keepers.push(keeper);
  return keeper;
}

const listening = (): number => listenTcp({ address: '127.0.0.1', port: 0, backlog: 8 });
const portOf = (fd: number): number => localAddress(fd).port;

/** Nobody has it open any more. */
async function isClosed(port: number): Promise<void> {
  await vi.waitFor(async () => {
    expect(await answers(port)).toBe(false);
  }, { timeout: 5_000 });
}

test('who connects while no agent is there waits, and is served by the next one', async () => {
  const first = agent();
  const fd = listening();
  const port = portOf(fd);
  first.keep('shop/web', [fd]);
  // As when it is killed: nothing is said any more.
  first.close({ keep: true });
  closeFd(fd);
  const client: Socket = connect(port, '127.0.0.1');
  await once(client, 'connect');
  const [taken = -1, ...others] = await agent().take();
  expect(others).toEqual([]);
  expect(isListening(taken)).toBe(true);
  const server = createServer((accepted) => accepted.end('served by the next')).listen({ fd: taken });
  const [answer] = await once(client, 'data') as [Buffer];
  expect(answer.toString()).toBe('served by the next');
  server.close();
});

test('what is kept under a name takes the place of what was; what is forgotten is closed', async () => {
  const keeper = agent();
  const [before, after, other] = [listening(), listening(), listening()];
  const ports = [before, after, other].map(portOf) as [number, number, number];
  keeper.keep('shop/web', [before]);
  keeper.keep('shop/web', [after]);
  keeper.keep('shop/cart', [other]);
  keeper.forget('shop/cart');
  for (const fd of [before, after, other]) closeFd(fd);
  await isClosed(ports[0]);
  await isClosed(ports[2]);
  expect(await answers(ports[1])).toBe(true);
});

test('what the agent before had, and this one does not want, is closed when it is settled', async () => {
  const first = agent();
  const [wanted, gone] = [listening(), listening()];
  const ports = [wanted, gone].map(portOf) as [number, number];
  first.keep('shop/web', [wanted]);
  first.keep('shop/gone', [gone]);
  first.close({ keep: true });
  for (const fd of [wanted, gone]) closeFd(fd);
  const next = agent();
  const taken = await next.take();
  expect(new Set(taken.map(portOf))).toEqual(new Set(ports));
  next.keep('shop/web', taken.filter((fd) => portOf(fd) === ports[0]));
  expect(await answers(ports[1])).toBe(true);
  next.settle();
  for (const fd of taken) closeFd(fd);
  await isClosed(ports[1]);
  expect(await answers(ports[0])).toBe(true);
});

test('an agent that ends for good leaves nothing', async () => {
  const keeper = agent();
  const fd = listening();
  const port = portOf(fd);
  keeper.keep('shop/web', [fd]);
  keeper.close({ keep: false });
  closeFd(fd);
  await isClosed(port);
});

test('a keeper that is killed is missed and told of, and the next one gets everything', async () => {
  const keeper = agent();
  const fd = listening();
  const port = portOf(fd);
  keeper.keep('shop/web', [fd]);
  expect(keeper.missing).toBeUndefined();
  await process.end('SIGKILL');
  await vi.waitFor(() => expect(keeper.missing).toBeDefined(), { timeout: 5_000 });
  expect(log.lines).toEqual(['warn there is no keeper of listening sockets; should this agent be killed, connections are refused until the next one runs']);
  keeper.keep('shop/web', [fd]);
  process = await KeeperProcess.start(path);
  await vi.waitFor(() => expect(keeper.missing).toBeUndefined(), { timeout: 5_000 });
  keeper.close({ keep: true });
  closeFd(fd);
  expect(await answers(port)).toBe(true);
});

test('an agent that has lost its keeper for a moment tells it everything again, and what is not its own any more is closed', async () => {
  const keeper = agent();
  const [stays, goes] = [listening(), listening()];
  const ports = [stays, goes].map(portOf) as [number, number];
  keeper.keep('shop/web', [stays]);
  keeper.keep('shop/gone', [goes]);
  keeper.settle();
  // Somebody else is heard for a moment, and what the agent says meanwhile is lost.
  const other = KeeperConnection.open(path);
  for (const fd of (await other.take()).fds) closeFd(fd);
  keeper.forget('shop/gone');
  other.close();
  closeFd(goes);
  await isClosed(ports[1]);
  keeper.close({ keep: true });
  closeFd(stays);
  expect(await answers(ports[0])).toBe(true);
});

test('without a keeper an agent starts all the same', async () => {
  path = join(directory, 'nowhere.sock');
  const keeper = agent();
  expect(await keeper.take()).toEqual([]);
  expect(keeper.missing).toContain('ENOENT');
});

test('the sockets of all the pods that a node may have, in the time of a start', async () => {
  const keeper = agent();
  const fds = Array.from({ length: 600 }, listening);
  for (const [i, fd] of fds.entries()) keeper.keep(`shop/web-${i}`, [fd, fd, fd, fd, fd, fd]);
  // More than the kernel holds at a time: the rest follows.
  await sleep(300);
  keeper.close({ keep: true });
  const taken = await agent().take();
  expect(new Set(taken.map(portOf))).toEqual(new Set(fds.map(portOf)));
  expect(taken.length).toBe(6 * fds.length);
  for (const fd of [...fds, ...taken]) closeFd(fd);
});
