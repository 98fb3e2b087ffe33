/**
 * The network namespaces of this node's pods, where no annotation says which they are: found by the pods' processes, the pause process among
 * them, and told by the pods' addresses. One that was found is held open, so that it can be entered by the same path for as long as the pod is
 * enrolled, whichever of its processes come and go.
 */
import { closeSync, openSync, statSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import ipaddr from 'ipaddr.js';
import type { Workload } from '../mesh/snapshot.ts';
import { Netns } from '../sys/netns.ts';
import { podProcesses } from './pod-cgroups.ts';

/** Where it is; or why it is not found, and whether that will do by itself, since the pod has no process (yet, or any more). */
export type Located = { readonly path: string } | { readonly reason: string; readonly absent: boolean };

interface Held {
  readonly fd: number;
  readonly uid: string;
  readonly inode: bigint;
  readonly addresses: string;
}

/** Of a static pod, by which the kubelet knows it: the UID in the API is that of its mirror. */
const STATIC_POD_UID = 'kubernetes.io/config.hash';

export class PodNamespaces {
  readonly #proc: string;
  /** By pod. */
  readonly #held = new Map<string, Held>();
  /** Inode of the namespace of this process, which is the node's. */
  readonly #own: bigint;

  constructor(proc = '/proc') {
    this.#proc = proc;
    this.#own = statSync('/proc/self/ns/net', { bigint: true }).ino;
  }

  /**
   * Of each of these pods; those that are held are not looked for again unless their addresses have changed. `told`: where the runtime says that
   * it is, which is known before there is a process.
   */
  locate(workloads: readonly Workload[], told: (workload: Workload) => string | undefined = () => undefined): Map<string, Located> {
    const located = new Map<string, Located>();
    let processes: ReadonlyMap<string, readonly number[]> | undefined;
    for (const workload of workloads) {
      const held = this.#held.get(workload.id);
      if (held !== undefined && held.uid === workload.uid && held.addresses === addressKey(workload)) located.set(workload.id, { path: pathOf(held) });
      else {
        located.set(workload.id, this.#take(workload, told(workload)) ?? this.#find(workload, (processes ??= podProcesses(this.#proc)).get(kubeletUidOf(workload)) ?? []));
      }
    }
    return located;
  }

  /** Pods that are held and whose processes are all in another namespace now: their sandbox was made anew. They are let go. */
  releaseMoved(workloads: readonly Workload[]): string[] {
    if (this.#held.size === 0) return [];
    const processes = podProcesses(this.#proc);
    return workloads.flatMap((workload) => {
      const held = this.#held.get(workload.id);
      const inodes = (processes.get(kubeletUidOf(workload)) ?? []).map((pid) => this.#inodeOf(pid)).filter((inode) => inode !== undefined);
      if (held === undefined || inodes.length === 0 || inodes.includes(held.inode)) return [];
      this.release(workload.id);
      return [workload.id];
    });
  }

  /** Its path may not be used after this. */
  release(id: string): void {
    const held = this.#held.get(id);
    if (held === undefined) return;
    this.#held.delete(id);
    closeSync(held.fd);
  }

  releaseAllBut(pods: ReadonlyMap<string, unknown>): void {
    for (const id of this.#held.keys()) if (!pods.has(id)) this.release(id);
  }

  /** Undefined when it is not there (any more). */
  #take(workload: Workload, path: string | undefined): Located | undefined {
    const held = path === undefined ? undefined : this.#hold(workload, path, () => true);
    return held === undefined ? undefined : this.#keep(workload, held);
  }

  #find(workload: Workload, pids: readonly number[]): Located {
    const tried = new Set([this.#own]);
    for (const pid of pids) {
      const inode = this.#inodeOf(pid);
      if (inode === undefined || tried.has(inode)) continue;
      tried.add(inode);
      const held = this.#hold(workload, join(this.#proc, String(pid), 'ns/net'), hasAddress);
      if (held !== undefined) return this.#keep(workload, held);
    }
    if (pids.length === 0) return { reason: 'none of its processes is on this node, or its network namespace is gone', absent: true };
    if (tried.size === 1) return { reason: 'its processes are in the network namespace of the node', absent: false };
    return { reason: `none of its processes is in a network namespace with its address ${workload.addresses.join(', ')}`, absent: false };
  }

  #keep({ id }: Workload, held: Held): Located {
    // The one before is closed after the new one was opened, so that the two never share a path.
    this.release(id);
    this.#held.set(id, held);
    return { path: pathOf(held) };
  }

  /** Undefined when the namespace is not the pod's, or is gone. */
  #hold(workload: Workload, file: string, isOf: (workload: Workload, netns: Netns) => boolean): Held | undefined {
    let fd: number;
    try {
      fd = openSync(file, 'r');
    } catch {
      return undefined;
    }
    // What counts is the namespace that is held: the process may have ended, and its number been given to another.
    using netns = Netns.open(`/proc/self/fd/${fd}`);
    if (netns.inode !== this.#own && isOf(workload, netns)) return { fd, uid: workload.uid, inode: netns.inode, addresses: addressKey(workload) };
    closeSync(fd);
    return undefined;
  }

  #inodeOf(pid: number): bigint | undefined {
    try {
      return statSync(join(this.#proc, String(pid), 'ns/net'), { bigint: true }).ino;
    } catch {
      return undefined;
    }
  }
}

function hasAddress({ addresses }: Workload, netns: Netns): boolean {
  const present = netns.run(() => Object.values(networkInterfaces()).flatMap((interfaces) => (interfaces ?? []).map(({ address }) => ipaddr.parse(address).toString())));
  return addresses.some((address) => present.includes(address));
}

/** Also for the programs that the agent starts. */
function pathOf({ fd }: Held): string {
  return `/proc/${process.pid}/fd/${fd}`;
}

/** The kubelet and the runtime list them in different orders. */
function addressKey({ addresses }: Workload): string {
  return [...addresses].sort().join();
}

export function kubeletUidOf({ uid, annotations }: Workload): string {
  return annotations[STATIC_POD_UID] ?? uid;
}
