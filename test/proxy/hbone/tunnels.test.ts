/** Tunnels between pods: who shares one, who gets none, and what becomes of the connections in them. */
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FakeClock } from '../../../src/core/clock.ts';
import { MeshError } from '../../../src/core/errors.ts';
import { CERTIFICATE_WAIT_MS, HBONE_STREAMS_OPENED_MAX, HBONE_STREAM_WINDOW_BYTES, TLS_HANDSHAKES_PER_CLIENT_MAX } from '../../../src/core/limits.ts';
import { fakeTime, identityOf, PORT, soon, TunnelWorld } from './tunnel-world.ts';
import type { End, TunnelPod } from './tunnel-world.ts';

let world: TunnelWorld;
let client: TunnelPod;
let server: TunnelPod;

beforeEach(async () => {
  world = await TunnelWorld.create();
  client = await world.pod('client');
  server = await world.pod('server');
});

afterEach(() => {
  world.close();
});

async function echoed(end: End, text: string): Promise<void> {
  end.transport.write(text);
  while (end.received.length < text.length) await soon();
  expect(end.received).toBe(text);
}

/** Resolves when a pod has so many connections. */
async function open(pod: TunnelPod, count: number): Promise<void> {
  while (pod.listener?.openConnections !== count) await soon();
}

/** Another pod, or none, has the address of this one. */
function succeeded(pod: TunnelPod, uid: string | undefined): void {
  for (const address of pod.handle.addresses) {
    if (uid === undefined) world.uids.delete(address);
    else world.uids.set(address, uid);
  }
  client.tunnels.retain(world.podAt);
}

function reasonOf(error: Error | undefined): string {
  return (error as MeshError | undefined)?.reason ?? String(error);
}

describe('a tunnel', () => {
  it('carries many connections at a time, each its own', async () => {
    const ends = Array.from({ length: 20 }, () => world.open(client, server));
    await Promise.all(ends.map(async (end, index) => {
      await end.made.promise;
      await echoed(end, `connection ${index}`);
    }));
    expect(server.listener?.openConnections).toBe(1);
    expect(world.dialled).toHaveLength(1);
    expect(client.tunnels.size).toBe(1);
    expect(server.arrived.map(({ connection }) => [connection?.peer, connection?.destinationPort])).toEqual(ends.map(() => [{ identity: identityOf('client'), security: 'mutual_tls' }, PORT]));
  });

  it('is not shared between pods, whoever they talk to', async () => {
    const other = await world.pod('other');
    await world.open(client, server).made.promise;
    await world.open(other, server).made.promise;
    expect(server.listener?.openConnections).toBe(2);
    expect(server.arrived.map(({ connection }) => connection?.peer.identity)).toEqual([identityOf('client'), identityOf('other')]);
  });

  it('gets a second beside it when it is full', async () => {
    const ends = Array.from({ length: HBONE_STREAMS_OPENED_MAX + 1 }, () => world.open(client, server));
    await Promise.all(ends.map(({ made }) => made.promise));
    expect(server.listener?.openConnections).toBe(2);
  });

  it('is made with the newest certificate; the one before it stays up', async () => {
    const first = world.open(client, server);
    await first.made.promise;
    await world.certify('client');
    await world.certify('server');
    await echoed(first, 'still here');
    await world.open(client, server).made.promise;
    expect(world.dialled).toHaveLength(1);
    succeeded(server, 'started again');
    await world.open(client, server).made.promise;
    expect(world.dialled).toHaveLength(2);
  });
});

describe('whoever is not who he should be', () => {
  it('as the server gets nothing', async () => {
    const end = world.open(client, server, [identityOf('somebody-else')]);
    expect(reasonOf(await end.over.promise)).toBe(`the server is ${identityOf('server')}, not ${identityOf('somebody-else')}`);
    expect(server.arrived).toEqual([]);
    expect(client.tunnels.size).toBe(0);
  });

  it('as the client is refused, and the log says why', async () => {
    world.identities.set(await (await TunnelWorld.create()).ca.issue(identityOf('client')));
    const error = await world.open(client, server).over.promise;
    expect(error).toBeDefined();
    expect(server.arrived).toEqual([]);
  });

  it('is told apart from the right one, though they have one address', async () => {
    const wrong = world.open(client, server, [identityOf('somebody-else')]);
    const right = world.open(client, server);
    await right.made.promise;
    expect(await wrong.over.promise).toBeDefined();
    await echoed(right, 'hello');
  });
});

