/** `orlop install` and `orlop upgrade`: the objects of deploy/ in a cluster, with what is looked at before and waited for after. */
import { Command, Option } from 'commander';
import type { ClusterObjects } from '../install/cluster-objects.ts';
import { install, namespaceOf } from '../install/install.ts';
import { readDefinitions, readKustomization } from '../install/kustomization.ts';
import type { Manifest } from '../install/manifest.ts';
import { preflight } from '../install/preflight.ts';
import { readRecord } from '../install/record.ts';
import { StuckError } from '../install/rollout.ts';
import { onCluster, withClusterFlags } from './cluster-flags.ts';
import type { ClusterFlags } from './cluster-flags.ts';
import { InstallScreen } from './install-screen.ts';
import { duration } from './values.ts';

const NAMESPACE = 'orlop-system';
const TIMEOUT_MS = 180_000;

interface Flags extends ClusterFlags {
  readonly kustomize?: string;
  readonly namespace?: string;
  readonly image?: string;
  readonly dryRun?: boolean;
  readonly forceConflicts?: boolean;
  readonly wait: boolean;
  readonly timeout: number;
  readonly rollback?: boolean;
}

export function installCommand(): Command {
  return withInstallFlags(new Command('install'))
    .description('put Orlop into a cluster: control plane, an agent on each node, and the definitions of Istio\'s kinds where they are missing')
    .action(async (flags: Flags) => {
      await onCluster('install', flags, async (objects) => run(objects, flags, await wantedObjects(objects, flags)));
    });
}

export function upgradeCommand(): Command {
  return withInstallFlags(new Command('upgrade'))
    .description('bring an installation to this version, one node after the other; stops when a node does not become ready, and the others keep what they have')
    .addOption(new Option('--rollback', 'back to what was installed before').conflicts(['kustomize', 'image']))
    .action(async (flags: Flags) => {
      await onCluster('upgrade', flags, async (objects) => run(objects, flags, await upgradeTo(objects, flags)));
    });
}

function withInstallFlags(command: Command): Command {
  return withClusterFlags(command)
    .addOption(new Option('-k, --kustomize <dir>', 'a kustomization of yours on top of deploy/base, in place of deploy/').conflicts(['namespace', 'image']))
    .option('-n, --namespace <name>', `in place of ${NAMESPACE}`)
    .option('--image <reference>', 'Orlop\'s image, as the nodes find it: registry.example/orlop:0.1.0')
    .option('--dry-run', 'ask the API server what would change, and change nothing')
    .option('--force-conflicts', 'take over fields that others have set to something else')
    .option('--no-wait', 'do not wait for the pods')
    .addOption(new Option('--timeout <duration>', 'how long a pod may take to become ready').argParser(duration).default(TIMEOUT_MS, '3m'));
}

async function wantedObjects(objects: ClusterObjects, { kustomize: directory, namespace, image }: Flags): Promise<readonly Manifest[]> {
  const files = await readKustomization({ directory, namespace, image });
  return Promise.all(files.map(async (object) => objects.placed(object)));
}

/** An upgrade without an installation is a typing mistake, or the wrong cluster. */
async function upgradeTo(objects: ClusterObjects, flags: Flags): Promise<readonly Manifest[]> {
  const wanted = await wantedObjects(objects, flags);
  const namespace = namespaceOf(wanted);
  const record = await readRecord(objects, namespace);
  if (record === undefined) throw new Error(`orlop install has put nothing into the namespace ${namespace} of ${objects.client.address}; see --context and --namespace, or: orlop install`);
  if (flags.rollback !== true) return wanted;
  if (record.previous.length === 0) throw new Error('there is nothing to go back to: what runs is what was installed first');
  return record.previous;
}

async function run(objects: ClusterObjects, flags: Flags, manifests: readonly Manifest[]): Promise<void> {
  const { dryRun = false, forceConflicts: force = false, wait, timeout: timeoutMs } = flags;
  const screen = new InstallScreen(process.stdout);
  const definitions = await readDefinitions();
  const isWellEnough = screen.findings(await preflight(objects, [...definitions, ...manifests]));
  if (!isWellEnough && !dryRun) throw new Error('nothing was changed');
  screen.title(`\n${dryRun ? 'this would become of' : 'objects of'} ${namespaceOf(manifests)} on ${objects.client.address}`);
  let changed = 0;
  await withAdvice(async () => install(objects, {
    manifests, definitions, dryRun, force,
    rollout: wait && !dryRun ? { timeoutMs, onProgress: (text) => { screen.progress(text); } } : undefined,
    onOutcome: (outcome) => {
      if (outcome.action !== 'unchanged' && outcome.action !== 'left') changed += 1;
      screen.outcome(outcome, dryRun);
    },
  }));
  screen.line(summary(changed, { dryRun, wait }));
  if (!isWellEnough) process.exitCode = 1;
}

async function withAdvice(action: () => Promise<void>): Promise<void> {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof StuckError)) throw error;
    throw new Error(`${error.message}\nit stops here, and pods that were not reached keep what they run; see what keeps these, or go back with: orlop upgrade --rollback`, { cause: error });
  }
}

function summary(changed: number, { dryRun, wait }: { readonly dryRun: boolean; readonly wait: boolean }): string {
  if (dryRun) return `\n${changed === 0 ? 'nothing would change' : `${changed} objects would change`}; nothing has been`;
  return `\n${changed === 0 ? 'nothing had to be changed' : `${changed} objects changed`}${wait ? ', and every pod is ready' : ''}
what joins the mesh:  kubectl annotate namespace NAME orlop.io/mesh=enabled`;
}
