/** The CNI plugin itself, as a runtime calls it: variables, a configuration on standard input, a result or an error on standard output. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { CniServer } from '../../src/agent/cni-server.ts';
import type { CniHandler, Sandbox } from '../../src/agent/cni-server.ts';
import { createLogger } from '../../src/core/log.ts';
import { seededRandom } from '../../src/core/random.ts';

const CNI = join(import.meta.dirname, '../../cni');
/** With every access to memory checked. */
const PLUGIN = join(CNI, 'orlop-cni-checked');

const RESULT = {
  cniVersion: '1.0.0',
  interfaces: [{ name: 'cni0', mac: '0a:58:0a:00:00:01' }, { name: 'eth0', mac: '0a:58:0a:00:00:07', sandbox: '/var/run/netns/cni-1' }],
  ips: [{ address: '10.0.0.7/24', gateway: '10.0.0.1', interface: 1 }, { address: '10.9.9.9/24', interface: 0 }, { address: 'fd00::0007/64' }],
  routes: [{ dst: '0.0.0.0/0' }], dns: {},
};
const POD = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c0ffee', CNI_NETNS: '/var/run/netns/cni-1', CNI_IFNAME: 'eth0', CNI_PATH: '/opt/cni/bin' };
const ARGS = 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1;K8S_POD_INFRA_CONTAINER_ID=c0ffee;K8S_POD_UID=2f5f9d3c-6c0b-4d0c-9d5e-0a1b2c3d4e5f';

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface CniFault {
  readonly cniVersion: string;
  readonly code: number;
  readonly msg: string;
  readonly details: string;
}

let directory: string;
let socket: string;

beforeAll(() => {
  execFileSync('make', ['-s', '-C', CNI, 'orlop-cni', 'orlop-cni-checked']);
});

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-cni-'));
  socket = join(directory, 'cni.sock');
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

function config(fields: object = {}): string {
  return JSON.stringify({ cniVersion: '1.0.0', name: 'net', type: 'orlop-cni', socket, waitMs: 400, prevResult: RESULT, ...fields });
}

async function run(input: string, environment: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  const child = spawn(PLUGIN, { env: { ...POD, CNI_ARGS: ARGS, ...environment } });
  const outcome = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (outcome.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (outcome.stderr += text));
  child.stdin.on('error', () => undefined).end(input);
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, ...outcome })));
}

/** Without a pod of Kubernetes: nothing but the configuration decides. */
function runAlone(input: string | Buffer): Outcome {
  const { status: code, stdout, stderr } = spawnSync(PLUGIN, { env: POD, input, encoding: 'utf8' });
  return { code, stdout, stderr };
}

function faultOf({ code, stdout, stderr }: Outcome): CniFault {
  expect(stderr).toBe('');
  expect(code).toBe(1);
  return JSON.parse(stdout) as CniFault;
}

const log = createLogger('test', 'silent');

/** An agent's socket, and what was asked there. */
async function serve(add: CniHandler['add'] = async () => undefined): Promise<{ server: CniServer; added: Sandbox[]; removed: string[] }> {
  const added: Sandbox[] = [];
  const removed: string[] = [];
  const server = await CniServer.open(socket, {
    add: async (sandbox, signal) => {
      added.push(sandbox);
      await add(sandbox, signal);
    },
    remove: ({ id, containerId }) => removed.push(`${id} ${containerId}`),
  }, log);
  return { server, added, removed };
}

