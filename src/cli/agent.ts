/** `orlop agent`: one node's control and data plane. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { Agent } from '../agent/agent.ts';
import type { CaAddress } from '../agent/certificates.ts';
import type { CniSettings } from '../agent/cni.ts';
import type { ObjectName } from '../agent/own-daemonset.ts';
import type { LogLevel } from '../core/log-level.ts';
import type { RedirectMode } from '../redirect/detect.ts';
import { configPlace } from './config-place.ts';
import { duration, port } from './values.ts';
import { EX_USAGE, fail, runUntilEnded } from './long-running.ts';

const DAY_MS = 86_400_000;
const TEN_MINUTES_MS = 600_000;
const CA_SERVER_NAME = 'orlop-control.orlop-system.svc';

interface Flags {
  config?: string;
  kubeconfig?: string;
  node: string;
  runDir: string;
  redirect: RedirectMode;
  concurrency?: number;
  accessLog?: 'off' | 'text' | 'json';
  logLevel: LogLevel;
  metricsPort: number;
  readyPort: number;
  keepRedirect?: boolean;
  keeper?: string;
  caAddress?: string;
  caServerName: string;
  caRoots?: string;
  caToken?: string;
  certificateLifetime: number;
  allowLocalJwks?: boolean;
  instance?: string;
  handOverDrain: number;
  cniConfDir?: string;
  cniBinDir?: string;
  cniExclude: string[];
  daemonset?: ObjectName;
  removeTaint?: string;
}

export function agentCommand(): Command {
  return new Command('agent')
    .description('capture and carry the traffic of this node\'s pods')
    .option('--config <dir>', 'directory of Kubernetes and Istio YAML, followed live, instead of a cluster')
    .option('--kubeconfig <file>', 'how to reach the cluster (default: as the service account of the agent\'s pod)')
    .requiredOption('--node <name>', 'this node, as in the pods\' spec.nodeName')
    .option('--run-dir <dir>', 'where the admin socket goes', '/run/orlop')
    .addOption(new Option('--redirect <how>', 'how traffic is captured').choices(['auto', 'iptables', 'ebpf']).default('auto'))
    .option('--concurrency <n>', 'worker threads (default: one per four cores)', count)
    .addOption(new Option('--access-log <format>', 'overrides MeshConfig.accessLogFile').choices(['off', 'text', 'json']))
    .addOption(new Option('--log-level <level>', 'of the agent\'s own log').choices(['debug', 'info', 'warn', 'error', 'silent']).default('info'))
    .option('--metrics-port <port>', 'Prometheus metrics', port, 15_020)
    .option('--ready-port <port>', 'readiness', port, 15_021)
    .option('--ca-address <host:port>', 'CA of the mesh (orlop control); without it the agent is its own, and no other node trusts its pods')
    .option('--ca-server-name <dns>', 'name in the CA\'s certificate', CA_SERVER_NAME)
    .option('--ca-roots <file>', 'roots to trust the CA by, PEM (orlop control --roots-out)')
    .option('--ca-token <file>', 'token by which the CA knows this node')
    .option('--certificate-lifetime <duration>', 'of workloads\' certificates; renewed at half of it', duration, DAY_MS)
    .option('--allow-local-jwks', 'fetch the keys of token issuers from loopback and link-local addresses too (for laboratories)')
    .option('--keep-redirect', 'leave capture in force when the agent ends, for the next one')
    .option('--keeper <socket>', 'of orlop-keeper, by which connections wait instead of being refused while a killed agent is replaced')
    .addOption(new Option('--instance <name>', 'tells this agent from the ones before and after it (orlop ready; default: its process id)').env('ORLOP_INSTANCE'))
    .option('--hand-over-drain <duration>', 'how long connections may go on here once another agent has taken over and this one is asked to end', duration, TEN_MINUTES_MS)
    .option('--cni-conf-dir <dir>', 'capture new pods before they start: directory of the node\'s network configuration, which gets an entry (with --cni-bin-dir)')
    .option('--cni-bin-dir <dir>', 'where the node\'s container runtime has its CNI plugins')
    .option('--cni-exclude <namespaces>', 'whose pods start without being asked for, and also without an agent; separated by commas', names, ['kube-system', 'orlop-system'])
    .option('--daemonset <namespace/name>', 'what this agent is a pod of: when it is deleted, the CNI plugin goes with its last agents', objectName)
    .option('--remove-taint <key>', 'taken from this node when the agent is ready (orlop.io/agent-not-ready, put there by whoever makes nodes)')
    .action(async (flags: Flags) => {
      await run(flags);
    });
}

async function run(flags: Flags): Promise<void> {
  const config = configPlace(flags);
  if (typeof config === 'string') {
    fail('agent', EX_USAGE, config);
    return;
  }
  if (flags.caAddress !== undefined && (flags.caRoots === undefined || flags.caToken === undefined)) {
    fail('agent', EX_USAGE, '--ca-address needs --ca-roots and --ca-token: the roots to trust the CA by, and the token of this node');
    return;
  }
  if ((flags.cniConfDir === undefined) !== (flags.cniBinDir === undefined) || (flags.cniConfDir !== undefined && 'directory' in config)) {
    fail('agent', EX_USAGE, '--cni-conf-dir and --cni-bin-dir go together, and with a cluster instead of --config');
    return;
  }
  await runUntilEnded('agent', async () =>
    Agent.start({
      config,
      node: flags.node,
      runDirectory: flags.runDir,
      instance: flags.instance ?? String(process.pid),
      handOverDrainMs: flags.handOverDrain,
      redirect: flags.redirect,
      concurrency: flags.concurrency,
      accessLog: flags.accessLog,
      logLevel: flags.logLevel,
      metricsPort: flags.metricsPort,
      readyPort: flags.readyPort,
      keepRedirect: flags.keepRedirect === true,
      keeperPath: flags.keeper,
      ca: caOf(flags),
      certificateLifetimeMs: flags.certificateLifetime,
      allowLocalJwks: flags.allowLocalJwks === true,
      cni: cniOf(flags),
      daemonSet: flags.daemonset,
      removeTaint: flags.removeTaint,
    }),
  );
}

function caOf({ caAddress: address, caServerName: serverName, caRoots: rootsFile, caToken: tokenFile }: Flags): CaAddress | undefined {
  return address === undefined || rootsFile === undefined || tokenFile === undefined ? undefined : { address, serverName, rootsFile, tokenFile };
}

function cniOf({ cniConfDir: confDirectory, cniBinDir: binDirectory, cniExclude: excludeNamespaces }: Flags): CniSettings | undefined {
  return confDirectory === undefined || binDirectory === undefined ? undefined : { confDirectory, binDirectory, excludeNamespaces };
}

function names(text: string): string[] {
  return text.split(',').map((name) => name.trim()).filter((name) => name !== '');
}

function objectName(text: string): ObjectName {
  const [namespace = '', name = '', rest] = text.split('/');
  if (namespace === '' || name === '' || rest !== undefined) throw new InvalidArgumentError('NAMESPACE/NAME.');
  return { namespace, name };
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 256) throw new InvalidArgumentError('a whole number from 1 to 256.');
  return value;
}
