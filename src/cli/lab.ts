/** `orlop lab`: a multi-node cluster in network namespaces of this machine. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { Command } from 'commander';
import { Lab, NotReadyError, UP_TIMEOUT_MS } from '../lab/lab.ts';
import { LabError } from '../lab/lab-error.ts';
import { AGENT_ACTIONS } from '../lab/status.ts';
import type { AgentAction, AgentStatus, Applied, LabStatus, Progress } from '../lab/status.ts';
import { columns } from './columns.ts';

interface UpFlags {
  name?: string;
  namespace?: string;
  agent: boolean;
  wait: boolean;
  timeout: string;
}

interface ObjectFlags {
  name?: string;
  namespace?: string;
}

/** The command with its subcommands, for the program to add. */
export function labCommand(): Command {
  const lab = new Command('lab').description('a cluster of several nodes on this machine, in network namespaces');
  lab.command('up').description('bring a lab up from YAML files')
    .argument('<file...>', 'Kubernetes YAML with one Lab document')
    .option('--name <name>', 'instead of the name in the Lab document')
    .option('-n, --namespace <namespace>', 'namespace of objects that name none')
    .option('--no-agent', 'run no agents: Services are reached as with kube-proxy')
    .option('--no-wait', 'do not wait until everything is ready')
    .option('--timeout <seconds>', 'how long to wait', String(UP_TIMEOUT_MS / 1000))
    .action(guarded(up));
  lab.command('ps').description('show labs, or the pods of one').option('--name <name>', 'which lab').option('--json', 'as JSON').action(guarded(ps));
  lab.command('exec').description('run a program inside a pod').usage('[options] POD -- CMD...')
    .argument('<pod>', 'pod, namespace/pod or Deployment').argument('<cmd...>', 'the program and its arguments, after --')
    .option('-c, --container <name>', 'whose environment and user it gets').option('--name <name>', 'which lab')
    .action(guarded(exec));
  lab.command('logs').description('show what a pod has written').argument('<pod>', 'pod, or agent/NODE, or supervisor')
    .option('-f, --follow', 'go on as it grows').option('--name <name>', 'which lab').action(guarded(logs));
  for (const verb of ['apply', 'delete'] as const) {
    lab.command(verb).description(verb === 'apply' ? 'add or change objects of a lab that runs' : 'remove objects of a lab that runs')
      .argument('<file...>', 'YAML files; - is the standard input').option('-n, --namespace <namespace>', 'namespace of objects that name none')
      .option('--name <name>', 'which lab').action(guarded(async (files: string[], flags: ObjectFlags) => change(verb, files, flags)));
  }
  lab.command('agent').description('disturb the agent of a node').argument('<action>', AGENT_ACTIONS.join(', ')).argument('<node>', 'name of the node')
    .option('--name <name>', 'which lab').action(guarded(agent));
  lab.command('down').description('stop a lab and remove every trace of it').argument('[name]', 'which lab')
    .option('--name <name>', 'which lab').option('--all', 'all labs of this machine').action(guarded(down));
  return lab;
}

/** A user's mistake is one line and exit code 1. */
function guarded<A extends unknown[]>(action: (...args: A) => Promise<void>): (...args: A) => Promise<void> {
  return async (...args) => {
    try {
      await action(...args);
    } catch (error) {
      if (!(error instanceof LabError)) throw error;
      process.stderr.write(`orlop lab: ${error.message}\n`);
      if (error instanceof NotReadyError) process.stderr.write('The lab stays up, to be looked at: orlop lab ps, logs, exec; orlop lab down removes it.\n');
      process.exitCode = 1;
    }
  };
}

async function up(files: string[], flags: UpFlags): Promise<void> {
  const seconds = Number(flags.timeout);
  if (!(seconds > 0)) throw new LabError(`--timeout ${flags.timeout}: give a number of seconds`);
  const started = Date.now();
  const lab = await Lab.up(files, {
    ...(flags.name !== undefined && { name: flags.name }),
    ...(flags.namespace !== undefined && { namespace: flags.namespace }),
    noAgent: !flags.agent,
    noWait: !flags.wait,
    keep: true,
    timeoutMs: seconds * 1000,
    onProgress: showProgress,
  });
  const status = await lab.status();
  print(`lab ${lab.name} is up after ${((Date.now() - started) / 1000).toFixed(1)} s\n`);
  showLab(status);
  suggest(status);
}

function showProgress(progress: Progress): void {
  if (progress.event === 'step') print(`==> ${progress.text}`);
  if (progress.event === 'waiting') {
    const names = [...progress.pods, ...progress.agents.map((node) => `agent/${node}`)];
    print(`    waiting for ${names.slice(0, 4).join(', ')}${names.length > 4 ? ` and ${names.length - 4} more` : ''}`);
  }
}

