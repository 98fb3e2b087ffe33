import { mkdtempSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConfigDir } from '../../src/kube/config-dir.ts';
import { createLogger } from '../../src/core/log.ts';
import { configDigest } from '../../src/mesh/config-digest.ts';

const route = (code: number): string => JSON.stringify({ apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata: { name: 'web' }, spec: { hosts: ['web'], http: [{ directResponse: { status: code } }] } });

let directory: string;
let config: ConfigDir;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-config-'));
  writeFileSync(join(directory, 'web.yaml'), route(200));
  config = new ConfigDir(directory, createLogger('test', 'silent'));
});

afterEach(() => {
  config.close();
  rmSync(directory, { recursive: true });
});

function status(): number | undefined {
  return config.snapshot.get()?.virtualServices.find(({ name }) => name === 'web')?.spec.http?.[0]?.directResponse?.status;
}

describe('a configuration directory', () => {
  it('is read when it is opened, and followed', async () => {
    expect(status()).toBe(200);
    writeFileSync(join(directory, 'web.yaml'), route(201));
    await expect.poll(status).toBe(201);
    unlinkSync(join(directory, 'web.yaml'));
    await expect.poll(() => config.snapshot.get()?.virtualServices).toEqual([]);
  });

  it('is followed through renames, as editors and tools write', async () => {
    writeFileSync(join(directory, '.web.tmp'), route(202));
    renameSync(join(directory, '.web.tmp'), join(directory, 'web.yaml'));
    await expect.poll(status).toBe(202);
  });

  it('keeps what was good, object by object, and takes what is good beside it', async () => {
    writeFileSync(join(directory, 'web.yaml'), 'kind: [');
    writeFileSync(join(directory, 'other.yaml'), route(203).replace('"web"', '"other"'));
    await expect.poll(() => config.snapshot.get()?.virtualServices.length).toBe(2);
    expect(status()).toBe(200);
    expect(config.snapshot.get()?.problems.some(({ file, severity }) => file === 'web.yaml' && severity === 'error')).toBe(true);
  });

  it('tells by a digest which content is in force, and makes no snapshot of unchanged files', async () => {
    const digest = configDigest([{ name: 'web.yaml', text: route(200) }]);
    expect(config.digest).toBe(digest);
    const before = config.snapshot.get();
    writeFileSync(join(directory, 'web.yaml'), route(200));
    writeFileSync(join(directory, 'mark.yaml'), '');
    await expect.poll(() => config.digest).not.toBe(digest);
    expect(config.snapshot.get()?.version).toBe((before?.version ?? 0) + 1);
  });
});