describe('a client that does not finish its handshakes', () => {
  it('gets no more of them at this pod, while others get their tunnels; when it has let go it may come again', async () => {
    const sockets = Array.from({ length: TLS_HANDSHAKES_PER_CLIENT_MAX }, () => world.silent(server, '127.0.9.9'));
    await open(server, TLS_HANDSHAKES_PER_CLIENT_MAX);
    await once(world.silent(server, '127.0.9.9'), 'close');
    expect(world.lines.at(-1)).toMatchObject({ message: 'a tunnel was refused', client: '127.0.9.9', reason: 'it has 256 handshakes that it does not finish' });
    const end = world.open(client, server);
    await end.made.promise;
    await echoed(end, 'hello');
    for (const socket of sockets) socket.destroy();
    await open(server, 1);
    world.silent(server, '127.0.9.9');
    await open(server, 2);
  });
});

describe('certificates that are not there yet', () => {
  it('are waited for by the client', async () => {
    const late = await world.pod('late', { certified: false });
    const end = world.open(late, server);
    await soon();
    expect(world.dialled).toEqual([]);
    await world.certify('late');
    await end.made.promise;
    await echoed(end, 'at last');
  });

  it('cost nothing when the client does not want to wait', async () => {
    const late = await world.pod('late', { certified: false });
    const end = world.open(late, server);
    end.transport.destroy();
    expect(await end.over.promise).toBeUndefined();
    await world.certify('late');
    await soon();
    expect(world.dialled).toEqual([]);
  });

  it('are waited for by the server', async () => {
    const late = await world.pod('late', { certified: false });
    const end = world.open(client, late);
    await soon();
    expect(late.arrived).toEqual([]);
    await world.certify('late');
    await end.made.promise;
    await echoed(end, 'at last');
  });

  it('are waited for once: a handshake that has begun is not cut off when the identity is given up meanwhile', async () => {
    const timed = await TunnelWorld.create(fakeTime());
    try {
      const late = await timed.pod('late', { certified: false });
      const socket = timed.silent(late, '127.0.9.9');
      await open(late, 1);
      await timed.certify('late');
      timed.identities.forget(late.handle.identity);
      (timed.dataplane.clock as FakeClock).advance(CERTIFICATE_WAIT_MS + 1_000);
      expect(late.listener?.openConnections).toBe(1);
      socket.destroy();
      await open(late, 0);
    } finally {
      timed.close();
    }
  });

  it('are not waited for without end', async () => {
    const clock = fakeTime();
    const timed = await TunnelWorld.create(clock);
    try {
      const [from, late] = [await timed.pod('client'), await timed.pod('late', { certified: false })];
      const end = timed.open(from, late);
      await open(late, 1);
      clock.advance(CERTIFICATE_WAIT_MS);
      expect(await end.over.promise).toBeDefined();
      expect(late.listener?.openConnections).toBe(0);
      expect(timed.lines.at(-1)).toMatchObject({ level: 'warn', message: 'a tunnel was refused', workload: 'shop/late', reason: 'this pod has no certificate yet' });
    } finally {
      timed.close();
    }
  });
});

describe('pods that go', () => {
  it('take their tunnels along at once, and what was in them fails', async () => {
    const end = world.open(client, server);
    await end.made.promise;
    succeeded(server, undefined);
    expect(client.tunnels.size).toBe(0);
    expect(await end.over.promise).toBeDefined();
    expect((await (await server.arrival()).over.promise)).toBeDefined();
    await open(server, 0);
  });

  it('leave the tunnels of those that stay', async () => {
    const other = await world.pod('other');
    const [going, staying] = [world.open(client, server), world.open(client, other)];
    await Promise.all([going.made.promise, staying.made.promise]);
    succeeded(server, undefined);
    expect(await going.over.promise).toBeDefined();
    await echoed(staying, 'still here');
    expect(client.tunnels.size).toBe(1);
  });

  it('may have a successor with their address, and even their identity: it is another pod', async () => {
    const end = world.open(client, server);
    await end.made.promise;
    succeeded(server, 'the successor');
    expect(await end.over.promise).toBeDefined();
    const next = world.open(client, server);
    await next.made.promise;
    await echoed(next, 'hello');
    expect(world.dialled).toHaveLength(2);
  });

  it('finish what is under way when they leave in order', async () => {
    const end = world.open(client, server);
    await end.made.promise;
    server.listener?.close();
    await soon();
    await echoed(end, 'under way');
    // A new connection is not put into a tunnel that is being left, and there is nobody to make another to.
    expect(await world.open(client, server).over.promise).toBeDefined();
    end.transport.end();
    (await server.arrival()).transport.end();
    expect(await end.over.promise).toBeUndefined();
    await open(server, 0);
  });
});