function suggest(status: LabStatus): void {
  const client = status.pods.find((pod) => pod.name.startsWith('client') || pod.deployment === 'client') ?? status.pods[0];
  const service = status.services.find(({ clusterIPs, ports }) => clusterIPs.length > 0 && ports.length > 0);
  if (client === undefined) return;
  print('\nTry:');
  if (service !== undefined) print(`  orlop lab exec ${client.name} -- curl -s http://${service.name}.${service.namespace}:${service.ports[0] ?? 80}/`);
  print(`  orlop lab logs -f ${client.name}`);
  print(`  orlop lab down ${status.name}`);
}

async function ps(flags: { name?: string; json?: boolean }): Promise<void> {
  const labs = await Lab.list();
  const wanted = flags.name === undefined ? labs : labs.filter(({ name }) => name === flags.name);
  if (flags.name !== undefined && wanted.length === 0) throw new LabError(`there is no lab "${flags.name}"`);
  if (flags.json === true) {
    const running = wanted.filter((lab) => lab.running);
    print(JSON.stringify(await Promise.all(running.map(async ({ name }) => (await Lab.open(name)).status())), null, 2));
    return;
  }
  if (wanted.length === 0) print('no lab is up; bring one up with orlop lab up FILE');
  for (const { name, running } of wanted) {
    print(`lab ${name}${running ? '' : ': left behind by a crash; orlop lab down removes it'}`);
    if (running) showLab(await (await Lab.open(name)).status());
  }
}

function showLab({ nodes, pods, services, configDirectory }: LabStatus): void {
  table(['NODE', 'ADDRESS', 'AGENT'], nodes.map((node) => [node.name, node.address.ipv4, agentState(node.agent)]));
  table(['NAMESPACE', 'POD', 'READY', 'RESTARTS', 'NODE', 'IPV4', 'IPV6'], pods.map((pod) => [
    pod.namespace, pod.name, `${pod.containers.filter(({ ready }) => ready).length}/${pod.containers.length}`,
    String(pod.containers.reduce((sum, { restarts }) => sum + restarts, 0)), pod.node ?? '(external)', pod.address.ipv4, pod.address.ipv6,
  ]));
  table(['NAMESPACE', 'SERVICE', 'ADDRESSES', 'PORTS'], services.map((service) => [
    service.namespace, service.name, service.clusterIPs.join(', ') || '(headless)', service.ports.join(', '),
  ]));
  print(`objects that agents read: ${configDirectory}`);
}

function agentState({ enabled, ready, running }: AgentStatus): string {
  if (!enabled) return 'none';
  if (ready) return 'ready';
  return running ? 'starting' : 'down';
}

async function exec(pod: string, cmd: string[], flags: { container?: string; name?: string }): Promise<void> {
  const lab = await Lab.open(flags.name);
  const { TERM } = process.env;
  const [command = '', ...args] = await lab.execArgv(pod, cmd, {
    ...(flags.container !== undefined && { container: flags.container }), ...(TERM !== undefined && { env: { TERM } }),
  });
  await become(command, args);
}

async function logs(pod: string, flags: { follow?: boolean; name?: string }): Promise<void> {
  const lab = await Lab.open(flags.name);
  const paths = pod === 'supervisor' ? [lab.paths.supervisorLog] : await lab.logPaths(pod);
  await become('tail', ['-q', '-n', '+1', ...(flags.follow === true ? ['-F'] : []), ...paths]);
}

/** Run a program in this one's place: its input and output, and its exit code in the end. */
async function become(command: string, args: readonly string[]): Promise<void> {
  const child = spawn(command, args, { stdio: 'inherit' });
  // The terminal sends these to both; the program decides what they mean.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
  const [code, signal] = await once(child, 'exit') as [number | null, NodeJS.Signals | null];
  process.exitCode = code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
}

async function change(verb: 'apply' | 'delete', files: readonly string[], flags: ObjectFlags): Promise<void> {
  const lab = await Lab.open(flags.name);
  for (const file of files) {
    const options = { file: file === '-' ? 'standard input' : file, ...(flags.namespace !== undefined && { namespace: flags.namespace }) };
    const results: Applied[] = await lab[verb](readInput(file), options);
    for (const { object, result } of results) print(`${object} ${result}`);
  }
}

function readInput(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw new LabError(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)}); give the path of a YAML file`);
  }
}

async function agent(action: string, node: string, flags: { name?: string }): Promise<void> {
  if (!AGENT_ACTIONS.includes(action as AgentAction)) throw new LabError(`"${action}" is not an action; use ${AGENT_ACTIONS.join(', ')}`);
  await (await Lab.open(flags.name)).agent(node).act(action as AgentAction);
  print(`agent/${node}: ${action}`);
}

async function down(argument: string | undefined, flags: { name?: string; all?: boolean }): Promise<void> {
  const names = flags.all === true ? (await Lab.list()).map(({ name }) => name) : [argument ?? flags.name];
  for (const name of names) print(`lab ${await Lab.downByName(name)} is down`);
}

function table(head: readonly string[], rows: readonly string[][]): void {
  if (rows.length > 0) print(columns(head, rows));
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
