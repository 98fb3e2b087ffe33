/** Removing a cluster, whatever state it is in: by the names of what it made, not by what a process remembers. */
import { removeGroups } from './cgroups.ts';
import { ClusterNames, removeDirectory } from './names.ts';
import { removeNetwork } from './network.ts';

/** Safe to run twice, and by two at once. Mounts and pods' namespaces end with the nodes' processes. */
export async function sweep(name: string): Promise<void> {
  const names = new ClusterNames(name);
  await removeGroups(names.cgroup);
  await removeNetwork(names);
  removeDirectory(names);
}