describe('a connection in a tunnel', () => {
  it('ends each direction on its own', async () => {
    server.serve = () => undefined;
    const end = world.open(client, server);
    await end.made.promise;
    end.transport.write('question');
    end.transport.end();
    const arrived = await server.arrival();
    await arrived.halfOver.promise;
    expect(arrived.received).toBe('question');
    arrived.transport.write('answer');
    arrived.transport.end();
    expect(await end.over.promise).toBeUndefined();
    expect(await arrived.over.promise).toBeUndefined();
    expect([end.received, end.ends]).toEqual(['answer', 1]);
  });

  it.each(['client', 'server'] as const)('that the %s resets is reset for the other', async (who) => {
    const end = world.open(client, server);
    await end.made.promise;
    const arrived = await server.arrival();
    const [own, other] = who === 'client' ? [end, arrived] : [arrived, end];
    own.transport.reset();
    expect(await other.over.promise).toMatchObject({ code: 'tunnel_reset' });
    expect(await own.over.promise).toBeUndefined();
  });

  it.each(['client', 'server'] as const)('that the %s closes is closed for the other, and no reset', async (who) => {
    const end = world.open(client, server);
    await end.made.promise;
    const arrived = await server.arrival();
    const [own, other] = who === 'client' ? [end, arrived] : [arrived, end];
    own.transport.destroy();
    expect(await other.over.promise).toBeUndefined();
  });

  it('is held back by who does not read, and goes on when he does; others are not', async () => {
    server.serve = (arrived) => arrived.transport.pause();
    const end = world.open(client, server);
    await end.made.promise;
    const chunk = Buffer.alloc(64 * 1024, 7);
    let sent = 0;
    for (let heldFor = 0; heldFor < 50 && sent < 4 * HBONE_STREAM_WINDOW_BYTES; ) {
      const { drains } = end;
      sent += chunk.length;
      if (!end.transport.writeBytes(chunk)) for (heldFor = 0; heldFor < 50 && end.drains === drains; heldFor += 1) await soon();
    }
    expect(sent).toBeGreaterThanOrEqual(HBONE_STREAM_WINDOW_BYTES);
    expect(sent).toBeLessThan(2 * HBONE_STREAM_WINDOW_BYTES);
    server.serve = (arrived) => {
      arrived.onBytes = (self, text) => self.transport.write(text);
    };
    const other = world.open(client, server);
    await other.made.promise;
    await echoed(other, 'not held');
    const { drains } = end;
    const arrived = await server.arrival();
    arrived.transport.resume();
    while (end.drains === drains) await soon();
    end.transport.end();
    await arrived.halfOver.promise;
    expect(arrived.receivedBytes).toBe(end.transport.bytesWritten);
  });

  it.each([['upstream_connect_failed', 503], ['rbac_denied', 401]] as const)('is there when the application is: %s is told as %i', async (code, status) => {
    server.refuses = new MeshError(code);
    const end = world.open(client, server);
    expect(reasonOf(await end.over.promise)).toBe(`the server of the tunnel answered ${status}`);
    server.refuses = undefined;
    const next = world.open(client, server);
    await next.made.promise;
    await echoed(next, 'the same tunnel');
    expect(world.dialled).toHaveLength(1);
  });

  it.each([
    ['a port of the agent', 15_006, '503  hbone.port_refused', 503],
    ['a port that is none', 0, '400 DPE hbone.bad_request', 400],
  ])('to %s is refused', async (_what, port, told, status) => {
    const end = world.open(client, server, undefined, port);
    expect(reasonOf(await end.over.promise)).toBe(`the server of the tunnel answered ${status}`);
    expect(world.ended).toEqual([told]);
    expect(server.arrived).toEqual([]);
  });
});
