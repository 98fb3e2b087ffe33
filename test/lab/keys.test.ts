/** A lab that runs is searched for private keys: whatever is written, answered or told of it. */
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { labCgroup } from '../../src/lab/cgroup.ts';
import { runCommand } from '../../src/lab/command.ts';
import { Lab } from '../../src/lab/lab.ts';
import { applied, echo, identityOf, mesh, pod, STRICT } from './mesh.ts';
import { KeySearch } from './private-keys.ts';
import type { Svid } from './tunnel-client.ts';

const CHECKOUT = joinPath(import.meta.dirname, '../..');
const ORLOP = joinPath(CHECKOUT, 'bin/orlop');
const PRINT_SVID = `import { fetchSvid } from '${CHECKOUT}/test/lab/tunnel-client.ts'; console.log(JSON.stringify(await fetchSvid(process.argv[1])));`;

let lab: Lab;
let search: KeySearch;

beforeAll(async () => {
  const topology = [
    mesh('keys', { control: { certificateLifetime: '30m' }, agent: { args: ['--log-level', 'debug', '--access-log', 'json'] } }),
    pod('client', { node: 'node1' }),
    echo('near', { node: 'node1' }),
    echo('far', { node: 'node2' }),
  ].join('');
  lab = await Lab.up([], { sources: [{ file: 'keys topology', text: topology }] });
  await applied(lab, STRICT);
  for (const server of ['near', 'far']) expect((await lab.exec('client', ['curl', '-sS', '-m', '10', `http://${server}:8080/`])).code).toBe(0);
  const svids = [await svidOf('client', 'node1'), await svidOf('near', 'node1'), await svidOf('far', 'node2')];
  expect(svids.map(({ id }) => id)).toEqual(['client', 'near', 'far'].map(identityOf));
  // What goes wrong is what is written of: a rotation, a CA that is away, agents that are told to end, a client that is refused.
  await orlop('control', 'rotate', 'root', '--run-dir', lab.paths.caDirectory);
  await orlop('control', 'rotate', 'intermediate', '--run-dir', lab.paths.caDirectory);
  await lab.exec('client', ['openssl', 's_client', '-connect', `${(await lab.pod('far')).address.ipv4}:15008`], { input: '' });
  search = new KeySearch(svids.map(({ key }) => key));
}, 120_000);

afterAll(async () => {
  await lab?.down();
});

async function svidOf(name: string, node: string): Promise<Svid> {
  const { runDirectory } = await lab.agent(node).status();
  const { stdout, stderr } = await lab.exec(name, ['node', '--input-type=module', '-e', PRINT_SVID, `${runDirectory}/workload/workload.sock`]);
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout) as Svid;
}

async function orlop(...args: string[]): Promise<Buffer> {
  const { code, stdout, stderr } = await runCommand(ORLOP, args);
  expect(code, stderr).toBe(0);
  return Buffer.from(stdout + stderr);
}

/** Every process of the lab's: agents, control, pods, with the supervisor. */
async function processes(): Promise<number[]> {
  const groups = readdirSync(labCgroup('keys'), { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('cgroup.procs'));
  const pids = groups.flatMap((path) => readFileSync(joinPath(labCgroup('keys'), path), 'utf8').split('\n').filter((line) => line !== '').map(Number));
  return [...new Set([...pids, (await lab.status()).pid])];
}

/** Of what was looked at, what has a key in it. `least`: how many things there must be to look at. */
function expectNoKeys(places: Iterable<readonly [string, Buffer]>, least: number): void {
  const found: string[] = [];
  let looked = 0;
  for (const [place, octets] of places) {
    looked += 1;
    for (const what of search.find(octets)) found.push(`${place}: ${what}`);
  }
  expect(found).toEqual([]);
  expect(looked).toBeGreaterThanOrEqual(least);
}

describe('the search itself', () => {
  it('finds a key in each of its writings', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    const pem = privateKey.export({ format: 'pem', type: 'pkcs8' });
    const der = createPrivateKey(pem).export({ format: 'der', type: 'pkcs8' });
    const secret = Buffer.from(privateKey.export({ format: 'jwk' }).d ?? '', 'base64url');
    const known = new KeySearch([pem]);
    const sec1 = privateKey.export({ format: 'pem', type: 'sec1' });
    for (const writing of [pem, sec1, pem.replaceAll('\n', String.raw`\n`), der.toString('base64'), der.toString('hex'), secret.toString('hex').toUpperCase(), secret.toString('base64url'), JSON.stringify(secret)]) {
      expect(known.find(Buffer.from(`before ${writing} after`)), writing).not.toEqual([]);
    }
    for (const octets of [der, secret]) expect(known.find(Buffer.concat([Buffer.from('x'), octets]))).not.toEqual([]);
    for (const writing of [pem, der.toString('base64'), der.toString('hex')]) expect(search.find(Buffer.from(writing)), writing).not.toEqual([]);
    expect(known.find(Buffer.from(privateKey.export({ format: 'jwk' }).x ?? ''))).toEqual([]);
  });
});

