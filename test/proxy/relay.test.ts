import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { FakeClock } from '../../src/core/clock.ts';
import { Relay } from '../../src/proxy/relay.ts';
import { SocketTransport, acceptHandles } from '../../src/proxy/socket-transport.ts';
import type { Transport, TransportOwner } from '../../src/proxy/transport.ts';

const NOBODY: TransportOwner = { bytes: () => undefined, ended: () => undefined, drained: () => undefined, closed: () => undefined };

interface Joined {
  client: Socket;
  server: Socket;
  relay: Relay;
  closed: Promise<Error | undefined>;
}

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

async function listening(server: Server): Promise<number> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** A client and a server with a relay between them, on real sockets with accepted handles on both sides. */
async function join(clock: FakeClock, idleTimeoutMs = 0): Promise<Joined> {
  const accepted: Transport[] = [];
  const middle = createServer();
  const port = await listening(middle);
  let bothIn: () => void;
  const both = new Promise<void>((resolve) => (bothIn = resolve));
  acceptHandles(middle, (handle) => {
    const transport = SocketTransport.accepted(handle, NOBODY);
    transport.pause();
    accepted.push(transport);
    if (accepted.length === 2) bothIn();
  });
  const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await new Promise((resolve) => client.once('connect', resolve));
  while (accepted.length < 1) await new Promise((resolve) => setImmediate(resolve));
  const server = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await both;
  let relay: Relay | undefined;
  const closed = new Promise<Error | undefined>((resolve) => {
    relay = new Relay(accepted[0] as Transport, accepted[1] as Transport, { clock, idleTimeoutMs, onClosed: resolve });
  });
  for (const transport of accepted) transport.resume();
  return { client, server, relay: relay as Relay, closed };
}

async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.resume();
  await new Promise((resolve) => socket.once('end', resolve));
  return Buffer.concat(chunks);
}

describe('relay', () => {
  it('passes bytes both ways and keeps a half-close', async () => {
    const { client, server, closed, relay } = await join(new FakeClock());
    client.end('question');
    expect((await readAll(server)).toString()).toBe('question');
    // The client's direction is over; the server may still answer.
    server.end('answer');
    expect((await readAll(client)).toString()).toBe('answer');
    expect(await closed).toBeUndefined();
    expect([relay.received, relay.sent]).toEqual([8, 6]);
  });

  it('holds a fast sender back for a slow reader, and loses nothing', async () => {
    const { client, server, relay, closed } = await join(new FakeClock());
    const size = 48 * 1024 * 1024;
    const block = Buffer.alloc(size);
    for (let i = 0; i < size; i += 4096) block.writeUInt32LE(i, i);
    server.pause();
    client.end(block);
    let before = -1;
    while (relay.received !== before) {
      before = relay.received;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(relay.received).toBeLessThan(size);
    const got = await readAll(server);
    expect(got.equals(block)).toBe(true);
    server.end();
    await readAll(client);
    expect(await closed).toBeUndefined();
  });

  it('passes a reset on as a reset', async () => {
    const { client, server, closed } = await join(new FakeClock());
    const error = new Promise<NodeJS.ErrnoException>((resolve) => server.once('error', resolve));
    server.resume();
    client.resetAndDestroy();
    expect((await error).code).toBe('ECONNRESET');
    expect(await closed).toBeInstanceOf(Error);
  });

  it('ends when nothing moved for the idle timeout, and not while something moves', async () => {
    const clock = new FakeClock();
    const { client, server, relay, closed } = await join(clock, 1000);
    client.on('error', () => undefined);
    server.on('error', () => undefined);
    clock.advance(900);
    client.write('x');
    while (relay.received === 0) await new Promise((resolve) => setImmediate(resolve));
    clock.advance(900);
    expect(client.destroyed).toBe(false);
    client.resume();
    server.resume();
    clock.advance(1100);
    await closed;
  });
});
