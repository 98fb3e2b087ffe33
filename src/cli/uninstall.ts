/** `orlop uninstall`: everything that `orlop install` or `kubectl apply -k deploy/` brought, and nothing else. */
import { Command, Option } from 'commander';
import type { ClusterObjects } from '../install/cluster-objects.ts';
import { namespaceOf } from '../install/install.ts';
import { readDefinitions, readKustomization } from '../install/kustomization.ts';
import { readRecord } from '../install/record.ts';
import { uninstall } from '../install/uninstall.ts';
import { onCluster, withClusterFlags } from './cluster-flags.ts';
import type { ClusterFlags } from './cluster-flags.ts';
import { InstallScreen } from './install-screen.ts';
import { duration } from './values.ts';

const TIMEOUT_MS = 180_000;

interface Flags extends ClusterFlags {
  readonly kustomize?: string;
  readonly namespace?: string;
  readonly dryRun?: boolean;
  readonly purge?: boolean;
  readonly wait: boolean;
  readonly timeout: number;
}

export function uninstallCommand(): Command {
  return withClusterFlags(new Command('uninstall'))
    .description('take Orlop out of a cluster: agents let their pods go, nodes are looked at, and everything that was installed is removed')
    .option('-k, --kustomize <dir>', 'the kustomization that was installed, if it was by kubectl')
    .option('-n, --namespace <name>', 'where it is (default: orlop-system)')
    .option('--dry-run', 'say what would be removed, and remove nothing')
    .option('--purge', 'also what others have made of it: VirtualServices and the like, other pods in the namespace')
    .option('--no-wait', 'do not wait for the agents, and do not look at the nodes')
    .addOption(new Option('--timeout <duration>', 'how long each step may take').argParser(duration).default(TIMEOUT_MS, '3m'))
    .action(async (flags: Flags) => {
      await onCluster('uninstall', flags, async (objects) => run(objects, flags));
    });
}

async function run(objects: ClusterObjects, { kustomize, namespace: wanted, dryRun = false, purge = false, wait, timeout }: Flags): Promise<void> {
  const screen = new InstallScreen(process.stdout);
  const files = await Promise.all((await readKustomization({ directory: kustomize, namespace: wanted })).map(async (object) => objects.placed(object)));
  const namespace = namespaceOf(files);
  const record = await readRecord(objects, namespace);
  screen.title(`${dryRun ? 'this would be removed from' : 'removing from'} ${objects.client.address}`);
  let removed = 0;
  let looked = 0;
  let unclean = 0;
  let stays = 0;
  const spoken = await uninstall(objects, {
    namespace, manifests: record?.current ?? files, definitions: await readDefinitions(), dryRun, purge,
    timeoutMs: wait ? timeout : undefined,
    onOutcome: (outcome) => {
      if (outcome.action === 'removed') removed += 1;
      screen.outcome(outcome, false);
    },
    onProgress: (text) => {
      screen.progress(text);
    },
    onNode: ({ node, isClean, text }) => {
      looked += 1;
      if (!isClean) unclean += 1;
      screen.findings([{ level: isClean ? 'ok' : 'error', text: `node ${node}: ${text}`, remedy: '' }]);
    },
    onFinding: (finding) => {
      if (finding.level === 'error') stays += 1;
      screen.findings([finding]);
    },
  });
  screen.line(removed + spoken + stays + looked === 0 ? '\nthere was nothing to remove' : summary({ removed, spoken, unclean, dryRun }));
  if (unclean > 0 || stays > 0) process.exitCode = 1;
}

function summary({ removed, spoken, unclean, dryRun }: { readonly removed: number; readonly spoken: number; readonly unclean: number; readonly dryRun: boolean }): string {
  const status = spoken === 0 ? '' : ` and the status of ${spoken} cleared`;
  if (dryRun) return `\n${removed} objects would be removed${status}; nothing has been`;
  return `\n${removed} objects removed${status}${unclean === 0 ? '' : `; ${unclean} node${unclean === 1 ? '' : 's'} may still have something of Orlop's`}`;
}
