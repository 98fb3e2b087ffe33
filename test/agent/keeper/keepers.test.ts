/** What an agent that serves alone takes up from the keepers of its node, and has closed. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { KeeperConnection } from '../../../src/agent/keeper/connection.ts';
import { Keepers } from '../../../src/agent/keeper/keepers.ts';
import type { SocketPlace } from '../../../src/agent/placed-sockets.ts';
import { closeFd, listenTcp, localAddress, netnsCookie } from '../../../src/sys/socket.ts';
import { RecordedLog } from '../../certs/recorded-log.ts';
import { KeeperProcess } from '../../keeper/keeper-process.ts';
import { answers } from '../answers.ts';

let directory: string;
let log: RecordedLog;
const processes: KeeperProcess[] = [];
const ends: (() => void)[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-keepers-'));
  log = new RecordedLog();
});

afterEach(async () => {
  for (const end of ends.splice(0)) end();
  for (const process of processes.splice(0)) await process.end();
  rmSync(directory, { recursive: true });
});

async function keeper(name: string): Promise<string> {
  const path = join(directory, `${name}.sock`);
  processes.push(await KeeperProcess.start(path));
  return path;
}

function agent(path: string | undefined): Keepers {
  const keepers = new Keepers({ path, log });
  ends.push(() => keepers.own?.close({ keep: true }));
  return keepers;
}

/** A listening socket that only the keeper at `path` has, of an agent that was killed. */
function leftWith(path: string, name: string): SocketPlace {
  const fd = listenTcp({ address: '127.0.0.1', port: 0, backlog: 8 });
  const place = { cookie: netnsCookie(fd), ...localAddress(fd) };
  const connection = KeeperConnection.open(path);
  connection.keep(name, [fd]);
  connection.close();
  closeFd(fd);
  return place;
}

test('takes up what was kept beside it and beside agents before it, and has the rest closed', async () => {
  const [own, before] = [await keeper('agent-2'), await keeper('agent-1')];
  const places = [leftWith(own, 'shop/a'), leftWith(before, 'shop/b'), leftWith(before, 'shop/gone')] as const;
  const keepers = agent(own);
  const kept = await keepers.take();
  expect(kept.size).toBe(3);
  const claimed = places.slice(0, 2).map((place) => kept.claim(place) ?? -1);
  for (const [i, fd] of claimed.entries()) keepers.own?.keep(`shop/${i}`, [fd]);
  kept.close();
  await keepers.settle();
  await vi.waitFor(async () => expect(await answers(places[2].port)).toBe(false));
  for (const fd of claimed) closeFd(fd);
  // Of these the keeper beside it has copies now, and no other.
  await processes[1]?.end();
  for (const place of places.slice(0, 2)) expect(await answers(place.port)).toBe(true);
  expect(log.lines).toEqual([]);
});

test('a name that a keeper has left behind goes', async () => {
  const [own, before] = [await keeper('agent-2'), await keeper('agent-1')];
  await processes[1]?.end('SIGKILL');
  expect(existsSync(before)).toBe(true);
  expect((await agent(own).take()).size).toBe(0);
  expect(existsSync(before)).toBe(false);
  expect(log.lines).toEqual([]);
});

test('whatever else is in the directory is left alone', async () => {
  const [own, before] = [await keeper('agent-2'), await keeper('agent-1')];
  mkdirSync(join(directory, 'directory.sock'));
  writeFileSync(join(directory, 'file.sock'), '');
  symlinkSync(own, join(directory, 'link.sock'));
  const place = leftWith(before, 'shop/a');
  const keepers = agent(own);
  const kept = await keepers.take();
  const fd = kept.claim(place) ?? -1;
  keepers.own?.keep('shop/a', [fd]);
  await keepers.settle();
  closeFd(fd);
  expect(await answers(place.port)).toBe(true);
  expect(readdirSync(directory).toSorted()).toEqual(['agent-1.sock', 'agent-2.sock', 'directory.sock', 'file.sock', 'link.sock']);
  expect(log.lines).toEqual([]);
});

test('gives nothing to a process of a pod, and takes nothing from it', async () => {
  const own = await keeper('agent-2');
  const path = join(directory, 'agent-1.sock');
  // Root, with the directory mounted.
  const script = `import os, socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\ns.bind("${path}.new")\ns.listen(8)\nos.rename("${path}.new", "${path}")\ns.accept()[0].recv(10)`;
  const pod = spawn('unshare', ['--net', '/usr/bin/python3', '-c', script]);
  ends.push(() => void pod.kill());
  await expect.poll(() => existsSync(path)).toBe(true);
  await vi.waitFor(async () => {
    log = new RecordedLog();
    expect((await agent(own).take()).size).toBe(0);
    expect(log.text).toContain(`${path} belongs to a process that is not a keeper of this node`);
  });
  const impostor = agent(path);
  impostor.own?.keep('shop/web', [0]);
  expect(impostor.own?.missing).toContain('is not a keeper of this node');
});

test('an agent without a keeper takes nothing', async () => {
  const before = await keeper('agent-1');
  const place = leftWith(before, 'shop/a');
  const keepers = agent(undefined);
  expect((await keepers.take()).size).toBe(0);
  await keepers.settle();
  expect(await answers(place.port)).toBe(true);
});
