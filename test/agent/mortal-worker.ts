/** A worker that serves one line a connection, and dies as it is told: by an exception, or by running out of memory. */
import { createServer } from 'node:net';
import { parentPort } from 'node:worker_threads';
import type { FromWorker, ToWorker } from '../../src/agent/protocol.ts';
import { dup } from '../../src/sys/socket.ts';

const born = process.hrtime.bigint();

function obey(word: string): void {
  if (word === 'throw') throw new Error('told to');
  if (word !== 'eat') return;
  const kept: number[][] = [];
  for (;;) kept.push(Array.from({ length: 100_000 }, (_, i) => i + 0.5));
}

parentPort?.on('message', (message: ToWorker) => {
  if (message.type !== 'enrol') return;
  for (const fd of message.pod.listeners?.outbound ?? []) {
    createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (data) => {
        socket.end(`${born}\n`);
        const word = data.toString().trim();
        if (word !== 'hello') setImmediate(() => obey(word));
      });
    }).listen({ fd: dup(fd) });
  }
  parentPort?.postMessage({ type: 'enrolled', id: message.pod.id } satisfies FromWorker);
});
