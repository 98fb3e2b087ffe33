/** `orlop control`: the CA that the agents of several nodes share, and what is said of a cluster's objects. */
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Argument, Command, InvalidArgumentError, Option } from 'commander';
import { Control } from '../control/control.ts';
import type { CaKeys, ControlOptions } from '../control/control.ts';
import type { LogLevel } from '../core/log-level.ts';
import type { ConfigPlace } from '../kube/open-config.ts';
import { ask } from './ask.ts';
import { configPlace } from './config-place.ts';
import { duration, port } from './values.ts';
import { EX_UNAVAILABLE, EX_USAGE, fail, runUntilEnded } from './long-running.ts';

const DAY_MS = 86_400_000;
const RUN_DIRECTORY = '/run/orlop';

interface Flags {
  config?: string;
  kubeconfig?: string;
  nodeTokens?: string;
  namespace: string;
  replica: string;
  agents: string[];
  audience: string;
  webhookPort: number;
  listen: { address: string; port: number };
  name: string[];
  caCert?: string;
  caKey?: string;
  caRoot?: string;
  caStoreFd?: number;
  certificateLifetime: number;
  intermediateLifetime: number;
  rootLifetime: number;
  rootsOut?: string;
  httpPort: number;
  runDir: string;
  logLevel: LogLevel;
}

export function controlCommand(): Command {
  return new Command('control')
    .description('the CA of a mesh of several nodes; in a cluster also the webhook and the status of objects')
    .addCommand(runCommand(), { isDefault: true })
    .addCommand(statusCommand())
    .addCommand(rotateCommand())
    .addHelpText('after', '\nIts options are listed by: orlop control run --help');
}

function runCommand(): Command {
  return new Command('run')
    .description('sign certificates for the agents (what `orlop control` does by itself)')
    .option('--config <dir>', 'directory of Kubernetes and Istio YAML, followed live, instead of a cluster: which pods are on which node')
    .option('--kubeconfig <file>', 'how to reach the cluster (default: as the service account of the control\'s pod)')
    .option('--node-tokens <file>', 'lines "token,node": by its token an agent is known, and gets certificates for the pods of its node (default in a cluster: by TokenReview)')
    .option('--namespace <name>', 'of the Secret, Lease and ConfigMap that replicas share in a cluster', 'orlop-system')
    .option('--replica <name>', 'of this replica', hostname())
    .option('--agents <namespace/name...>', 'service accounts whose tokens are those of nodes', ['orlop-system/orlop-agent'])
    .option('--audience <name>', 'that agents\' tokens must be for', 'istio-ca')
    .option('--listen <address:port>', 'where agents ask for certificates', listen, { address: '0.0.0.0', port: 15_012 })
    .option('--webhook-port <port>', 'where API servers ask before they store objects, at the address of --listen', port, 15_017)
    .option('--name <dns...>', 'DNS names of this server', ['orlop-control.orlop-system.svc'])
    .option('--ca-cert <file>', 'CA certificate and those above it, PEM (tls.crt of cert-manager); reloaded when it changes')
    .option('--ca-key <file>', 'its private key (tls.key)')
    .option('--ca-root <file>', 'the roots to trust (ca.crt)')
    .addOption(new Option('--ca-store-fd <n>', 'keep the CA\'s own keys in this inherited file without a name').argParser(descriptor).conflicts(['caCert', 'caKey', 'caRoot']))
    .option('--certificate-lifetime <duration>', 'of workloads', duration, DAY_MS)
    .option('--intermediate-lifetime <duration>', 'of the CA\'s own intermediate', duration, 365 * DAY_MS)
    .option('--root-lifetime <duration>', 'of the CA\'s own root', duration, 3650 * DAY_MS)
    .option('--roots-out <file>', 'write the public roots there, for agents to trust; rewritten when they change')
    .option('--http-port <port>', 'metrics and readiness', port, 15_014)
    .option('--run-dir <dir>', 'where the socket for status and rotate goes', RUN_DIRECTORY)
    .addOption(new Option('--log-level <level>', 'of its log').choices(['debug', 'info', 'warn', 'error', 'silent']).default('info'))
    .action(run);
}

