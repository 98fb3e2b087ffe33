/** `orlop control` as a process: killed, started again, asked by an operator, and mistyped. */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CA_SERVER_NAME, CaClient } from '../../src/certs/ca-client.ts';
import { createCsr } from '../../src/certs/csr.ts';
import { Issuer } from '../../src/certs/issuer.ts';
import { splitCertificates } from '../../src/certs/pem.ts';
import { systemClock } from '../../src/core/clock.ts';
import { systemRandom } from '../../src/core/random.ts';
import { RecordedLog } from '../certs/recorded-log.ts';

const ORLOP = join(import.meta.dirname, '../../bin/orlop');
const REVIEWS = 'spiffe://cluster.local/ns/bookinfo/sa/reviews';
const TOKEN = 'token-of-node-1-0123456789abcdef';

let directory: string;
let listen: string;
let httpPort: string;
let fd: number;
let child: ChildProcess | undefined;
let output: string;

const path = (name: string): string => join(directory, name);

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => { server.once('listening', resolve); });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => { server.close(resolve); });
  return port;
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-control-'));
  mkdirSync(path('config'));
  writeFileSync(
    path('config/reviews.yaml'),
    'apiVersion: v1\nkind: Pod\nmetadata: {name: reviews, namespace: bookinfo}\nspec: {serviceAccountName: reviews, nodeName: node-1}\nstatus: {phase: Running, podIP: 10.0.0.1}\n',
  );
  writeFileSync(path('tokens'), `${TOKEN},node-1\n`);
  writeFileSync(path('token'), TOKEN);
  listen = `127.0.0.1:${await freePort()}`;
  httpPort = String(await freePort());
  fd = openSync(path('keys'), 'w+');
  unlinkSync(path('keys'));
  output = '';
});

afterEach(async () => {
  await kill('SIGKILL');
  closeSync(fd);
  rmSync(directory, { recursive: true });
});

/** Start with the store as descriptor 3; resolves when it is ready. */
async function start(...more: string[]): Promise<void> {
  const argv = ['control', '--config', path('config'), '--node-tokens', path('tokens'), '--listen', listen, '--http-port', httpPort, '--run-dir', directory, '--roots-out', path('roots.pem'), '--ca-store-fd', '3', ...more];
  const started = spawn(ORLOP, argv, { stdio: ['ignore', 'pipe', 'pipe', fd] });
  child = started;
  for (const stream of [started.stdout, started.stderr]) stream?.on('data', (data: Buffer) => { output += data.toString(); });
  await expect.poll(async () => (await fetch(`http://127.0.0.1:${httpPort}/healthz/ready`).catch(() => undefined))?.status, { timeout: 40_000 }).toBe(200);
}

async function kill(signal: NodeJS.Signals): Promise<number | null> {
  const ending = child;
  child = undefined;
  if (ending === undefined || ending.exitCode !== null) return null;
  const ended = new Promise<number | null>((resolve) => { ending.once('exit', resolve); });
  ending.kill(signal);
  return ended;
}

async function sign(): Promise<{ chain: string; roots: string }> {
  const client = new CaClient({ address: listen, serverName: CA_SERVER_NAME, rootsFile: path('roots.pem'), tokenFile: path('token'), clock: systemClock });
  const { csr } = await createCsr(REVIEWS);
  try {
    return await client.sign({ csr, identity: REVIEWS, lifetimeMs: 0 });
  } finally {
    client.close();
  }
}

function orlop(...argv: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(ORLOP, argv, { encoding: 'utf8' });
}

