import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Authority } from '../../src/certs/authority.ts';
import type { CaState } from '../../src/certs/ca-state.ts';
import { FdCaStore } from '../../src/certs/fd-store.ts';
import { FakeClock } from '../../src/core/clock.ts';
import { createLogger } from '../../src/core/log.ts';

const signer = { certificate: '', key: 'k', chain: '', root: 'r', notBeforeMs: 0, notAfterMs: 1 };

let directory: string;
let fd: number;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-fd-'));
  fd = openSync(join(directory, 'keys'), 'w+');
  unlinkSync(join(directory, 'keys'));
});

afterEach(() => {
  closeSync(fd);
  rmSync(directory, { recursive: true });
});

function state(longestLeafMs: number): CaState {
  return { roots: [], signer, longestLeafMs };
}

describe('a store in a file without a name', () => {
  it('brings the same root back after the process has gone', async () => {
    const clock = new FakeClock();
    const open = (): Promise<Authority> => Authority.open({
      trustDomain: 'cluster.local', lifetimes: { leafMs: 60_000, intermediateMs: 600_000, rootMs: 6_000_000 }, keys: { store: new FdCaStore(fd) }, clock, log: createLogger('test', 'silent'),
    });
    const first = await open();
    await first.rotate('root');
    const roots = first.roots.get();
    await first.close();
    const second = await open();
    expect(second.roots.get()).toBe(roots);
    expect(second.status().roots.map(({ use }) => use)).toEqual(['signs', 'trusted, signs next']);
    await second.close();
  });

  it('survives a process killed at any octet of a write: the state before it stands', async () => {
    const store = new FdCaStore(fd);
    await store.save(state(1));
    await store.save(state(2));
    const slot = 256 * 1024 + 52;
    // The third write goes where the first went; it is cut off after `length` octets of another content.
    for (const length of [1, 8, 20, 52, 60]) {
      writeSync(fd, Buffer.alloc(length, 0x41), 0, length, slot);
      expect(await new FdCaStore(fd).load()).toEqual(state(2));
    }
    const again = new FdCaStore(fd);
    await again.load();
    await again.save(state(3));
    expect(await new FdCaStore(fd).load()).toEqual(state(3));
  });

  it('refuses what it cannot be', async () => {
    expect(() => new FdCaStore(9_999)).toThrow('file descriptor 9999 is not open; the parent must pass it on');
    const named = openSync(join(directory, 'named'), 'w+');
    expect(() => new FdCaStore(named)).toThrow('has a name, and keys must not lie on a disk; give a memfd, or unlink the file first');
    closeSync(named);
    const folder = openSync(directory, 'r');
    expect(() => new FdCaStore(folder)).toThrow(`file descriptor ${folder} is no file`);
    closeSync(folder);
    writeSync(fd, 'something else');
    await expect(new FdCaStore(fd).load()).rejects.toThrow('does not hold the keys of a CA; give an empty one');
    ftruncateSync(fd, 0);
    expect(await new FdCaStore(fd).load()).toBeUndefined();
  });

  it('may be a memfd', () => {
    const script = `
import os, subprocess, sys
fd = os.memfd_create('ca', 0)
sys.exit(subprocess.run(sys.argv[1:] + [str(fd)], pass_fds=[fd]).returncode)`;
    const child = `import { FdCaStore } from '${join(import.meta.dirname, '../../src/certs/fd-store.ts')}'; const s = new FdCaStore(Number(process.argv[1])); console.log(await s.load());`;
    const { stdout, stderr } = spawnSync('python3', ['-c', script, process.execPath, '--input-type=module', '-e', child], { encoding: 'utf8' });
    expect([stdout, stderr]).toEqual(['undefined\n', '']);
  });
});
