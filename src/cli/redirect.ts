/** `orlop redirect`: print, check or clean the capture of one pod by hand. */
import { existsSync, readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { buildSnapshot } from '../mesh/build.ts';
import { checkByHand, cleanByHand, renderPod } from '../redirect/by-hand.ts';
import { removeNode } from '../redirect/ebpf/programs.ts';
import { NO_EXCLUSIONS, parseExclusions } from '../redirect/exclusions.ts';
import type { Exclusions } from '../redirect/exclusions.ts';
import type { RedirectKind } from '../redirect/redirector.ts';

const EX_USAGE = 64;

interface PodFlags {
  readonly pod?: string;
  readonly annotation?: readonly string[];
  readonly address?: readonly string[];
}

interface PodFacts {
  readonly exclusions: Exclusions;
  readonly addresses: readonly string[];
}

/** A mistake of the user: told in one line. */
class UsageError extends Error {}

export function redirectCommand(): Command {
  const command = new Command('redirect').description('print, check or clean the capture of a pod by hand');
  withPodFlags(command.command('render'))
    .description('print what would be done to a pod, without doing it')
    .addOption(new Option('--redirect <how>', 'backend').choices(['iptables', 'ebpf']).default('iptables'))
    .action((flags: PodFlags & { redirect: RedirectKind }) =>
      guarded(() => {
        const { exclusions, addresses } = podOf(flags);
        process.stdout.write(renderPod(flags.redirect, exclusions, addresses));
      }),
    );
  withPodFlags(command.command('check'))
    .description('compare the capture in a network namespace with what it should be; exit 1 when it differs')
    .argument('<netns>', '/run/netns/NAME or /proc/PID/ns/net')
    .action((netns: string, flags: PodFlags) =>
      guarded(() => {
        const { exclusions, addresses } = podOf(flags);
        const { kind, drifts } = checkByHand(existing(netns), exclusions, addresses);
        for (const { expected, found } of drifts) process.stdout.write(`expected ${expected}\n   found ${found}\n`);
        process.stdout.write(drifts.length === 0 ? `captured by ${kind}, as it should be\n` : `${drifts.length} differences; a running agent repairs them within 5 s\n`);
        process.exitCode = drifts.length === 0 ? 0 : 1;
      }),
    );
  command
    .command('clean')
    .description('remove every rule, route and BPF entry of ours from a network namespace, or the BPF programs of a node whose agent is gone; captured connections end')
    .argument('[netns]', '/run/netns/NAME or /proc/PID/ns/net')
    .option('--node <name>', 'a node, to remove its BPF programs')
    .action((netns: string | undefined, { node }: { node?: string }) =>
      guarded(() => {
        if ((netns === undefined) === (node === undefined)) throw new UsageError('clean: give a network namespace or --node NAME, one of them');
        if (netns !== undefined) {
          cleanByHand(existing(netns));
          process.stdout.write('nothing of ours is left in it (an agent that still has the pod enrolled puts it back)\n');
        }
        if (node !== undefined) process.stdout.write(removeNode(node) ? `the BPF programs of ${node} are gone\n` : `${node} has no BPF programs here\n`);
      }),
    );
  return command;
}

function withPodFlags(command: Command): Command {
  return command
    .option('--pod <file>', 'YAML file with the Pod, for its annotations and addresses')
    .option('--annotation <key=value>', 'an annotation of the pod (repeatable)', collect)
    .option('--address <ip>', 'an address of the pod (repeatable)', collect);
}

function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

function podOf({ pod, annotation = [], address = [] }: PodFlags): PodFacts {
  const annotations: Record<string, string> = {};
  const addresses = [...address];
  if (pod !== undefined) {
    const [workload] = buildSnapshot([{ name: pod, text: readFileSync(existing(pod), 'utf8') }]).workloads;
    if (workload === undefined) throw new UsageError(`${pod} has no valid Pod; try: orlop config check`);
    Object.assign(annotations, workload.annotations);
    addresses.push(...workload.addresses);
  }
  for (const text of annotation) {
    const equals = text.indexOf('=');
    if (equals < 1) throw new UsageError(`--annotation ${text}: write it as key=value`);
    annotations[text.slice(0, equals)] = text.slice(equals + 1);
  }
  if (Object.keys(annotations).length === 0) return { exclusions: NO_EXCLUSIONS, addresses };
  const { exclusions, problems } = parseExclusions(annotations);
  for (const problem of problems) process.stderr.write(`${problem.annotation} ${problem.message} → ${problem.remedy}\n`);
  return { exclusions, addresses };
}

function existing(path: string): string {
  if (!existsSync(path)) throw new UsageError(`there is no ${path}`);
  return path;
}

function guarded(action: () => void): void {
  try {
    action();
  } catch (error) {
    process.stderr.write(`orlop redirect: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = error instanceof UsageError ? EX_USAGE : 1;
  }
}
