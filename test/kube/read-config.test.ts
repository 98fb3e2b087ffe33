/** Which files of a directory are configuration, and what becomes of those that cannot be read. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readConfigDir } from '../../src/kube/read-config.ts';
import { CONFIG_FILE_BYTES_MAX } from '../../src/core/limits.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-read-config-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

describe('readConfigDir', () => {
  it('reads YAML and JSON, in order of names, one folder deep', () => {
    mkdirSync(join(directory, 'b/c'), { recursive: true });
    for (const name of ['z.yaml', 'a.yml', 'b/x.json', 'b/c/deep.yaml', 'notes.txt', '.a.yaml.swp']) writeFileSync(join(directory, name), name);
    expect(readConfigDir(directory)).toEqual(['a.yml', 'b/x.json', 'z.yaml'].map((name) => ({ name, text: name })));
  });

  it('follows the links that a mounted ConfigMap is made of, and reads each file once', () => {
    mkdirSync(join(directory, '..2026_01_01'));
    writeFileSync(join(directory, '..2026_01_01/a.yaml'), 'text');
    symlinkSync('..2026_01_01', join(directory, '..data'));
    symlinkSync('..data/a.yaml', join(directory, 'a.yaml'));
    expect(readConfigDir(directory)).toEqual([{ name: 'a.yaml', text: 'text' }]);
  });

  it('passes over a link to nothing', () => {
    symlinkSync('nowhere.yaml', join(directory, 'a.yaml'));
    expect(readConfigDir(directory)).toEqual([]);
  });

  it('returns a file that is too large as one that cannot be read, beside the others', () => {
    writeFileSync(join(directory, 'large.yaml'), '');
    truncateSync(join(directory, 'large.yaml'), CONFIG_FILE_BYTES_MAX + 1);
    writeFileSync(join(directory, 'small.yaml'), 'text');
    expect(readConfigDir(directory)).toEqual([
      { name: 'large.yaml', text: '', unreadable: `it has ${CONFIG_FILE_BYTES_MAX + 1} bytes; ${CONFIG_FILE_BYTES_MAX} is the limit for one file` },
      { name: 'small.yaml', text: 'text' },
    ]);
  });

  it('throws when the directory is not there', () => {
    expect(() => readConfigDir(join(directory, 'nowhere'))).toThrow('ENOENT');
  });
});
