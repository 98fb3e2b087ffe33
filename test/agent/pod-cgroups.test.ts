/** Whose a process is, by the names that kubelets give to cgroups. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { podProcesses, podUidOf } from '../../src/agent/pod-cgroups.ts';

const UID = '2f5f9d3c-6c0b-4d0c-9d5e-0a1b2c3d4e5f';
const OTHER = '11111111-2222-3333-4444-555555555555';
const CONTAINER = 'a'.repeat(64);

describe('the pod of a process', () => {
  it.each([
    ['cgroupfs, v2', `0::/kubepods/burstable/pod${UID}/${CONTAINER}\n`, UID],
    ['cgroupfs, guaranteed', `0::/kubepods/pod${UID}/${CONTAINER}\n`, UID],
    ['systemd, v2', `0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${UID.replaceAll('-', '_')}.slice/cri-containerd-${CONTAINER}.scope\n`, UID],
    ['v1 and v2 side by side', `12:memory:/kubepods/burstable/pod${UID}/${CONTAINER}\n1:name=systemd:/kubepods/burstable/pod${UID}/${CONTAINER}\n0::/\n`, UID],
    ['a kubelet below a cgroup of its own', `0::/lab/node-1/kubepods/besteffort/pod${UID}/${CONTAINER}\n`, UID],
    ['kind and the like', `0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod${UID.replaceAll('-', '_')}.slice/cri-containerd-${CONTAINER}.scope\n`, UID],
    ['seen from a cgroup namespace', `0::/../../pod${UID}/${CONTAINER}\n`, UID],
    ['the pod\'s own cgroup', `0::/kubepods/burstable/pod${UID}\n`, UID],
    ['a static pod', `0::/kubepods/burstable/pod${'0123456789abcdef'.repeat(2)}/${CONTAINER}\n`, '0123456789abcdef'.repeat(2)],
    ['a pod that names a cgroup of its own after another', `0::/kubepods/burstable/pod${UID}/${CONTAINER}/pod${OTHER}/x\n`, UID],
    ['no pod', '0::/system.slice/ssh.service\n', undefined],
    ['a name that only looks like it', `0::/user.slice/my-podcast/pod${UID}x/y\n`, undefined],
    ['nothing', '', undefined],
  ])('%s', (_, cgroups, uid) => {
    expect(podUidOf(cgroups)).toBe(uid);
  });
});

describe('the processes of all pods', () => {
  it('are those of /proc that say so; one that has just ended is none', () => {
    const proc = mkdtempSync(join(tmpdir(), 'orlop-proc-'));
    const add = (pid: string, text: string | undefined): void => {
      mkdirSync(join(proc, pid));
      if (text !== undefined) writeFileSync(join(proc, pid, 'cgroup'), text);
    };
    add('10', `0::/kubepods/burstable/pod${UID}/${CONTAINER}\n`);
    add('11', `0::/kubepods/burstable/pod${UID}/${'b'.repeat(64)}\n`);
    add('12', '0::/init.scope\n');
    add('13', undefined);
    add('sys', undefined);
    expect(podProcesses(proc)).toEqual(new Map([[UID, [10, 11]]]));
    rmSync(proc, { recursive: true });
  });
});
