/** The socket as a file. What it serves to whom needs network namespaces: test/netns/workload-socket.test.ts. */
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WorkloadSocket } from '../../src/agent/workload-socket.ts';
import { systemClock } from '../../src/core/clock.ts';
import { SecretClient } from '../certs/grpc-client.ts';
import { RotatingSource } from '../certs/rotating-source.ts';
import { collectingLog } from '../certs/workload-world.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-sds-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

async function open(): Promise<WorkloadSocket> {
  const socket = new WorkloadSocket(join(directory, 'workload'), { source: new RotatingSource(), clock: systemClock, log: collectingLog([]) });
  await socket.listen();
  return socket;
}

test('every user may connect, and only its directory need be mounted', async () => {
  const socket = await open();
  expect(socket.path).toBe(join(directory, 'workload/workload.sock'));
  expect(statSync(socket.path).mode & 0o777).toBe(0o666);
  expect(statSync(join(directory, 'workload')).mode & 0o777).toBe(0o755);
  expect(readdirSync(join(directory, 'workload'))).toEqual(['workload.sock']);
  socket.close();
  expect(readdirSync(join(directory, 'workload'))).toEqual([]);
});

test('the next agent takes its place while the one before is still there', async () => {
  const [before, next] = [await open(), await open()];
  before.close();
  expect(existsSync(next.path)).toBe(true);
  using client = new SecretClient(next.path);
  await expect(client.fetch(['default'])).rejects.toMatchObject({ code: status.PERMISSION_DENIED });
  next.close();
});
