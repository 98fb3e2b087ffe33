import { connect } from 'node:net';
import { once } from 'node:events';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { LeftListeners } from '../../src/agent/left-listeners.ts';
import type { SocketPlace } from '../../src/agent/placed-sockets.ts';
import { closeFd, listenTcp, localAddress, netnsCookie } from '../../src/sys/socket.ts';

let left: LeftListeners;
let place: SocketPlace;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const fd = listenTcp({ address: '127.0.0.1', port: 0, backlog: 8, reusePort: true, v6only: true });
  place = { cookie: netnsCookie(fd), ...localAddress(fd) };
  left = new LeftListeners();
  left.add({ outbound: [fd], inbound: [], hbone: [] });
});

afterEach(() => {
  left.close();
  vi.useRealTimers();
});

async function outcome(): Promise<string> {
  const socket = connect({ host: place.address, port: place.port });
  const [error] = (await Promise.race([once(socket, 'connect'), once(socket, 'error')]).catch((reason: unknown) => [reason])) as [NodeJS.ErrnoException | undefined];
  socket.destroy();
  return error?.code ?? 'connected';
}

test('whoever joins again in time gets the socket, and connections that wait on it', async () => {
  vi.advanceTimersByTime(5_900);
  expect(await outcome()).toBe('connected');
  expect(left.claim({ ...place, port: place.port ^ 1 })).toBeUndefined();
  const fd = left.claim(place);
  expect(fd).toBeGreaterThan(0);
  expect(left.claim(place)).toBeUndefined();
  vi.advanceTimersByTime(60_000);
  expect(await outcome()).toBe('connected');
  closeFd(fd as number);
});

test('it is closed when nobody does', async () => {
  vi.advanceTimersByTime(6_000);
  expect(left.claim(place)).toBeUndefined();
  expect(await outcome()).toBe('ECONNREFUSED');
});
