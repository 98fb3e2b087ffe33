/** Where a running pod's network namespace is, when nobody says: its processes tell, and its addresses prove it. */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PodNamespaces } from '../../src/agent/pod-namespaces.ts';
import { buildSnapshot } from '../../src/mesh/build.ts';
import type { Workload } from '../../src/mesh/snapshot.ts';

const UID = '2f5f9d3c-6c0b-4d0c-9d5e-0a1b2c3d4e5f';
const HIERARCHY = existsSync('/sys/fs/cgroup/unified') ? '/sys/fs/cgroup/unified' : '/sys/fs/cgroup';
/** As a kubelet below a cgroup of its own has it. */
const TOP = join(HIERARCHY, `orlop-test-${process.pid}`);
const CGROUP = join(TOP, 'kubepods', `pod${UID}`, 'container');

const children: ChildProcess[] = [];
const namespaces: string[] = [];
let finder: PodNamespaces;

beforeEach(() => {
  mkdirSync(CGROUP, { recursive: true });
  finder = new PodNamespaces();
});

afterEach(async () => {
  finder.releaseAllBut(new Map());
  for (const child of children.splice(0)) await end(child);
  for (const name of namespaces.splice(0)) spawnSync('ip', ['netns', 'delete', name]);
  for (const directory of [CGROUP, join(CGROUP, '..'), join(TOP, 'kubepods'), TOP]) rmdirSync(directory);
});

async function end(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

function namespace(address: string): string {
  const name = `olt${process.pid.toString(36)}n${namespaces.length}`;
  namespaces.push(name);
  for (const argv of [['netns', 'add', name], ['-n', name, 'link', 'set', 'lo', 'up'], ['-n', name, 'address', 'add', address, 'dev', 'lo']]) expect(spawnSync('ip', argv).status).toBe(0);
  return `/run/netns/${name}`;
}

/** A process of the pod in a network namespace; of the node, when none is given. */
function run(path = '/proc/self/ns/net'): ChildProcess {
  const child = spawn('nsenter', [`--net=${path}`, 'sleep', '60'], { stdio: 'ignore' });
  writeFileSync(join(CGROUP, 'cgroup.procs'), String(child.pid));
  children.push(child);
  return child;
}

function pod(address: string, uid = UID): Workload {
  const value = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web', namespace: 'shop', uid }, spec: { nodeName: 'n' }, status: { phase: 'Running', podIPs: [{ ip: address }] } };
  return buildSnapshot([{ name: 'Pod shop/web', value }]).workloads[0] as Workload;
}

function inode(path: string): bigint {
  return statSync(path, { bigint: true }).ino;
}

async function located(workload: Workload): Promise<string> {
  // nsenter needs a moment to be where it is going.
  await expect.poll(() => finder.locate([workload]).get(workload.id)).toHaveProperty('path');
  const found = finder.locate([workload]).get(workload.id);
  return found !== undefined && 'path' in found ? found.path : '';
}

describe('a pod that nobody has told about', () => {
  it('is found by a process of it, and can be entered after that process has ended', async () => {
    const path = namespace('10.99.0.1/32');
    const child = run(path);
    const found = await located(pod('10.99.0.1'));
    expect(inode(found)).toBe(inode(path));
    await end(child);
    expect(await located(pod('10.99.0.1'))).toBe(found);
    expect(inode(found)).toBe(inode(path));
    expect(finder.releaseMoved([pod('10.99.0.1')])).toEqual([]);
  });

  it('is not taken for another: the namespace must have its address', async () => {
    run(namespace('10.99.0.2/32'));
    await expect.poll(() => finder.locate([pod('10.99.0.1')]).get('shop/web')).toMatchObject({ absent: false, reason: expect.stringContaining('with its address 10.99.0.1') as string });
    expect(finder.locate([pod('10.99.0.2', UID.replace('2', '3'))]).get('shop/web')).toEqual({ reason: 'none of its processes is on this node, or its network namespace is gone', absent: true });
  });

  it('of the host network has none of its own', async () => {
    run();
    await expect.poll(() => finder.locate([pod('127.0.0.1')]).get('shop/web')).toEqual({ reason: 'its processes are in the network namespace of the node', absent: false });
  });

  it('whose sandbox is made anew is let go, and found in the new one', async () => {
    const before = run(namespace('10.99.0.1/32'));
    const old = inode(await located(pod('10.99.0.1')));
    const path = namespace('10.99.0.1/32');
    run(path);
    await end(before);
    await expect.poll(() => finder.releaseMoved([pod('10.99.0.1')])).toEqual(['shop/web']);
    const found = inode(await located(pod('10.99.0.1')));
    expect(found).toBe(inode(path));
    expect(found).not.toBe(old);
  });

  it('leaves no descriptor behind', async () => {
    run(namespace('10.99.0.1/32'));
    await located(pod('10.99.0.1'));
    finder.releaseAllBut(new Map());
    const before = readdirSync('/proc/self/fd').length;
    for (let i = 0; i < 5; i += 1) {
      await located(pod('10.99.0.1'));
      finder.locate([pod('10.99.0.9')]);
      finder.releaseAllBut(new Map());
    }
    expect(readdirSync('/proc/self/fd').length).toBe(before);
  });
});
