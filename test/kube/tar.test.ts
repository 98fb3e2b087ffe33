/** Archives of images as tar(1) reads them: names of any length that the format has, links, modes; and the same bytes whatever the times and owners. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeArchive } from '../../deploy/image/archive.ts';
import { tarOfDirectory } from '../../deploy/image/tar.ts';

const DEEP = `${'folder/'.repeat(20)}file`;

describe('an archive', () => {
  let work: string;

  beforeEach(() => {
    work = mkdtempSync(join(tmpdir(), 'orlop-tar-'));
    mkdirSync(join(work, 'in', DEEP, '..'), { recursive: true });
    writeFileSync(join(work, 'in', DEEP), 'deep');
    writeFileSync(join(work, 'in/b'), 'x'.repeat(513));
    writeFileSync(join(work, 'in/a'), '');
    chmodSync(join(work, 'in/b'), 0o4751);
    symlinkSync('b', join(work, 'in/link'));
  });

  afterEach(() => {
    rmSync(work, { recursive: true });
  });

  const archive = (): Buffer => Buffer.concat([...tarOfDirectory(join(work, 'in'))]);

  it('is read by tar as what it was made of', () => {
    const listed = execFileSync('tar', ['--list', '--verbose', '--numeric-owner', '--file', '-'], { input: archive(), encoding: 'utf8' });
    expect(listed).toMatch(/^-rw-r--r-- 0\/0 +0 1970-01-01 \S+ a\n-rwsr-x--x 0\/0 +513 1970-01-01 \S+ b\n/);
    expect(listed).toContain(' link -> b\n');
    expect(execFileSync('tar', ['--extract', '--to-stdout', '--file', '-', DEEP], { input: archive(), encoding: 'utf8' })).toBe('deep');
  });

  it('is the same after the files were made again', () => {
    const before = archive();
    utimesSync(join(work, 'in/a'), 1, 1);
    rmSync(join(work, 'in/b'));
    writeFileSync(join(work, 'in/b'), 'x'.repeat(513));
    chmodSync(join(work, 'in/b'), 0o4751);
    expect(archive().equals(before)).toBe(true);
  });

  it('refuses names that the format cannot have', () => {
    writeFileSync(join(work, 'in', 'n'.repeat(101)), '');
    expect(archive).toThrow('too long');
  });

  it('of an image has every blob under the digest of its content', () => {
    const { digest } = writeArchive(join(work, 'in'), { reference: 'docker.io/library/x:1', entrypoint: ['/a'] }, join(work, 'x.tar'));
    mkdirSync(join(work, 'out'));
    execFileSync('tar', ['-xf', join(work, 'x.tar'), '-C', join(work, 'out')]);
    const { manifests } = JSON.parse(readFileSync(join(work, 'out/index.json'), 'utf8')) as { manifests: { digest: string }[] };
    expect(manifests.map((one) => one.digest)).toEqual([digest]);
    const sums = execFileSync('sh', ['-c', 'cd blobs/sha256 && sha256sum *'], { cwd: join(work, 'out'), encoding: 'utf8' }).trim().split('\n').map((line) => line.split('  '));
    expect(sums).toHaveLength(3);
    for (const [sum, name] of sums) expect(sum).toBe(name);
  });
});
