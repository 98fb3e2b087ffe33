/** The workload socket with callers in network namespaces of their own: everybody gets its own identity, or none. */
import { spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WorkloadSocket } from '../../src/agent/workload-socket.ts';
import { systemClock } from '../../src/core/clock.ts';
import { SecretClient } from '../certs/grpc-client.ts';
import { RotatingSource } from '../certs/rotating-source.ts';
import { collectingLog } from '../certs/workload-world.ts';
import type { LogLine } from '../certs/workload-world.ts';
import { Cluster } from './cluster.ts';
import type { Host } from './cluster.ts';

const CALLER = join(import.meta.dirname, 'workload-caller.ts');
const CART = 'spiffe://cluster.local/ns/shop/sa/cart';
const PAYMENT = 'spiffe://cluster.local/ns/shop/sa/payment';
const NOBODY = 65_534;
const LEFT = { code: status.UNAVAILABLE, details: 'the pod has left the mesh' };
const DENIED = { code: status.PERMISSION_DENIED, details: 'this process is in no pod that is enrolled on this node; the log of the agent says why' };

let cluster: Cluster;
let directory: string;
let source: RotatingSource;
let lines: LogLine[];
let socket: WorkloadSocket;
let cart: Host;
let payment: Host;

beforeEach(async () => {
  cluster = Cluster.create({ nodes: 1 });
  [cart, payment] = [cluster.addPod(1, 'cart'), cluster.addPod(1, 'payment')];
  directory = mkdtempSync(join(tmpdir(), 'orlop-sds-'));
  chmodSync(directory, 0o711);
  source = new RotatingSource();
  lines = [];
  socket = new WorkloadSocket(join(directory, 'workload'), { source, clock: systemClock, log: collectingLog(lines) });
  await socket.listen();
  await source.issue(CART);
  await source.issue(PAYMENT);
  enrol(cart, CART);
  enrol(payment, PAYMENT);
});

