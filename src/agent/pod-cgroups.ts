/** Which pod a process belongs to: the kubelet names the cgroups of a pod after it. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * `…/kubepods/burstable/pod<uid>/…` (cgroupfs) or `…-pod<uid with _ for ->.slice/…` (systemd); of a static pod the uid is a hash. A path seen
 * from within a cgroup namespace may begin anywhere above.
 */
const POD = /[/-]pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?:\/|$)/m;

/** The UID of the pod that a process with this /proc/PID/cgroup belongs to; of several in a path the outermost, which is the kubelet's. */
export function podUidOf(cgroups: string): string | undefined {
  return POD.exec(cgroups)?.[1]?.replaceAll('_', '-');
}

/** The processes of all pods, by UID. */
export function podProcesses(proc: string): Map<string, number[]> {
  const processes = new Map<string, number[]>();
  for (const name of readdirSync(proc)) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const uid = podUidOf(cgroupsOf(join(proc, name)));
    if (uid === undefined) continue;
    const known = processes.get(uid);
    if (known === undefined) processes.set(uid, [pid]);
    else known.push(pid);
  }
  return processes;
}

function cgroupsOf(directory: string): string {
  try {
    return readFileSync(join(directory, 'cgroup'), 'utf8');
  } catch {
    // It has ended since the directory was listed.
    return '';
  }
}
