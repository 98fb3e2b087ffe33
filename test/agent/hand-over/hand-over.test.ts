/** Two agents of one node, each with its own end of the hand-over; both in this process. What they do with the sockets is the lab's to show. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HandOver } from '../../../src/agent/hand-over/hand-over.ts';
import type { Inheritance } from '../../../src/agent/hand-over/inheritance.ts';
import { Predecessor } from '../../../src/agent/hand-over/predecessor.ts';
import { createLogger } from '../../../src/core/log.ts';
import { Netns } from '../../../src/sys/netns.ts';
import { closeFd, listenTcp, localAddress } from '../../../src/sys/socket.ts';

const log = createLogger('test', 'silent');
let directory: string;
let path: string;
let fds: number[];
let events: string[];
const opened: HandOver[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-hand-over-'));
  path = join(directory, 'hand-over.sock');
  fds = [];
  events = [];
});

afterEach(() => {
  for (const handOver of opened.splice(0)) handOver.close();
  for (const fd of fds) closeFd(fd);
  rmSync(directory, { recursive: true });
});

function listeners(count: number): void {
  while (fds.length < count) fds.push(listenTcp({ address: '127.0.0.1', port: 0, backlog: 5 }));
}

async function serving(instance = 'old', { isEnding = false } = {}): Promise<HandOver> {
  const handOver = await HandOver.open({
    path,
    instance,
    log,
    certified: () => ['spiffe://td/ns/a/sa/b'],
    hold: () => {
      events.push(`${instance} holds`);
      return { fds, pods: ['a/b'], originalDsts: [{ kind: 'bpf', mapPath: '/old' }] };
    },
    letGo: async () => {
      events.push(`${instance} lets go`);
    },
    takeBack: async (stage) => {
      events.push(`${instance} takes back what it ${stage}`);
      return !isEnding;
    },
  });
  opened.push(handOver);
  return handOver;
}

async function predecessor(instance = 'new'): Promise<Predecessor> {
  const found = await Predecessor.find({ path, instance, log });
  if (found === undefined) throw new Error('nobody serves');
  return found;
}

function claimAll(inheritance: Inheritance): number {
  const { cookie } = Netns.self();
  const claimed = fds.map((fd) => inheritance.claim({ cookie, ...localAddress(fd) })).filter((fd) => fd !== undefined);
  for (const fd of claimed) closeFd(fd);
  return claimed.length;
}

describe('a hand-over', () => {
  it('finds nobody where nobody serves, or one that was killed', async () => {
    expect(await Predecessor.find({ path, instance: 'new', log })).toBeUndefined();
    const handOver = await serving();
    // As SIGKILL does, it leaves the name behind.
    const { rename } = await import('node:fs/promises');
    await rename(path, `${path}.kept`);
    handOver.close();
    await rename(`${path}.kept`, path);
    expect(await Predecessor.find({ path, instance: 'new', log })).toBeUndefined();
  });

  it('passes more sockets than one message holds, and is over when the next one says so', async () => {
    listeners(600);
    const handOver = await serving();
    const old = await predecessor();
    expect(old.instance).toBe('old');
    expect(old.certified).toEqual(['spiffe://td/ns/a/sa/b']);
    expect(handOver.stage).toBe('preparing');
    const inheritance = await old.take();
    expect(handOver.stage).toBe('held');
    expect(inheritance.size).toBe(600);
    expect(inheritance.pods).toEqual(['a/b']);
    expect(inheritance.originalDsts).toEqual([{ kind: 'bpf', mapPath: '/old' }]);
    expect(claimAll(inheritance)).toBe(600);
    const settled = handOver.settled();
    await old.taken();
    await settled;
    expect(handOver.stage).toBe('let go');
    expect(events).toEqual(['old holds', 'old lets go']);
  });

  it('passes nothing where there is nothing', async () => {
    await serving();
    const old = await predecessor();
    expect((await old.take()).size).toBe(0);
    await old.taken();
    expect(events).toEqual(['old holds', 'old lets go']);
  });

  it('gives a socket for the place it listens at, once, and for no other', async () => {
    listeners(1);
    await serving();
    const inheritance = await (await predecessor()).take();
    const { cookie } = Netns.self();
    const place = { cookie, ...localAddress(fds[0] ?? -1) };
    expect(inheritance.claim({ ...place, cookie: cookie + 1n })).toBeUndefined();
    expect(inheritance.claim({ ...place, address: '0.0.0.0' })).toBeUndefined();
    const fd = inheritance.claim(place);
    expect(fd).toBeGreaterThan(0);
    expect(inheritance.claim(place)).toBeUndefined();
    closeFd(fd ?? -1);
  });

  it('is taken back when the next one goes before it serves', async () => {
    const handOver = await serving();
    const first = await predecessor();
    (await first.take()).close();
    first.giveUp();
    await expect.poll(() => handOver.stage).toBe('serving');
    expect(events).toEqual(['old holds', 'old takes back what it held']);
    await (await predecessor('another')).take();
    expect(events.at(-1)).toBe('old holds');
  });

  it('is taken back when the next one dies while it serves, and can be made again', async () => {
    const handOver = await serving();
    const first = await predecessor();
    await first.take();
    await first.taken();
    expect(await Predecessor.find({ path, instance: 'too early', log })).toBeUndefined();
    first.giveUp();
    await expect.poll(() => handOver.stage).toBe('serving');
    expect(events.at(-1)).toBe('old takes back what it let go');
    const second = await predecessor('second');
    await second.take();
    await second.taken();
    expect(handOver.stage).toBe('let go');
  });

  it('is not offered again by one that ends itself when the next one dies', async () => {
    listeners(1);
    const handOver = await serving('old', { isEnding: true });
    const next = await predecessor();
    (await next.take()).close();
    await next.taken();
    next.giveUp();
    await expect.poll(() => events.at(-1)).toBe('old takes back what it let go');
    await handOver.settled();
    expect(await Predecessor.find({ path, instance: 'newest', log })).toBeUndefined();
    expect(handOver.stage).toBe('let go');
  });

  it('is not taken back from one that served and ends on purpose', async () => {
    const handOver = await serving();
    const next = await predecessor();
    await next.take();
    await next.taken();
    next.ended();
    await next.gone;
    expect(handOver.stage).toBe('let go');
    expect(events).toEqual(['old holds', 'old lets go']);
  });

  it('leaves the next one alone with what it has got when this one dies', async () => {
    listeners(3);
    const handOver = await serving();
    const old = await predecessor();
    const inheritance = await old.take();
    handOver.close();
    await old.gone;
    await old.taken();
    expect(claimAll(inheritance)).toBe(3);
  });

  it('makes a third one wait until the second serves', async () => {
    await serving('first');
    const second = await predecessor('second');
    const third = predecessor('third');
    const inheritance = await second.take();
    await second.taken();
    await serving('second');
    expect((await third).instance).toBe('second');
    inheritance.close();
  });

  it('does not happen between agents that do not understand each other, and says what to do', async () => {
    const foreign = createServer((socket) => {
      socket.once('data', () => socket.end(`${JSON.stringify({ type: 'refused', reason: 'it knows version 2' })}\n`));
    });
    foreign.listen(path);
    await once(foreign, 'listening');
    await expect(predecessor()).rejects.toThrow('the agent that serves this node does not hand over: it knows version 2');
    foreign.close();
    await serving();
    const socket = connect(path);
    socket.write(`${JSON.stringify({ type: 'hello', protocol: 99, instance: 'far ahead' })}\n`);
    const [answer] = await once(socket, 'data') as [Buffer];
    expect(JSON.parse(answer.toString())).toMatchObject({ type: 'refused', reason: expect.stringContaining('maxSurge: 0') as string });
    expect(events).toEqual([]);
  });

  it('cuts off who says something else, asks out of turn or says too much', async () => {
    const handOver = await serving();
    const hello = '{"type":"hello","protocol":1,"instance":"x"}\n';
    for (const said of ['GET / HTTP/1.1\r\n\r\n', '{"type":"take"}\n', '{"type":"channel","token":"guess"}\n', '[]\n', `${hello}{"type":"taken"}\n`, 'x'.repeat(3_000_000)]) {
      const socket = connect(path);
      socket.on('error', () => undefined);
      socket.resume();
      socket.write(said);
      await new Promise((resolve) => {
        socket.once('close', resolve);
      });
      await expect.poll(() => handOver.stage).toBe('serving');
    }
    expect(events).toEqual([]);
  });
});
