import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Supervised } from '../../src/lab/supervised.ts';

describe('a supervised process', () => {
  let folder: string;
  let count = 0;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'orlop-supervised-'));
  });

  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  function supervised(...argv: string[]): { process: Supervised; log: () => string } {
    count += 1;
    const logPath = join(folder, `${count}.log`);
    const process = new Supervised({ argv, env: { PATH: '/usr/bin:/bin' }, cwd: folder, logPath, onChange: () => undefined });
    process.start();
    return { process, log: () => readFileSync(logPath, 'utf8') };
  }

  it('is started again when it ends, and the log says why', async () => {
    const { process, log } = supervised('sh', '-c', 'echo hello; exit 4');
    await expect.poll(() => process.restarts, { timeout: 10_000 }).toBeGreaterThan(1);
    await process.stop(1000);
    expect(log()).toMatch(/^hello\nlab: the process ended with code 4; it is started again in 200 ms\nhello\nlab: the process ended with code 4; it is started again in 400 ms\n/);
    expect(process.running).toBe(false);
  });

  it('is ended by SIGTERM and not started again', async () => {
    const { process, log } = supervised('sh', '-c', 'trap "echo bye; exit 0" TERM; echo up; while :; do sleep 0.05; done');
    await expect.poll(log, { timeout: 10_000 }).toContain('up');
    await process.stop(10_000);
    expect(log()).toBe('up\nbye\n');
    expect([process.running, process.pid, process.restarts]).toEqual([false, undefined, 0]);
  });

  it('is killed when it does not listen', async () => {
    const { process, log } = supervised('sh', '-c', 'trap "" TERM; echo up; while :; do sleep 0.05; done');
    await expect.poll(log, { timeout: 10_000 }).toContain('up');
    await process.stop(50);
    expect(process.running).toBe(false);
  });

  it('that cannot be started says so', async () => {
    const { process, log } = supervised('/no/such/program');
    await expect.poll(() => process.restarts, { timeout: 10_000 }).toBeGreaterThan(0);
    await process.stop(1000);
    expect(log()).toContain('lab: the process cannot be started: spawn /no/such/program ENOENT; it is started again');
  });
});