afterEach(async () => {
  socket.close();
  await cluster[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

function enrol(pod: Host, identity: string): void {
  socket.enrol({ id: `shop/${pod.name}`, identity, netnsPath: pod.netnsPath });
}

function release(pod: Host): void {
  socket.release(`shop/${pod.name}`);
}

/** What our own client in `host` is told, line by line. */
function ask(host: Host, names: readonly string[], options: { uid?: number; gid?: number } = {}): { next: () => Promise<unknown> } {
  return listen(cluster.spawn(host, process.execPath, ['--disable-warning=ExperimentalWarning', CALLER, socket.path, ...names], options));
}

function listen(child: ChildProcess): { next: () => Promise<unknown> } {
  const output = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
  return { next: async () => JSON.parse((await output.next()).value as string) as unknown };
}

describe('a caller in a pod', () => {
  test('gets its own identity and never another\'s, even when it asks by name', async () => {
    const [one, other] = [ask(cart, ['default', PAYMENT, CART, 'ROOTCA']), ask(payment, [CART, 'default'])];
    expect([await one.next(), await one.next(), await one.next(), await one.next()]).toEqual([
      { secret: 'default', san: `URI:${CART}` }, { secret: CART, san: `URI:${CART}` }, { secret: 'ROOTCA' }, { ids: [CART] },
    ]);
    expect([await other.next(), await other.next()]).toEqual([{ secret: 'default', san: `URI:${PAYMENT}` }, { ids: [PAYMENT] }]);
    expect(new Set(lines.map(({ pod, secret }) => `${String(pod)} asked for ${String(secret)}`))).toEqual(new Set([`shop/${cart.name} asked for ${PAYMENT}`, `shop/${payment.name} asked for ${CART}`]));
  });

  test('may run as any user', async () => {
    expect(statSync(socket.path).mode & 0o777).toBe(0o666);
    const { next } = ask(cart, ['default'], { uid: NOBODY, gid: NOBODY });
    expect([await next(), await next()]).toEqual([{ secret: 'default', san: `URI:${CART}` }, { ids: [CART] }]);
  });

  test('may be go-spiffe, which verifies what it gets', async () => {
    const binary = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'orlop/bin/spiffe-client');
    if (!existsSync(binary)) throw new Error(`${binary} is missing; run scripts/spiffe-client.sh`);
    const { next } = listen(cluster.spawn(cart, binary, [`unix://${socket.path}`]));
    expect(await next()).toEqual({ id: CART, serial: source.get(CART)?.serial, roots: 1 });
    const { serial } = await source.issue(CART);
    expect(await next()).toEqual({ id: CART, serial, roots: 1 });
    await source.addRoot();
    expect(await next()).toEqual({ id: CART, serial, roots: 2 });
    release(cart);
    expect(await next()).toMatchObject({ error: expect.stringContaining('the pod has left the mesh') as string });
    expect(await next()).toMatchObject({ error: expect.stringContaining('PermissionDenied') as string });
  });

  test('sees its streams end when the pod leaves the mesh, and is a stranger then', async () => {
    const { next } = ask(cart, ['default']);
    await next();
    expect(await next()).toEqual({ ids: [CART] });
    release(cart);
    expect([await next(), await next()]).toEqual([LEFT, DENIED]);
    expect(await ask(cart, ['default']).next()).toEqual(DENIED);
    enrol(cart, CART);
    expect(await next()).toEqual({ ids: [CART] });
  });
});

describe('refused with one clear line', () => {
  test('a caller in a namespace of nobody', async () => {
    const { next } = ask(cluster.addPod(1, 'stranger'), ['default', CART]);
    expect([await next(), await next()]).toEqual([DENIED, DENIED]);
    expect(lines).toMatchObject([{ level: 'warn', message: 'caller of the workload socket refused', reason: 'its network namespace belongs to no enrolled pod', uid: 0 }]);
  });

  test('a caller in the namespace of the node', async () => {
    using client = new SecretClient(socket.path);
    await expect(client.fetch(['default'])).rejects.toMatchObject(DENIED);
    await expect(client.stream().incoming.failure()).resolves.toMatchObject(DENIED);
    expect(lines).toMatchObject([{ reason: 'it is in the network namespace of the node, so it is no pod of its own', pid: process.pid }]);
  });

  test('a pod whose namespace is gone is not confused with the next one', async () => {
    cluster.removePod(cart);
    const { next } = ask(cluster.addPod(1, 'next'), ['default']);
    expect(await next()).toEqual(DENIED);
  });

  test('a caller that ended before it was looked at, even when its number belongs to another pod by then', async () => {
    // The connection stays open in a child; the one that made it is gone before this process can accept.
    const script = (path: string): string => `const { spawn } = require('node:child_process'); const socket = require('node:net').connect(${JSON.stringify(path)});
      socket.on('connect', () => { spawn('sleep', ['5'], { stdio: ['ignore', 'ignore', 'ignore', socket], detached: true }); process.exit(); });`;
    for (let attempt = 0; ; attempt += 1) {
      socket.close();
      socket = new WorkloadSocket(join(directory, `workload-${attempt}`), { source, clock: systemClock, log: collectingLog(lines) });
      await socket.listen();
      enrol(cart, CART);
      enrol(payment, PAYMENT);
      const { pid, status: code, stderr } = cart.netns.run(() => spawnSync(process.execPath, ['-e', script(socket.path)], { encoding: 'utf8' }));
      expect([code, stderr]).toEqual([0, '']);
      writeFileSync('/proc/sys/kernel/ns_last_pid', String(pid - 1));
      const reused = cluster.spawn(payment, 'sleep', ['20']).pid === pid;
      await expect.poll(() => lines.length).toBe(1);
      expect(lines.splice(0)).toMatchObject([{ pid, reason: 'its process has ended' }]);
      if (reused) return;
      expect(attempt, 'the pid was never given again').toBeLessThan(20);
    }
  });
});
