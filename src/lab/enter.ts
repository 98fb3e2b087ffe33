/** The command line that runs a program inside a pod: in its cgroup, and its network, mount and UTS namespaces. */
export interface PodPlace {
  cgroup: string;
  netnsPath: string;
  /** The process that holds the pod's mount and UTS namespaces. */
  pausePid: number;
}

export interface EnterOptions {
  cwd: string;
  runAsUser?: number;
  runAsGroup?: number;
}

/** Join the cgroup of $0, then become the command that follows: a process that forks before it joins could leave children behind. */
const JOIN_CGROUP = 'echo $$ > "$0/cgroup.procs" && exec "$@"';

/** `argv` inside a cgroup only. */
export function inCgroup(cgroup: string, argv: readonly string[]): string[] {
  return ['sh', '-c', JOIN_CGROUP, cgroup, ...argv];
}

/** The BPF file system, mounted while still in the machine's own mount namespace: a pin made in a private one would end with it. */
const SHARE_PINS = 'mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf || true; exec "$@"';

/**
 * `argv` with a resolv.conf of its own: a node's process resolves as its node does, and only the lab's DNS servers know the
 * lab's names. All other mounts stay the machine's, and those made later appear here too.
 */
export function withResolver(path: string, argv: readonly string[]): string[] {
  const bind = 'mount --bind "$0" /etc/resolv.conf && exec "$@"';
  return ['sh', '-c', SHARE_PINS, 'sh', 'unshare', '--mount', '--propagation', 'slave', 'sh', '-c', bind, path, ...argv];
}

/** `argv` inside a pod. */
export function inPod(place: PodPlace, argv: readonly string[], options: EnterOptions): string[] {
  const { runAsUser, runAsGroup } = options;
  const user = runAsUser === undefined && runAsGroup === undefined
    ? []
    : ['setpriv', `--reuid=${runAsUser ?? 0}`, `--regid=${runAsGroup ?? runAsUser ?? 0}`, '--clear-groups', '--'];
  return inCgroup(place.cgroup, [
    'nsenter', `--net=${place.netnsPath}`, `--mount=/proc/${place.pausePid}/ns/mnt`, `--uts=/proc/${place.pausePid}/ns/uts`,
    `--wdns=${options.cwd}`, '--', ...user, ...argv,
  ]);
}
