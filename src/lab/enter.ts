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
