/** `orlop agent`: one node's control and data plane. */
import { existsSync, statSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import { Agent } from '../agent/agent.ts';
import type { LogLevel } from '../core/log-level.ts';
import type { RedirectMode } from '../redirect/detect.ts';

/** sysexits.h: the command line is wrong; something the agent needs is not there. */
const EX_USAGE = 64;
const EX_UNAVAILABLE = 69;

interface Flags {
  config: string;
  node: string;
  runDir: string;
  redirect: RedirectMode;
  concurrency?: number;
  accessLog?: 'off' | 'text' | 'json';
  logLevel: LogLevel;
  metricsPort: number;
  readyPort: number;
  keepRedirect?: boolean;
}

export function agentCommand(): Command {
  return new Command('agent')
    .description('capture and carry the traffic of this node\'s pods')
    .requiredOption('--config <dir>', 'directory of Kubernetes and Istio YAML, followed live')
    .requiredOption('--node <name>', 'this node, as in the pods\' spec.nodeName')
    .option('--run-dir <dir>', 'where the admin socket goes', '/run/orlop')
    .addOption(new Option('--redirect <how>', 'how traffic is captured').choices(['auto', 'iptables', 'ebpf']).default('auto'))
    .option('--concurrency <n>', 'worker threads (default: one per four cores)', count)
    .addOption(new Option('--access-log <format>', 'overrides MeshConfig.accessLogFile').choices(['off', 'text', 'json']))
    .addOption(new Option('--log-level <level>', 'of the agent\'s own log').choices(['debug', 'info', 'warn', 'error', 'silent']).default('info'))
    .option('--metrics-port <port>', 'Prometheus metrics', port, 15_020)
    .option('--ready-port <port>', 'readiness', port, 15_021)
    .option('--keep-redirect', 'leave capture in force when the agent ends, for the next one')
    .action(async (flags: Flags) => {
      await run(flags);
    });
}

async function run(flags: Flags): Promise<void> {
  if (!existsSync(flags.config) || !statSync(flags.config).isDirectory()) {
    fail(EX_USAGE, `--config ${flags.config} is not a directory; give one with Kubernetes and Istio YAML files`);
    return;
  }
  let agent: Agent;
  try {
    agent = await Agent.start({
      config: flags.config,
      node: flags.node,
      runDirectory: flags.runDir,
      redirect: flags.redirect,
      concurrency: flags.concurrency,
      accessLog: flags.accessLog,
      logLevel: flags.logLevel,
      metricsPort: flags.metricsPort,
      readyPort: flags.readyPort,
      keepRedirect: flags.keepRedirect === true,
    });
  } catch (error) {
    fail(EX_UNAVAILABLE, error instanceof Error ? error.message : String(error));
    return;
  }
  let asked = 0;
  const end = (): void => {
    asked += 1;
    // A second signal means now.
    if (asked > 1) process.exit(1);
    void agent.stop().then(() => process.exit(0));
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
}

function fail(code: number, message: string): void {
  process.stderr.write(`orlop agent: ${message}\n`);
  process.exit(code);
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 256) throw new InvalidArgumentError('a whole number from 1 to 256.');
  return value;
}

function port(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 65_535) throw new InvalidArgumentError('a port from 1 to 65535.');
  return value;
}
