/** Which backend a node uses, and why: `--redirect auto|iptables|ebpf`. */
import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { findCommand } from './command.ts';
import { EarlierPrograms } from './ebpf/earlier-programs.ts';
import { EbpfRedirector } from './ebpf/redirector.ts';
import { cgroupRoot } from './ebpf/pins.ts';
import type { ProgramsOptions } from './ebpf/programs.ts';
import { IptablesRedirector } from './iptables/redirector.ts';
import { PerPodRedirector } from './per-pod.ts';
import type { Redirector, RedirectKind } from './redirector.ts';
import { ReturnPaths } from './return-path.ts';
import { ensureWritableSysctls } from './sysctls.ts';

export type RedirectMode = 'auto' | RedirectKind;

export interface Opened {
  readonly redirector: Redirector;
  /** Why this backend, for the log. */
  readonly reason: string;
}

/** sk_lookup programs learn the interface a packet came in by from this version on; without it the agent would capture itself. */
const KERNEL_MIN = { major: 5, minor: 17 };

/**
 * Open the node's redirector. In `auto` mode eBPF is taken where the kernel can do it, with iptables for the pods whose
 * exclusions eBPF cannot honour. With `ebpf` it throws what is missing instead of falling back.
 */
export function openRedirector(mode: RedirectMode, options: ProgramsOptions): Opened {
  ensureWritableSysctls();
  if (mode === 'iptables') return openIptables(options, 'asked for by --redirect iptables');
  const obstacle = ebpfObstacle(options.objectPath);
  if (mode === 'ebpf') {
    if (obstacle !== undefined) throw new Error(`--redirect ebpf: ${obstacle}; use --redirect iptables or auto`);
    return { redirector: new EbpfRedirector(options), reason: 'asked for by --redirect ebpf' };
  }
  if (obstacle !== undefined) return openIptables(options, obstacle);
  try {
    const returnPaths = new ReturnPaths();
    const redirector = new PerPodRedirector(new EbpfRedirector(options, returnPaths), new IptablesRedirector(returnPaths));
    return { redirector, reason: `Linux ${release()} has what capture by eBPF needs` };
  } catch (error) {
    return openIptables(options, `the BPF programs cannot be loaded: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Why this machine cannot capture by eBPF, in words; undefined when nothing is known against it. */
export function ebpfObstacle(objectPath: string, kernel: string = release()): string | undefined {
  const [major = 0, minor = 0] = kernel.split(/[.-]/).map(Number);
  if (major < KERNEL_MIN.major || (major === KERNEL_MIN.major && minor < KERNEL_MIN.minor)) {
    return `Linux ${kernel} is older than ${KERNEL_MIN.major}.${KERNEL_MIN.minor}, the first whose sk_lookup programs know the incoming interface`;
  }
  if (!existsSync(objectPath)) return `${objectPath} is not built (\`make -C bpf\`)`;
  if (cgroupRoot() === undefined) return 'no cgroup v2 is mounted';
  if (findCommand('bpftool') === undefined) return 'bpftool is not installed';
  return undefined;
}

function openIptables({ node }: ProgramsOptions, reason: string): Opened {
  return { redirector: new IptablesRedirector(new ReturnPaths(), new EarlierPrograms(node)), reason };
}