describe('ADD', () => {
  it('tells the agent whose network was made, and passes on the result as it is', async () => {
    const { server, added } = await serve();
    const result = '{ "cniVersion":"1.0.0", "ips" : [{"address":"10.0.0.7/24"}], "x": [1.50e+1, "\\u00e9\\/", null] }';
    const outcome = await run(config().replace(JSON.stringify(RESULT), result));
    expect(outcome).toEqual({ code: 0, stdout: result, stderr: '' });
    expect(added).toEqual([{ command: 'ADD', id: 'shop/web-1', uid: '2f5f9d3c-6c0b-4d0c-9d5e-0a1b2c3d4e5f', containerId: 'c0ffee', netnsPath: '/var/run/netns/cni-1', addresses: ['10.0.0.7'], waitMs: 200 }]);
    server.close();
  });

  it('names the addresses of the interface that is made, and no other', async () => {
    const { server, added } = await serve();
    await run(config());
    expect(added[0]?.addresses).toEqual(['10.0.0.7', 'fd00::7']);
    server.close();
  });

  it('fails with what the agent says against it', async () => {
    const { server } = await serve(async () => Promise.reject(new Error('its network namespace "x" does not\n exist')));
    expect(faultOf(await run(config()))).toEqual({ cniVersion: '1.0.0', code: 100, msg: 'the pod cannot be enrolled in the Orlop mesh', details: 'its network namespace "x" does not\n exist' });
    server.close();
  });

  it('waits for an agent that is away, and then fails so that the kubelet tries again', async () => {
    const { code, msg, details } = faultOf(await run(config()));
    expect({ code, msg, details }).toEqual({ code: 11, msg: 'no Orlop agent has answered on this node within 400 ms; the pod is held back until one does', details: `${socket}: No such file or directory` });
  });

  it('asks again when the agent ends before it has answered, and takes the answer of the next', async () => {
    let asked: (() => void) | undefined;
    const wasAsked = new Promise<void>((resolve) => (asked = resolve));
    const first = await serve(async () => {
      asked?.();
      await new Promise(() => undefined);
    });
    const running = run(config({ waitMs: 30_000 }));
    await wasAsked;
    first.server.close();
    const second = await serve();
    expect((await running).code).toBe(0);
    expect(second.added.length).toBe(1);
    second.server.close();
  });

  it('does not wait longer than it is told for an agent that does not answer, which then sees that it is no longer waited for', async () => {
    let ended: (() => void) | undefined;
    const hasEnded = new Promise<void>((resolve) => (ended = resolve));
    const { server } = await serve(async (_, signal) => new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        ended?.();
        reject(new Error('not in time'));
      });
    }));
    expect(faultOf(await run(config()))).toMatchObject({ code: 100, details: 'not in time' });
    await hasEnded;
    server.close();
  });

  it.each([
    ['of a namespace that is excluded', { excludeNamespaces: ['kube-system', 'shop'] }, {}],
    ['that declines by its annotation', { runtimeConfig: { 'io.kubernetes.cri.pod-annotations': { a: 'b', 'orlop.io/mesh': 'disabled' } } }, {}],
    ['that is none of Kubernetes', {}, { CNI_ARGS: '' }],
  ])('lets a container start without an agent: one %s', async (_, fields, environment) => {
    expect(await run(config(fields), environment)).toEqual({ code: 0, stdout: JSON.stringify(RESULT), stderr: '' });
  });

  it.each([
    ['an annotation that asks to take part', { runtimeConfig: { 'io.kubernetes.cri.pod-annotations': { 'orlop.io/mesh': 'enabled' } } }],
    ['another namespace that is excluded', { excludeNamespaces: ['shop2', 'sho', 7, null] }],
    ['annotations of the wrong shape', { runtimeConfig: { 'io.kubernetes.cri.pod-annotations': ['orlop.io/mesh', 'disabled'] } }],
  ])('holds a pod back with %s', async (_, fields) => {
    expect(faultOf(await run(config(fields))).code).toBe(11);
  });

  it.each([
    ['a variable is missing', config(), { CNI_NETNS: '' }, 4, /CNI_NETNS/],
    ['a variable is endless', config(), { CNI_NETNS: `/${'x'.repeat(5000)}` }, 4, /CNI_NETNS/],
    ['an argument is endless', config(), { CNI_ARGS: `K8S_POD_NAME=${'x'.repeat(5000)}` }, 4, /K8S_POD_NAME/],
    ['it stands first in the chain', config({ prevResult: undefined }), {}, 7, /must come after/],
    ['the version is one of the future', config({ cniVersion: '2.0.0' }), {}, 1, /0\.3\.0, .* 1\.1\.0/],
    ['there is no version', config({ cniVersion: undefined }), {}, 7, /cniVersion/],
    ['the wait is none', config({ waitMs: '15s' }), {}, 7, /waitMs/],
    ['the path of the socket is too long for one', config({ socket: `/${'x'.repeat(200)}` }), {}, 11, /too long/],
    ['the configuration is no JSON', '{"cniVersion": }', {}, 6, /a value is expected/],
    ['the configuration is no object', '[]', {}, 6, /not an object/],
    ['the configuration is empty', '', {}, 6, /ends too soon/],
    ['the command is none', config(), { CNI_COMMAND: 'FETCH' }, 4, /CNI_COMMAND/],
  ])('says what is wrong when %s', async (_, input, environment, code, words) => {
    const fault = faultOf(await run(input, environment));
    expect(fault.code).toBe(code);
    expect(`${fault.msg}: ${fault.details}`).toMatch(words);
  });
});

describe('DEL', () => {
  it('tells the agent which sandbox goes', async () => {
    const { server, removed } = await serve();
    expect(await run(config(), { CNI_COMMAND: 'DEL', CNI_NETNS: '' })).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(removed).toEqual(['shop/web-1 c0ffee']);
    server.close();
  });

  it.each([['no agent is there', config()], ['there is no result', config({ prevResult: undefined })], ['the configuration is no JSON', '{'], ['the version is unknown', config({ cniVersion: '9' })]])('never fails, as when %s', async (_, input) => {
    expect(await run(input, { CNI_COMMAND: 'DEL' })).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await run(input, { CNI_COMMAND: 'GC' })).toEqual({ code: 0, stdout: '', stderr: '' });
  });
});

