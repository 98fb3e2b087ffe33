/** The socket where the CNI plugin asks: for root alone, one question each, and nothing believed that is not in order. What the plugin itself makes of it: test/cni. */
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CniServer } from '../../src/agent/cni-server.ts';
import type { Sandbox } from '../../src/agent/cni-server.ts';
import { createLogger } from '../../src/core/log.ts';

const GOOD = { command: 'ADD', containerId: 'c1', namespace: 'shop', name: 'web-1', uid: 'u-1', netns: '/run/netns/x', addresses: ['10.0.0.7', 'FD00::0007'], waitMs: 1000 };

let directory: string;
let path: string;
let added: Sandbox[];
let removed: string[];
const servers: CniServer[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-cni-server-'));
  path = join(directory, 'cni.sock');
  added = [];
  removed = [];
});

afterEach(() => {
  for (const server of servers.splice(0)) server.close();
  rmSync(directory, { recursive: true });
});

async function open(): Promise<CniServer> {
  const handler = {
    add: async (sandbox: Sandbox): Promise<void> => {
      added.push(sandbox);
    },
    remove: ({ id, containerId }: Pick<Sandbox, 'id' | 'containerId'>): void => {
      removed.push(`${id} ${containerId}`);
    },
  };
  const server = await CniServer.open(path, handler, createLogger('test', 'silent'));
  servers.push(server);
  return server;
}

/** What comes back until the connection ends. */
async function say(...parts: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(path, () => {
      for (const part of parts) socket.write(part);
    });
    socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk)).on('error', () => undefined).on('close', () => resolve(text));
  });
}

const ask = async (more: object): Promise<unknown> => JSON.parse(await say(`${JSON.stringify({ ...GOOD, ...more })}\n`));

it('is for root alone, and takes the place of an agent before, whichever ends first', async () => {
  const before = await open();
  const inode = statSync(path).ino;
  const next = await open();
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(statSync(path).ino).not.toBe(inode);
  before.close();
  expect(await ask({})).toEqual({ result: 'ok' });
  next.close();
  expect(existsSync(path)).toBe(false);
  expect(readdirSync(directory)).toEqual([]);
});

describe('a question', () => {
  it('is understood in pieces; addresses are in one spelling', async () => {
    await open();
    const text = `${JSON.stringify(GOOD)}\n`;
    expect(await say(text.slice(0, 10), text.slice(10))).toBe('{"result":"ok"}\n');
    expect(added).toMatchObject([{ id: 'shop/web-1', uid: 'u-1', containerId: 'c1', netnsPath: '/run/netns/x', addresses: ['10.0.0.7', 'fd00::7'] }]);
    expect(await ask({ command: 'DEL' })).toEqual({ result: 'ok' });
    expect(removed).toEqual(['shop/web-1 c1']);
  });

  it.each([
    ['command', 'FETCH'], ['namespace', '../x'], ['namespace', ''], ['name', 'Web'], ['name', 'x'.repeat(300)], ['uid', 'a b'], ['containerId', ''], ['containerId', 'a/b'],
    ['netns', 'relative'], ['netns', '/a\0b'], ['netns', 7], ['addresses', '10.0.0.1'], ['addresses', ['10.0.0.256']], ['addresses', [1]], ['waitMs', -1], ['waitMs', 1e9], ['waitMs', '5'],
  ])('is refused when its %s is %j', async (field, value) => {
    await open();
    expect(await ask({ [field]: value })).toEqual({ result: 'error', reason: `the question has no valid ${field}` });
    expect(added).toEqual([]);
  });

  it('that is no JSON, no object, or endless is not answered with success', async () => {
    await open();
    expect(JSON.parse(await say('{"command": \n'))).toMatchObject({ result: 'error' });
    expect(JSON.parse(await say('[]\n'))).toMatchObject({ result: 'error' });
    expect(await say('x'.repeat(20_000), 'x'.repeat(20_000))).toBe('');
    expect(added).toEqual([]);
  });
});