describe('orlop control', { timeout: 120_000 }, () => {
  it('comes back with the same root and intermediate when it was killed, and shows its keys to nobody', async () => {
    await start();
    const before = await sign();
    const { pid } = child as ChildProcess;
    for (const file of ['environ', 'cmdline']) expect(readFileSync(`/proc/${pid}/${file}`, 'utf8')).not.toContain('PRIVATE KEY');
    await kill('SIGKILL');
    await start();
    const after = await sign();
    expect(after.roots).toBe(before.roots);
    expect(splitCertificates(after.chain)[1]).toBe(splitCertificates(before.chain)[1]);
    expect(output).not.toContain('PRIVATE KEY');
    for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((entry) => /\.(?:pem|yaml)$|token/.test(entry))) {
      expect(readFileSync(path(name), 'utf8')).not.toContain('PRIVATE KEY');
    }
    expect(await kill('SIGTERM')).toBe(0);
  });

  it('is found again by an agent when it comes back; meanwhile the old certificate serves', async () => {
    const brief = ['--certificate-lifetime', '20s'];
    await start(...brief);
    const ca = new CaClient({ address: listen, serverName: CA_SERVER_NAME, rootsFile: path('roots.pem'), tokenFile: path('token'), clock: systemClock });
    // Asked for anew after a second.
    const issuer = new Issuer({ ca, clock: systemClock, random: systemRandom, log: new RecordedLog(), lifetimeMs: 2_000 });
    const serial = (): string | undefined => issuer.get(REVIEWS)?.serial;
    issuer.want(REVIEWS);
    await expect.poll(serial).toBeDefined();
    await kill('SIGKILL');
    await expect.poll(() => issuer.states()[0]?.state, { timeout: 10_000 }).toBe('stale');
    expect(issuer.states()[0]?.lastError).toMatch(/^the CA at 127\.0\.0\.1:\d+ is away: .*\S$/);
    const last = issuer.states()[0]?.certificate?.serial;
    await start(...brief);
    await expect.poll(serial, { timeout: 20_000 }).toSatisfy((now) => now !== undefined && now !== last);
    expect(issuer.states()[0]).toMatchObject({ state: 'valid', lastError: '' });
    issuer.close();
    ca.close();
  });

  it('finds the keys of its last step again when it is killed in the middle of a change of roots', async () => {
    await start();
    expect(orlop('control', 'rotate', 'root', '--run-dir', directory)).toMatchObject({ status: 0, stderr: '' });
    const [signs, next] = splitCertificates(readFileSync(path('roots.pem'), 'utf8'));
    await kill('SIGKILL');
    rmSync(path('roots.pem'));
    await start();
    expect(splitCertificates(readFileSync(path('roots.pem'), 'utf8'))).toEqual([signs, next]);
    const { stdout } = orlop('control', 'status', '--run-dir', directory);
    expect((JSON.parse(stdout) as { roots: { use: string }[] }).roots.map(({ use }) => use)).toEqual(['signs', 'trusted, signs next']);
    expect(orlop('control', 'rotate', 'root', '--run-dir', directory)).toMatchObject({ status: 1, stderr: expect.stringContaining('the root is being changed already') as string });
  });
});

describe('a wrong command line', { timeout: 120_000 }, () => {
  it.each<[string, (base: string[]) => string[], number, RegExp]>([
    ['without a configuration', () => ['control'], 64, /no service account .* give --config .*, or --kubeconfig/],
    ['with a key alone', (base) => [...base, '--ca-key', '/nowhere'], 64, /a CA is given by --ca-cert and --ca-key together/],
    ['with two places for keys', (base) => [...base, '--ca-key', '/nowhere', '--ca-store-fd', '3'], 64, /--ca-store-fd <n>' cannot be used with option '--ca-key <file>'/],
    ['with a CA that is not there', (base) => [...base, '--ca-key', '/nowhere/key', '--ca-cert', '/nowhere/crt'], 69, /\/nowhere\/crt: cannot be read \(ENOENT\)/],
    ['with a descriptor that is not open', (base) => [...base, '--ca-store-fd', '77'], 69, /file descriptor 77 is not open; the parent must pass it on/],
    ['with lifetimes that do not go together', (base) => [...base, '--intermediate-lifetime', '24h'], 69, /the intermediate must live 285120s or longer with certificates of 86400s/],
    ['with a lifetime that is none', (base) => [...base, '--certificate-lifetime', 'long'], 64, /a duration of 1s or more, like 24h/],
    ['with a host name to listen on', (base) => [...base, '--listen', 'localhost:1'], 64, /an address and a port: 0\.0\.0\.0:15012/],
    ['without anybody to ask', () => ['control', 'status', '--run-dir', '/nowhere'], 69, /nobody answers at \/nowhere\/control\.sock/],
  ])('%s ends with one line that says what to do', (_, argv, code, message) => {
    const base = ['control', '--config', path('config'), '--node-tokens', path('tokens'), '--listen', listen, '--http-port', httpPort, '--run-dir', directory];
    const { status, stderr } = orlop(...argv(base));
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(status).toBe(code);
  });
});
