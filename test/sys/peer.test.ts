import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { namespaceAt, namespaceWhile, peerCredentials, peerNamespace, startTime } from '../../src/sys/peer.ts';

let directory: string;
let path: string;
let server: Server;
const children: ChildProcess[] = [];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-peer-'));
  path = join(directory, 's');
  server = createServer({ pauseOnConnect: true }).listen(path);
  await once(server, 'listening');
});

afterEach(() => {
  server.close();
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

function connectFromChild(script = ''): ChildProcess {
  const child = spawn(process.execPath, ['-e', `const socket = require('node:net').connect(${JSON.stringify(path)}); ${script}`]);
  children.push(child);
  return child;
}

async function accepted(): Promise<{ socket: Socket; fd: number }> {
  const [socket] = await once(server, 'connection') as [Socket];
  return { socket, fd: (socket as unknown as { _handle: { fd: number } })._handle.fd };
}

test('who connected, and the network namespace it is in', async () => {
  const child = connectFromChild();
  const { socket, fd } = await accepted();
  const credentials = peerCredentials(fd);
  expect(credentials).toEqual({ pid: child.pid, uid: process.getuid?.(), gid: process.getgid?.() });
  expect(peerNamespace(fd, credentials)).toEqual(namespaceAt('/proc/self/ns/net'));
  socket.destroy();
});

test('a process that has ended has no namespace', async () => {
  const child = connectFromChild('socket.on(\'connect\', () => process.exit());');
  const ended = once(child, 'exit');
  const { socket, fd } = await accepted();
  await ended;
  const credentials = peerCredentials(fd);
  expect(credentials.pid).toBe(child.pid);
  expect(peerNamespace(fd, credentials)).toBeUndefined();
  socket.destroy();
});

test('a pid that changes hands while it is looked up leads nowhere', () => {
  const lives = ['first', 'second'];
  expect(namespaceWhile(process.pid, () => lives.shift())).toBeUndefined();
  expect(namespaceWhile(process.pid, () => undefined)).toBeUndefined();
  expect(namespaceWhile(process.pid, () => 'same')).toEqual(namespaceAt('/proc/self/ns/net'));
  expect(namespaceAt('/run/netns/there-is-none')).toBeUndefined();
});

test('a namespace that may not be looked at is an error with a remedy', () => {
  // Run as nobody, this process's own parent is out of sight.
  const script = `const { namespaceAt } = await import(${JSON.stringify(join(import.meta.dirname, '../../src/sys/peer.ts'))});
    process.setuid(65534); try { namespaceAt('/proc/' + process.ppid + '/ns/net'); } catch (error) { console.log(error.message); }`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  expect(stdout, stderr).toBe(`look up the namespace at /proc/${process.pid}/ns/net: stat failed with EACCES; run as root, or grant CAP_SYS_PTRACE\n`);
});

test('processes are told apart by when they started, whatever they are called', async () => {
  const child = spawn(process.execPath, ['-e', 'process.title = "a) b (c"; process.stdout.write("there"); process.stdin.resume();']);
  children.push(child);
  await once(child.stdout, 'data');
  const pid = child.pid as number;
  const started = Number(startTime(pid));
  expect(started).toBeGreaterThan(Number(startTime(process.pid)));
  expect(startTime(pid)).toBe(String(started));
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
  expect(startTime(pid)).toBeUndefined();
});
