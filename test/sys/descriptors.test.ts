import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DESCRIPTORS_PER_MESSAGE_MAX, receiveDescriptors, sendDescriptors } from '../../src/sys/descriptors.ts';
import { closeFd, isListening, listenTcp, localAddress } from '../../src/sys/socket.ts';
import { connectUnix, listenAt } from '../../src/sys/unix-socket.ts';

let directory: string;
let path: string;
let server: Server;
let takeAway: () => void;
let ends: { sender: number; receiver: number; socket: Socket };

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-descriptors-'));
  path = join(directory, 's');
  server = createServer({ pauseOnConnect: true });
  takeAway = await listenAt(server, path, 0o600);
  const receiver = connectUnix(path);
  const [socket] = await once(server, 'connection') as [Socket];
  ends = { sender: (socket as unknown as { _handle: { fd: number } })._handle.fd, receiver, socket };
});

afterEach(() => {
  closeFd(ends.receiver);
  ends.socket.destroy();
  server.close();
  takeAway();
  rmSync(directory, { recursive: true });
});

test('a listening socket arrives with the connections that wait in it, and outlives the one it was passed from', async () => {
  const fd = listenTcp({ address: '127.0.0.1', port: 0, backlog: 5 });
  const { port } = localAddress(fd);
  const client = connect(port, '127.0.0.1');
  await once(client, 'connect');
  sendDescriptors(ends.sender, [fd]);
  closeFd(fd);
  const [taken = -1] = receiveDescriptors(ends.receiver);
  expect(isListening(taken)).toBe(true);
  expect(localAddress(taken)).toEqual({ address: '127.0.0.1', port });
  const next = createServer((accepted) => accepted.end('served by the next')).listen({ fd: taken });
  const [answer] = await once(client, 'data') as [Buffer];
  expect(answer.toString()).toBe('served by the next');
  next.close();
});

test('as many as one message holds, in their order, and one message at a time', () => {
  const listeners = [1, 2].map(() => listenTcp({ address: '127.0.0.1', port: 0, backlog: 1 }));
  const ports = listeners.map((fd) => localAddress(fd).port);
  const full = Array.from({ length: DESCRIPTORS_PER_MESSAGE_MAX }, (_, i) => listeners[i % 2] ?? -1);
  sendDescriptors(ends.sender, full);
  sendDescriptors(ends.sender, listeners.toReversed());
  const first = receiveDescriptors(ends.receiver);
  const second = receiveDescriptors(ends.receiver);
  expect(first.map((fd) => localAddress(fd).port)).toEqual(full.map((_, i) => ports[i % 2]));
  expect(second.map((fd) => localAddress(fd).port)).toEqual(ports.toReversed());
  for (const fd of [...first, ...second, ...listeners]) closeFd(fd);
});

test('what cannot be passed, or has not come, is told', () => {
  expect(() => sendDescriptors(ends.sender, [])).toThrow(RangeError);
  expect(() => sendDescriptors(ends.sender, Array.from({ length: DESCRIPTORS_PER_MESSAGE_MAX + 1 }, () => 0))).toThrow(RangeError);
  expect(() => sendDescriptors(ends.sender, [99_999])).toThrow('pass 1 sockets to another process: sendmsg failed with EBADF');
  expect(() => receiveDescriptors(ends.receiver)).toThrow('recvmsg failed with E');
});

test('only what listens is said to listen', () => {
  expect(isListening(ends.receiver)).toBe(false);
  expect(isListening(0)).toBe(false);
});

test('a socket takes the place of another, and is not taken away with it', async () => {
  const before = statSync(path);
  expect(before.mode & 0o777).toBe(0o600);
  const next = createServer((accepted) => accepted.end());
  const takeNextAway = await listenAt(next, path, 0o640);
  takeAway();
  server.close();
  expect(statSync(path).mode & 0o777).toBe(0o640);
  closeFd(connectUnix(path));
  takeNextAway();
  expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
  next.close();
  expect(() => connectUnix(path)).toThrow('ENOENT');
  expect(() => connectUnix(`/${'x'.repeat(200)}`)).toThrow(RangeError);
});
