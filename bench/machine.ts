/** Where a run took place: figures without their machine mean nothing. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release } from 'node:os';

/** The first two cores this process may use: one for load and backend, one for the proxy. Throws where there is only one. */
export function twoCores(): [load: number, proxy: number] {
  const list = /^Cpus_allowed_list:\s+(\S+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '';
  const [load, proxy] = parseCpuList(list);
  if (load === undefined || proxy === undefined) throw new Error('the measurements need two cores, one for the load and one for the proxy');
  return [load, proxy];
}

/** The numbers of a list such as `0-3,8` (cpuset(7), list format). */
export function parseCpuList(list: string): number[] {
  return list.split(',').filter(Boolean).flatMap((range) => {
    const [first, last] = range.split('-').map(Number) as [number, number | undefined];
    return Array.from({ length: (last ?? first) - first + 1 }, (_, offset) => first + offset);
  });
}

export function describeMachine(): Record<string, string> {
  const cores = cpus();
  return {
    CPU: `${String(cores.length)} × ${cores[0]?.model.trim() ?? 'unknown'}`,
    kernel: release(),
    'load average before': loadavg()[0]!.toFixed(2),
  };
}

/** Versions of what is compared, as each says itself. */
export function describeVersions(envoy: string): Record<string, string> {
  return {
    Node: process.versions.node,
    nginx: version('nginx', '-v', /nginx\/(\S+)/),
    haproxy: version('haproxy', '-v', /version (\S+)/),
    Envoy: version(envoy, '--version', /\/(\d+\.\d+\.\d+)\//),
  };
}

function version(program: string, flag: string, pattern: RegExp): string {
  // nginx answers on stderr.
  const output = execFileSync('sh', ['-c', '"$0" "$1" 2>&1', program, flag], { encoding: 'utf8' });
  return pattern.exec(output)?.[1] ?? 'unknown';
}
