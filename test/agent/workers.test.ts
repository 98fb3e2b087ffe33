/** A worker dies; the clients of its pods must not notice more than a pause. */
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { Workers } from '../../src/agent/workers.ts';
import { createLogger } from '../../src/core/log.ts';
import { closeFd, listenTcp, localAddress } from '../../src/sys/socket.ts';

const opened: { workers: Workers; fd: number }[] = [];
afterEach(async () => {
  for (const { workers, fd } of opened.splice(0)) {
    await workers.close();
    closeFd(fd);
  }
});

interface Bench {
  readonly port: number;
  readonly restarts: string[];
}

async function bench(): Promise<Bench> {
  const fd = listenTcp({ address: '127.0.0.1', port: 0, backlog: 128 });
  const restarts: string[] = [];
  await new Promise<void>((resolve) => {
    const workers = new Workers({
      count: 1,
      settings: { logLevel: 'silent', accessLog: undefined },
      log: createLogger('test', 'silent'),
      entry: new URL('mortal-worker.ts', import.meta.url),
      onEnrolled: () => resolve(),
      onApplied: () => undefined,
      onJwksWanted: () => undefined,
      onJwksRefresh: () => undefined,
      onRestart: (name) => restarts.push(name),
    });
    opened.push({ workers, fd });
    workers.enrol({ id: 'ns/pod', identity: 'spiffe://cluster.local/ns/a/sa/default', baggage: '', netnsPath: '/proc/self/ns/net', addresses: [] }, { outbound: [fd], inbound: [], hbone: [], originalDsts: [{ kind: 'conntrack' }] });
  });
  return { port: localAddress(fd).port, restarts };
}

/** Say a word, hear the line that is answered; rejects when the connection is refused or reset. */
async function say(port: number, word: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let heard = '';
    const socket = connect({ port, host: '127.0.0.1' }, () => socket.write(`${word}\n`));
    socket.on('data', (data: Buffer) => (heard += data.toString()));
    socket.on('end', () => resolve(heard.trim()));
    socket.on('error', reject);
  });
}

describe('a worker that dies', () => {
  it.each(['throw', 'eat'])('of "%s" is replaced, and its pods\' clients wait in the backlog meanwhile', async (cause) => {
    const { port, restarts } = await bench();
    const first = await say(port, cause);
    // As soon as the old worker is gone, further clients have nobody who accepts, and must not be refused.
    await expect.poll(() => restarts, { timeout: 30_000, interval: 5 }).toEqual(['worker-0']);
    const answers = await Promise.all(Array.from({ length: 20 }, async () => say(port, 'hello')));
    expect(new Set(answers).size).toBe(1);
    expect(answers[0]).not.toBe(first);
    expect(restarts).toEqual(['worker-0']);
  }, 60_000);
});