function statusCommand(): Command {
  return new Command('status')
    .description('the roots and the intermediate of a running control, and what becomes of them')
    .option('--run-dir <dir>', 'of the control', RUN_DIRECTORY)
    .action(async ({ runDir }: { runDir: string }) => {
      await askControl(runDir, '/ca', 'GET');
    });
}

function rotateCommand(): Command {
  return new Command('rotate')
    .description('change the root or the intermediate of a running control now; no handshake fails meanwhile')
    .addArgument(new Argument('<what>', 'which').choices(['root', 'intermediate']))
    .option('--run-dir <dir>', 'of the control', RUN_DIRECTORY)
    .action(async (what: string, { runDir }: { runDir: string }) => {
      await askControl(runDir, `/ca/rotate?what=${what}`, 'POST');
    });
}

async function askControl(runDirectory: string, path: string, method: 'GET' | 'POST'): Promise<void> {
  const socketPath = join(runDirectory, 'control.sock');
  try {
    const { status, body } = await ask(socketPath, path, method);
    (status === 200 ? process.stdout : process.stderr).write(body);
    process.exitCode = status === 200 ? 0 : 1;
  } catch (error) {
    fail('control', EX_UNAVAILABLE, `nobody answers at ${socketPath} (${(error as NodeJS.ErrnoException).code ?? String(error)}); name the --run-dir of the control`);
  }
}

async function run(flags: Flags): Promise<void> {
  const config = configPlace(flags);
  const problem = typeof config === 'string' ? config : usageProblem(flags, config);
  if (typeof config === 'string' || problem !== undefined) {
    fail('control', EX_USAGE, problem ?? '');
    return;
  }
  await runUntilEnded('control', async () =>
    Control.start({
      config,
      nodes: nodesOf(flags, config),
      listen: flags.listen,
      names: flags.name,
      keys: keysOf(flags, config),
      lifetimes: { leafMs: flags.certificateLifetime, intermediateMs: flags.intermediateLifetime, rootMs: flags.rootLifetime },
      rootsOut: flags.rootsOut,
      httpPort: flags.httpPort,
      runDirectory: flags.runDir,
      logLevel: flags.logLevel,
    }),
  );
}

function usageProblem({ nodeTokens, caCert, caKey, caRoot }: Flags, config: ConfigPlace): string | undefined {
  if ('directory' in config && nodeTokens === undefined) return '--config needs --node-tokens: without a cluster, agents are known by a file of tokens';
  if ((caCert === undefined) !== (caKey === undefined)) return 'a CA is given by --ca-cert and --ca-key together';
  return caRoot !== undefined && caCert === undefined ? '--ca-root goes with --ca-cert and --ca-key' : undefined;
}

function nodesOf({ nodeTokens, namespace, replica, agents, audience, listen: { address }, webhookPort }: Flags, config: ConfigPlace): ControlOptions['nodes'] {
  if (nodeTokens !== undefined || 'directory' in config) return { tokens: nodeTokens ?? '' };
  return { place: config, namespace, identity: replica, agents, audience, webhook: { address, port: webhookPort } };
}

function keysOf({ nodeTokens, caCert, caKey, caRoot, caStoreFd }: Flags, config: ConfigPlace): CaKeys {
  if (caCert !== undefined && caKey !== undefined) return { files: { certificate: caCert, key: caKey, roots: caRoot } };
  if (caStoreFd !== undefined) return { fd: caStoreFd };
  return 'directory' in config || nodeTokens !== undefined ? 'memory' : 'secret';
}

function listen(text: string): Flags['listen'] {
  const [, bracketed, plain, digits] = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(text) ?? [];
  const address = bracketed ?? plain ?? '';
  if (digits === undefined || isIP(address) === 0) throw new InvalidArgumentError('an address and a port: 0.0.0.0:15012, [::]:15012.');
  return { address, port: port(digits) };
}

function descriptor(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 3 || value > 65_535) throw new InvalidArgumentError('the number of an open file descriptor, 3 or above.');
  return value;
}
