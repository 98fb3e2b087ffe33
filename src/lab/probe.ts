/** Is a pod ready? Probes as the kubelet makes them, from the node's own network namespace. */
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { Socket } from 'node:net';
import { Netns } from '../sys/netns.ts';
import { connectSocket } from '../sys/socket.ts';
import type { Probe } from './world.ts';

const TCP_LISTEN = '0A';

/** One attempt of a readiness probe from the namespace `from` to `address`. Resolves to whether it succeeded. */
export async function attemptProbe(probe: Probe, from: Netns, address: string): Promise<boolean> {
  const socket = new Socket({ fd: from.run(() => connectSocket({ family: 4 })), readable: true, writable: true });
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(resolve, probe.timeoutMs, false);
  socket.on('error', () => {
    resolve(false);
  });
  socket.connect({ host: address, port: probe.port });
  if (probe.kind === 'tcpSocket') socket.once('connect', () => {
    resolve(true);
  });
  else requestPath(probe, { socket, address }, resolve);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

/** Any status from 200 to 399 is a success, as for the kubelet. */
function requestPath(probe: Probe, { socket, address }: { socket: Socket; address: string }, resolve: (ok: boolean) => void): void {
  const headers = { 'user-agent': 'kube-probe/1.34', host: `${address}:${probe.port}`, connection: 'close', ...probe.headers };
  request({ createConnection: () => socket, path: probe.path, headers }, (response) => {
    response.resume();
    const status = response.statusCode ?? 0;
    resolve(status >= 200 && status < 400);
  }).on('error', () => {
    resolve(false);
  }).end();
}

/**
 * Does a process in the namespace of process `pid` listen on TCP `port`? Read from the kernel's table and not tried by a
 * connection: an agent that captures the pod's inbound traffic would accept in the application's place.
 */
export function isListening(pid: number, port: number): boolean {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  return ['tcp', 'tcp6'].some((file) => readFileSync(`/proc/${pid}/net/${file}`, 'utf8').split('\n').some((line) => {
    const [, local, , state] = line.trim().split(/\s+/);
    return state === TCP_LISTEN && local?.endsWith(`:${hex}`) === true;
  }));
}