describe('no private key is', () => {
  it('in a file of the lab: configuration, run directories, logs', () => {
    const files = readdirSync(lab.paths.root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => joinPath(entry.parentPath, entry.name));
    expect(files.filter((path) => path.endsWith('.log')).length).toBeGreaterThan(5);
    expectNoKeys(files.map((path) => [path, readFileSync(path)] as const), 20);
  });

  it('in a file that an agent or the control has open, but for the control\'s own, which has no name', async () => {
    const open = (await processes()).flatMap((pid) => readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return [[`/proc/${pid}/fd/${fd}`, readlinkSync(`/proc/${pid}/fd/${fd}`)] as const];
      } catch {
        return [];
      }
    }));
    const withoutName = open.filter(([, target]) => target.includes('orlop-lab-ca'));
    expect(withoutName.length).toBeGreaterThan(0);
    // This is how a control that was killed comes back: memory, which the search does find the keys in.
    expect(search.find(readFileSync(withoutName[0]?.[0] ?? ''))).not.toEqual([]);
    const files = open.filter(([, target]) => target.startsWith('/') && !target.startsWith('/dev/') && !target.startsWith('/memfd:') && existsSync(target));
    expectNoKeys([...new Set(files.map(([, target]) => target))].filter((path) => !/^\/(?:proc|sys)\//.test(path) && isRegular(path)).map((path) => [path, readFileSync(path)] as const), 5);
  });

  it('in an environment or on a command line', async () => {
    const places = (await processes()).flatMap((pid) => ['environ', 'cmdline'].map((file) => [`/proc/${pid}/${file}`, readFileSync(`/proc/${pid}/${file}`)] as const));
    expectNoKeys(places, 20);
  });

  it('in anything that agents and the control answer', async () => {
    const answers: [string, Buffer][] = [];
    const { nodes, pods } = await lab.status();
    const ask = async (what: string, ...argv: string[]): Promise<string> => {
      const { stdout } = await runCommand('curl', ['-sS', '-m', '10', ...argv]);
      answers.push([what, Buffer.from(stdout)]);
      return stdout;
    };
    const inNetns = async (path: string, url: string): Promise<void> => {
      const { stdout, code } = await runCommand('nsenter', [`--net=${path}`, 'curl', '-fsS', '-m', '10', url]);
      expect(code, url).toBe(0);
      answers.push([url, Buffer.from(stdout)]);
    };
    const sockets = [...nodes.map(({ agent }) => joinPath(agent.runDirectory, 'admin.sock')), joinPath(lab.paths.caDirectory, 'control.sock')];
    for (const socket of sockets) {
      const list = await ask(socket, '--unix-socket', socket, 'http://local/');
      const paths = [...list.matchAll(/^ {2}(\/\S+)$/gm)].map(([, path = '']) => path);
      expect(paths.length).toBeGreaterThan(2);
      for (const path of paths) {
        await ask(`${socket} ${path}`, '--unix-socket', socket, `http://local${path}`);
        for (const { namespace, name } of pods) await ask(`${socket} ${path}?pod=${name}`, '--unix-socket', socket, `http://local${path}?pod=${namespace}/${name}`);
      }
    }
    for (const { netnsPath } of nodes) for (const url of ['http://127.0.0.1:15020/metrics', 'http://127.0.0.1:15021/healthz/ready']) await inNetns(netnsPath, url);
    await inNetns('/run/netns/ol-keys', 'http://127.0.0.1:15014/metrics');
    expectNoKeys(answers, 50);
  });

  it('in what the commands print', async () => {
    const { nodes } = await lab.status();
    const printed: [string, Buffer][] = [];
    for (const { agent: { runDirectory } } of nodes) {
      for (const command of [['certs'], ['certs', '-o', 'json'], ['config', 'dump']]) printed.push([command.join(' '), await orlop(...command, '--run-dir', runDirectory)]);
    }
    const [{ agent: { runDirectory } }] = nodes as [(typeof nodes)[number]];
    for (const command of [['certs', 'client'], ['certs', 'client', '-o', 'json'], ['config', 'dump', 'client']]) printed.push([command.join(' '), await orlop(...command, '--run-dir', runDirectory)]);
    printed.push(['control status', await orlop('control', 'status', '--run-dir', lab.paths.caDirectory)]);
    expect(printed.some(([, octets]) => octets.includes('BEGIN CERTIFICATE'))).toBe(true);
    expectNoKeys(printed, 10);
  });
});

function isRegular(path: string): boolean {
  try {
    return readFileSync(path).length >= 0;
  } catch {
    return false;
  }
}
