/**
 * What the first process of a node does: it makes the node's own view of this machine, and then holds its namespaces. The node has the machine's
 * file system under it and writes only to layers of its own, so that /etc/cni, /opt/cni, /var/lib/kubelet and /run are where every node has them,
 * and all of it, mounts and BPF pins too, ends with the namespaces.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { hierarchies } from './cgroups.ts';

/** What a kubelet writes that is the whole machine's: it finds plain files in these places, with what it wants in them already. */
const MACHINE_SETTINGS = {
  'vm/overcommit_memory': 1, 'vm/panic_on_oom': 0, 'kernel/panic': 10, 'kernel/panic_on_oops': 1, 'kernel/keys/root_maxkeys': 1_000_000, 'kernel/keys/root_maxbytes': 25_000_000,
};

/** Kept outside the layers: overlayfs, which containers' file systems are made with, cannot have one of its own kind below it. */
const REAL_DIRECTORIES = ['/var/lib/containerd', '/var/lib/kubelet'];

export interface NodeRoot {
  /** The node's directory on this machine. */
  directory: string;
  /** Directories that the node sees under the same names. */
  shared: readonly string[];
  /** Files of the node's own, by path. */
  files: Record<string, string>;
  /** Programs that the node sees in directories of its own, by path of the directory: it can add to them. */
  links: Record<string, readonly string[]>;
  /** Program that becomes the node's first process when everything is in place. */
  init: string;
}

/** Exists when the node's view is complete. */
export function readyFile(directory: string): string {
  return `${directory}/ready`;
}

/** Make the directories that a node needs on this machine, and the script that its first process runs (sh). */
export function nodeRootScript({ directory, shared, files, links, init }: NodeRoot): string {
  for (const name of ['upper', 'work', 'root', 'settings', ...REAL_DIRECTORIES]) mkdirSync(`${directory}/${name}`, { recursive: true });
  for (const [setting, value] of Object.entries(MACHINE_SETTINGS)) writeFileSync(`${directory}/settings/${setting.replaceAll('/', '.')}`, `${value}\n`);
  const bind = (from: string, to: string): string => `mkdir -p .${to} && mount --bind ${from} .${to}`;
  return [
    'set -eu',
    // Nothing mounted from here on shows outside.
    'mount --make-rprivate /',
    `mount -t overlay overlay -o lowerdir=/,upperdir=${directory}/upper,workdir=${directory}/work ${directory}/root`,
    `cd ${directory}/root`,
    'mount -t proc proc proc',
    'mount -t sysfs sysfs sys',
    'mount --rbind /dev dev',
    'mount -t tmpfs -o mode=755 tmpfs run && mkdir run/lock',
    ...cgroupMounts(),
    // A file system of its own: pins are the node's, and end with it.
    'mount -t bpf bpf sys/fs/bpf',
    ...[directory, ...shared].map((path) => bind(path, path)),
    ...REAL_DIRECTORIES.map((path) => bind(directory + path, path)),
    ...Object.keys(MACHINE_SETTINGS).map((setting) => `[ ! -e proc/sys/${setting} ] || mount --bind ${directory}/settings/${setting.replaceAll('/', '.')} proc/sys/${setting}`),
    ...Object.entries(files).map(([path, text]) => `mkdir -p $(dirname .${path}) && rm -f .${path} && cat > .${path} <<'END_OF_FILE'\n${text}\nEND_OF_FILE`),
    ...Object.entries(links).map(([path, programs]) => `rm -rf .${path} && mkdir -p .${path} && ln -s ${programs.join(' ')} .${path}/`),
    'pivot_root . .',
    'umount -l .',
    // Kubelets and containers pass mounts on to each other, within the node.
    'mount --make-rshared /',
    `touch ${readyFile(directory)}`,
    `exec ${init}`,
  ].join('\n');
}

/** The hierarchies as seen from the node's groups, which this process is in. */
function cgroupMounts(): string[] {
  const all = hierarchies();
  const only = all.length === 1;
  const mounts = all.map(({ path, version, options }) => {
    const at = `.${path}`;
    const mount = version === 2 ? `mount -t cgroup2 cgroup ${at}` : `mount -t cgroup -o ${options} cgroup ${at}`;
    // A group with controllers below it may hold no process of its own (cgroups(7), "no internal processes").
    return `${only ? '' : `mkdir -p ${at} && `}${mount}${version === 2 ? ` && mkdir ${at}/init && echo $$ > ${at}/init/cgroup.procs` : ''}`;
  });
  return only ? mounts : ['mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup', ...mounts];
}
