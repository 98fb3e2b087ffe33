/** The entry of the CNI plugin in a node's network configuration: put where runtimes look, kept there, and taken out without a trace. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cniEntry } from '../../src/agent/cni-config.ts';
import { CniInstall, cniLeftovers } from '../../src/agent/cni-install.ts';
import { collectingLog } from '../certs/workload-world.ts';
import type { LogLine } from '../certs/workload-world.ts';

const BRIDGE = { cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'bridge', ipam: { type: 'host-local' } }, { type: 'portmap', capabilities: { portMappings: true } }] };
const ENTRY = cniEntry('/run/orlop/cni.sock', ['kube-system']);

let root: string;
let confDirectory: string;
let binDirectory: string;
let repairs: number;
let lines: LogLine[];
const installs: CniInstall[] = [];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'orlop-cni-config-'));
  confDirectory = join(root, 'net.d');
  binDirectory = join(root, 'bin');
  mkdirSync(confDirectory);
  mkdirSync(binDirectory);
  writeFileSync(join(root, 'program'), 'one');
  repairs = 0;
  lines = [];
});

afterEach(() => {
  for (const made of installs.splice(0)) made.close();
  rmSync(root, { recursive: true });
});

function put(file: string, value: unknown): void {
  writeFileSync(join(confDirectory, file), typeof value === 'string' ? value : JSON.stringify(value));
}

function read(file: string): { plugins: { type: string }[] } {
  return JSON.parse(readFileSync(join(confDirectory, file), 'utf8')) as { plugins: { type: string }[] };
}

function typesIn(file: string): string[] {
  return read(file).plugins.map(({ type }) => type);
}

function install(entry = ENTRY): CniInstall {
  const made = new CniInstall({ confDirectory, binDirectory, program: join(root, 'program'), entry, log: collectingLog(lines), onRepaired: () => (repairs += 1) });
  installs.push(made);
  return made;
}

describe('the entry', () => {
  it('is the last of the list that runtimes choose: the first file by name', () => {
    put('10-bridge.conflist', BRIDGE);
    put('99-loopback.conf', { cniVersion: '1.0.0', name: 'lo', type: 'loopback' });
    put('05-notes.txt', 'nothing');
    expect(install().missing).toBeUndefined();
    expect(read('10-bridge.conflist')).toEqual({ ...BRIDGE, plugins: [...BRIDGE.plugins, ENTRY] });
    expect(readdirSync(confDirectory).sort()).toEqual(['05-notes.txt', '10-bridge.conflist', '99-loopback.conf']);
    expect(readFileSync(join(binDirectory, 'orlop-cni'), 'utf8')).toBe('one');
    expect(statSync(join(binDirectory, 'orlop-cni')).mode & 0o777).toBe(0o755);
  });

  it('turns a single plugin into a list, and back when it goes', () => {
    const single = { cniVersion: '0.4.0', name: 'net', type: 'ptp', ipam: {} };
    put('10-net.conf', single);
    const made = install();
    expect(readdirSync(confDirectory).sort()).toEqual(['10-net.conf.replaced-by-orlop', '10-net.conflist']);
    expect(read('10-net.conflist')).toEqual({ cniVersion: '0.4.0', name: 'net', plugins: [single, ENTRY] });
    made.remove();
    expect(readdirSync(confDirectory)).toEqual(['10-net.conf']);
    expect(JSON.parse(readFileSync(join(confDirectory, '10-net.conf'), 'utf8'))).toEqual(single);
    expect(readdirSync(binDirectory)).toEqual([]);
  });

  it('of an earlier version is replaced, wherever it stands', () => {
    put('10-bridge.conflist', { ...BRIDGE, plugins: [{ type: 'orlop-cni', socket: '/old' }, ...BRIDGE.plugins, { type: 'orlop-cni' }] });
    install();
    expect(read('10-bridge.conflist').plugins).toEqual([...BRIDGE.plugins, ENTRY]);
  });

  it('stays when the agent ends, and is found by the next one', () => {
    put('10-bridge.conflist', BRIDGE);
    install().close();
    expect(typesIn('10-bridge.conflist')).toEqual(['bridge', 'portmap', 'orlop-cni']);
    const before = readFileSync(join(confDirectory, '10-bridge.conflist'), 'utf8');
    install();
    expect(readFileSync(join(confDirectory, '10-bridge.conflist'), 'utf8')).toBe(before);
    expect(repairs).toBe(0);
  });

  it.each([
    ['there is no configuration', {}, /there is no network configuration in/],
    ['the only one is half written', { '10-a.conflist': '{"cniVersion": "1.0' }, /cannot be read/],
    ['it is of a version that has no results to pass on', { '10-a.conflist': { ...BRIDGE, cniVersion: '0.2.0' } }, /cniVersion "0\.2\.0"; new pods are captured with 0\.3\.0 to 1\.1\.0 only/],
    ['it names no plugin', { '10-a.conflist': { ...BRIDGE, plugins: [] } }, /names no plugin/],
    ['it is no object', { '10-a.conf': '[]' }, /no network configuration/],
  ])('waits, and says why, while %s', (_, files, words) => {
    for (const [file, value] of Object.entries(files)) put(file, value);
    const before = readdirSync(confDirectory).map((file) => readFileSync(join(confDirectory, file), 'utf8'));
    expect(install().missing).toMatch(words);
    expect(readdirSync(confDirectory).map((file) => readFileSync(join(confDirectory, file), 'utf8'))).toEqual(before);
  });

  it('passes over a file that cannot be read for one that can', () => {
    put('00-broken.conflist', '{');
    put('10-bridge.conflist', BRIDGE);
    install();
    expect(typesIn('10-bridge.conflist')).toContain('orlop-cni');
  });
});

describe('when somebody else writes there', () => {
  it('comes with the configuration that it waits for', async () => {
    const made = install();
    expect(made.missing).toBeDefined();
    put('10-bridge.conflist', BRIDGE);
    await expect.poll(() => made.missing).toBeUndefined();
    expect(typesIn('10-bridge.conflist')).toEqual(['bridge', 'portmap', 'orlop-cni']);
    expect(repairs).toBe(0);
  });

  it('is put back when the file is overwritten, in place or by another', async () => {
    put('10-bridge.conflist', BRIDGE);
    install();
    put('10-bridge.conflist', BRIDGE);
    await expect.poll(() => repairs).toBe(1);
    expect(typesIn('10-bridge.conflist')).toEqual(['bridge', 'portmap', 'orlop-cni']);
    put('.new', { ...BRIDGE, name: 'other' });
    renameSync(join(confDirectory, '.new'), join(confDirectory, '10-bridge.conflist'));
    await expect.poll(() => repairs, { timeout: 10_000 }).toBe(2);
    expect(read('10-bridge.conflist')).toEqual({ ...BRIDGE, name: 'other', plugins: [...BRIDGE.plugins, ENTRY] });
    expect(lines.filter((line) => line.message.includes('put back'))).toHaveLength(2);
  });

  it('follows the choice of the runtimes to another file; all of it goes', async () => {
    put('10-bridge.conflist', BRIDGE);
    const made = install();
    put('05-cilium.conflist', { ...BRIDGE, name: 'cilium' });
    await expect.poll(() => typesIn('05-cilium.conflist')).toContain('orlop-cni');
    made.remove();
    expect([typesIn('05-cilium.conflist'), typesIn('10-bridge.conflist')]).toEqual([['bridge', 'portmap'], ['bridge', 'portmap']]);
  });
});

describe('what is left on a node', () => {
  it('is told, and removed', () => {
    put('10-bridge.conflist', BRIDGE);
    install().close();
    writeFileSync(join(binDirectory, '.orlop-cni.77'), 'half');
    writeFileSync(join(binDirectory, 'bridge'), '');
    const directories = { confDirectory, binDirectory };
    const left = [`entry of orlop-cni in ${confDirectory}/10-bridge.conflist`, `${binDirectory}/.orlop-cni.77`, `${binDirectory}/orlop-cni`];
    expect(cniLeftovers(directories, { remove: false })).toEqual(left);
    expect(cniLeftovers(directories, { remove: true })).toEqual(left);
    expect(cniLeftovers(directories, { remove: false })).toEqual([]);
    expect(readdirSync(binDirectory)).toEqual(['bridge']);
    expect(existsSync(join(root, 'program'))).toBe(true);
    expect(cniLeftovers({ confDirectory: '/nowhere', binDirectory: '/nowhere' }, { remove: true })).toEqual([]);
  });
});
