/** What is known of pods before they start, and of those that were here before: kept for the next agent. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Sandbox } from '../../src/agent/cni-server.ts';
import { JsonFile } from '../../src/agent/json-file.ts';
import { countConnections } from '../../src/agent/open-connections.ts';
import { PodHistory } from '../../src/agent/pod-history.ts';
import { Sandboxes } from '../../src/agent/sandboxes.ts';
import { createLogger } from '../../src/core/log.ts';
import { buildSnapshot } from '../../src/mesh/build.ts';
import type { Workload } from '../../src/mesh/snapshot.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'orlop-sandboxes-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

const log = createLogger('test', 'silent');
const path = (): string => join(directory, 'sandboxes.json');
const file = (): JsonFile => new JsonFile(path(), log);
const sandbox = (more: Partial<Sandbox> = {}): Sandbox => ({ id: 'shop/web', uid: 'u1', containerId: 'c1', netnsPath: directory, addresses: ['10.0.0.7'], ...more });

function workload(uid: string, { name = 'web', mesh = 'enabled', annotations = {} }: { name?: string; mesh?: string; annotations?: object } = {}): Workload {
  const value = { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'shop', uid, annotations: { 'orlop.io/mesh': mesh, ...annotations } }, spec: {}, status: { podIPs: [{ ip: '10.9.9.9' }] } };
  return buildSnapshot([{ name: `Pod shop/${name}`, value }]).workloads[0] as Workload;
}

describe('a sandbox', () => {
  it('tells the addresses of its pod, until it is torn down', () => {
    const sandboxes = new Sandboxes(file());
    void sandboxes.add(sandbox());
    expect(sandboxes.complete(workload('u1')).addresses).toEqual(['10.0.0.7']);
    expect(sandboxes.remove({ id: 'shop/web', containerId: 'another' })).toBe(false);
    expect(sandboxes.remove(sandbox())).toBe(true);
    expect(sandboxes.complete(workload('u1')).addresses).toEqual(['10.9.9.9']);
  });

  it('is of one pod, and not of the next with its name; of a static pod by the kubelet\'s own UID', () => {
    const sandboxes = new Sandboxes(file());
    void sandboxes.add(sandbox());
    expect(sandboxes.of(workload('u2'))).toBeUndefined();
    expect(sandboxes.of(workload('mirror', { annotations: { 'kubernetes.io/config.hash': 'u1' } }))).toBeDefined();
    void sandboxes.add(sandbox({ uid: '' }));
    expect(sandboxes.of(workload('u2'))).toBeDefined();
  });

  it('is known to the next agent once its pod is served, for root alone', async () => {
    const sandboxes = new Sandboxes(file());
    const served = sandboxes.add(sandbox());
    expect(new Sandboxes(file()).of(workload('u1'))).toBeUndefined();
    sandboxes.served('shop/web');
    await served;
    expect(new Sandboxes(file()).of(workload('u1'))).toEqual(sandbox());
    expect(statSync(path()).mode & 0o777).toBe(0o600);
  });

  it('is forgotten with its pod, but not before its pod has been heard of', () => {
    const sandboxes = new Sandboxes(file());
    void sandboxes.add(sandbox());
    sandboxes.retain([]);
    expect(sandboxes.of(workload('u1'))).toBeDefined();
    sandboxes.retain([]);
    expect(sandboxes.of(workload('u1'))).toBeUndefined();
  });

  it('that was torn down without a word does not stand in the way of the pod\'s next one', () => {
    const sandboxes = new Sandboxes(file());
    void sandboxes.add(sandbox({ netnsPath: join(directory, 'gone') }));
    expect(sandboxes.complete(workload('u1')).addresses).toEqual(['10.9.9.9']);
  });

  it('that is waited for stays when another agent\'s are read', async () => {
    const [sandboxes, other] = [new Sandboxes(file()), new Sandboxes(file())];
    const served = sandboxes.add(sandbox());
    void other.add(sandbox({ id: 'shop/other', uid: 'u9' }));
    other.served('shop/other');
    sandboxes.reload();
    expect(sandboxes.of(workload('u9', { name: 'other' }))).toBeDefined();
    sandboxes.served('shop/web');
    await served;
  });

  it('of which rubbish was saved is not known', () => {
    writeFileSync(path(), '{"half');
    expect(new Sandboxes(file()).of(workload('u1'))).toBeUndefined();
  });
});

describe('a pod that joins while it runs', () => {
  const history = (): PodHistory => new PodHistory(new JsonFile(join(directory, 'pods.json'), log));

  it('came up outside the mesh when no agent has captured it before', () => {
    const pods = history();
    pods.see([workload('u1')]);
    expect(pods.isLate(workload('u1'))).toBe(true);
  });

  it('did not when it was outside on purpose', () => {
    const pods = history();
    pods.see([workload('u1', { mesh: 'disabled' })]);
    pods.see([workload('u1')]);
    expect(pods.isLate(workload('u1'))).toBe(false);
  });

  it('did not when an agent before had it', () => {
    const before = history();
    before.see([workload('u1')]);
    before.captured(workload('u1'));
    const pods = history();
    pods.see([workload('u1')]);
    expect(pods.isLate(workload('u1'))).toBe(false);
    pods.see([]);
    expect(history().isLate(workload('u1'))).toBe(true);
  });
});

it('connections to other hosts are counted, in the words of the kernel', () => {
  expect(countConnections(`  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0700000A:C350 0900000A:2328 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 20 4 30 10 -1
   1: 0100007F:C350 0100007F:2328 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0
`)).toBe(1);
  const v6 = (remote: string): number => countConnections(`  sl\n   0: 0000000000000000FFFF00000700000A:C350 ${remote}:2328 01 x\n`);
  expect([v6('0000000000000000FFFF00000900000A'), v6('0000000000000000FFFF00000100007F'), v6('00000000000000000000000001000000'), v6('000080FE00000000FF0000000100FEFF')]).toEqual([1, 0, 0, 1]);
});
