import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { fstatSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { Netns } from '../../src/sys/netns.ts';
import { selfTest } from '../../src/sys/self-test.ts';
import { closeFd, connectSockets, dup, listenTcp, localAddress, netnsCookie, originalDst } from '../../src/sys/socket.ts';
import { SysError } from '../../src/sys/sys-error.ts';

test('the machine has what the agent needs', () => {
  expect(selfTest).not.toThrow();
});

test.each(['127.0.0.1', '::1'])('a listener on %s accepts connections, through a dup too', async (address) => {
  const fd = listenTcp({ address, port: 0, backlog: 8 });
  const copy = dup(fd);
  closeFd(fd);
  const server = createServer((socket) => socket.end('hello')).listen({ fd: copy });
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  expect(localAddress(copy)).toEqual({ address, port });
  const [data] = await once(connect(port, address), 'data') as [Buffer];
  expect(data.toString()).toBe('hello');
  server.close();
});

test('a port in use is an error with a name and a remedy', () => {
  const fd = listenTcp({ address: '127.0.0.1', port: 0, backlog: 1 });
  const { port } = localAddress(fd);
  const again = (): number => listenTcp({ address: '127.0.0.1', port, backlog: 1 });
  expect(again).toThrow(SysError);
  expect(again).toThrow(`listen on 127.0.0.1:${port}: bind failed with EADDRINUSE; another process listens`);
  closeFd(fd);
});

test('sockets come in batches and leak nothing when one fails', () => {
  const fds = connectSockets(5, { family: 4, mark: 0x539 });
  expect(fds).toHaveLength(5);
  for (const fd of fds) expect(fstatSync(fd).isSocket()).toBe(true);
  for (const fd of fds) closeFd(fd);
  expect(() => connectSockets(2, { family: 4, bindAddress: '192.0.2.1' })).toThrow('EADDRNOTAVAIL');
});

test('a connection that was not redirected has no original destination', () => {
  const [fd = -1] = connectSockets(1, { family: 4 });
  expect(originalDst(fd, 4)).toBeUndefined();
  closeFd(fd);
});

test('a namespace has one cookie, seen from any of its sockets', () => {
  using netns = Netns.self();
  const [fd = -1] = connectSockets(1, { family: 6 });
  expect(netns.cookie).toBe(netnsCookie(fd));
  using again = Netns.self();
  expect(again.equals(netns)).toBe(true);
  closeFd(fd);
});

test('a namespace that does not exist is an error naming its path', () => {
  expect(() => Netns.open('/run/netns/there-is-none')).toThrow('/run/netns/there-is-none');
});

test('an error inside a namespace comes out of it, and the thread comes back', () => {
  using netns = Netns.self();
  expect(() => netns.run(() => {
    throw new Error('inside');
  })).toThrow('inside');
  using after = Netns.self();
  expect(after.equals(netns)).toBe(true);
});

test('worker threads have it all too', async () => {
  const [code] = await once(new Worker(new URL('self-test-worker.ts', import.meta.url)), 'exit') as [number];
  expect(code).toBe(0);
});