describe('the other commands', () => {
  it('VERSION tells what is understood', async () => {
    const { stdout } = await run('', { CNI_COMMAND: 'VERSION' });
    expect(JSON.parse(stdout)).toEqual({ cniVersion: '1.1.0', supportedVersions: ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] });
  });

  it('STATUS does not make a node unready because its agent is away; CHECK asks for the place in the chain', async () => {
    expect(await run(config({ prevResult: undefined }), { CNI_COMMAND: 'STATUS' })).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await run(config(), { CNI_COMMAND: 'CHECK' })).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(faultOf(await run(config({ prevResult: undefined }), { CNI_COMMAND: 'CHECK' })).code).toBe(7);
  });
});

describe('a hostile configuration', () => {
  const nested = (depth: number): string => `{"cniVersion":"1.0.0","prevResult":{"x":${'['.repeat(depth)}${']'.repeat(depth)}}}`;

  it.each([
    ['nested deeply', nested(100_000), 6, /nested too deeply/],
    ['nested deeply and cut off', '{"a":'.repeat(30_000), 6, /nested too deeply/],
    ['huge', `{"cniVersion":"1.0.0","x":"${'x'.repeat(300_000)}"}`, 7, /256 KiB/],
    ['two of them', '{} {}', 6, /follows/],
    ['a string that ends in a backslash', '{"cniVersion":"1.0.0\\', 6, /escape/],
    ['half of a surrogate pair', '{"cniVersion":"\\ud800"}', 6, /escape/],
    ['a version with a NUL in it', '{"cniVersion":"1.0.0\\u0000"}', 7, /cniVersion/],
    ['a raw line feed in a string', '{"cniVersion":"1.0.0\n"}', 6, /control character/],
    ['a comma too many', '{"cniVersion":"1.0.0",}', 6, /string is expected/],
    ['words of another language', '{"cniVersion":undefined}', 6, /value is expected/],
  ])('is refused: %s', (_, input, code, words) => {
    const fault = faultOf(runAlone(input));
    expect(fault.code).toBe(code);
    expect(`${fault.msg}: ${fault.details}`).toMatch(words);
  });

  it.each([
    ['bytes that are no UTF-8', Buffer.from([0x22, 0xff, 0x22])],
    ['a character in more bytes than it needs', Buffer.from([0x22, 0xc0, 0xaf, 0x22])],
    ['a surrogate as UTF-8', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22])],
    ['a character that is cut off', Buffer.from([0x22, 0xf0, 0x9f, 0x98])],
  ])('is refused: %s', (_, bytes) => {
    expect(faultOf(runAlone(bytes))).toMatchObject({ code: 6, details: 'a string is not UTF-8' });
  });

  it('is nested as deeply as that and taken', () => {
    expect(runAlone(nested(62)).code).toBe(0);
    expect(faultOf(runAlone(nested(63))).details).toMatch(/deeply/);
  });

  it('is taken, or refused, as JSON.parse takes or refuses it; the result stays byte for byte', () => {
    const random = seededRandom(20_261_121);
    const pick = (below: number): number => Math.floor(random.next() * below);
    const marks = ['{', '}', '[', ']', '"', ',', ':', '\\', '\\u12', '\\ud83d\\ude00', '0', '-', '1e5', '.5', '\0', '\u0007', 'é', '😀', 'true', 'null', ' '];
    const results = [RESULT, {}, { ips: [] }, { a: 'é😀\\"\n\u0001', b: [1e-7, -0.5, true, null, [[]]] }];
    for (let round = 0; round < 400; round += 1) {
      const result = JSON.stringify(results[pick(results.length)]);
      let text = `{"cniVersion":"1.0.0","name":"n","prevResult":${result}}`;
      const intact = round % 8 === 0;
      for (let edits = intact ? 0 : 1 + pick(3); edits > 0; edits -= 1) {
        const at = pick(text.length + 1);
        text = [text.slice(0, at), text.slice(0, at) + (marks[pick(marks.length)] ?? '') + text.slice(at), text.slice(0, at) + text.slice(at + 1 + pick(4))][pick(3)] ?? '';
      }
      const outcome = runAlone(text.isWellFormed() ? text : text.toWellFormed());
      if (intact) expect(outcome).toEqual({ code: 0, stdout: result, stderr: '' });
      else expect(isJson(text.toWellFormed()), text).toBe(outcome.code === 0 || faultOf(outcome).code !== 6 || faultOf(outcome).msg.includes('not an object'));
    }
  });
});

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
