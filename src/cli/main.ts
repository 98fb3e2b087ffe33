/** The command `orlop`. Each sub-command is loaded when it is asked for, so that none pays for the others. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';

const EX_USAGE = 64;

/** Name, one line, and where it lives. */
const COMMANDS: readonly (readonly [name: string, summary: string, load: () => Promise<Command>])[] = [
  ['agent', 'capture and carry the traffic of this node\'s pods', async () => (await import('./agent.ts')).agentCommand()],
  ['control', 'the CA of a mesh of several nodes', async () => (await import('./control.ts')).controlCommand()],
  ['install', 'put Orlop into a cluster', async () => (await import('./install.ts')).installCommand()],
  ['upgrade', 'bring an installation to this version, or back', async () => (await import('./install.ts')).upgradeCommand()],
  ['uninstall', 'take Orlop out of a cluster', async () => (await import('./uninstall.ts')).uninstallCommand()],
  ['leftovers', 'what of Orlop is on a node whose agent is gone, and its removal', async () => (await import('./leftovers.ts')).leftoversCommand()],
  ['ready', 'whether this very agent serves the node', async () => (await import('./ready.ts')).readyCommand()],
  ['config', 'check a directory of YAML, or look at what a running agent made of it', async () => (await import('./config.ts')).configCommand()],
  ['certs', 'the certificates of the node\'s pods', async () => (await import('./certs.ts')).certsCommand()],
  ['authz', 'what a pod demands of its callers, in order of evaluation', async () => (await import('./authz.ts')).authzCommand()],
  ['explain', 'what would become of a request, and which rule says so', async () => (await import('./explain.ts')).explainCommand()],
  ['redirect', 'print, check or clean the capture of a pod by hand', async () => (await import('./redirect.ts')).redirectCommand()],
  ['lab', 'a mesh of several nodes on this machine', async () => (await import('./lab.ts')).labCommand()],
  ['demo', 'bring up a mesh of two nodes and show what it does', async () => (await import('./demo.ts')).demoCommand()],
];

async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('orlop').description('A service mesh for Kubernetes without sidecars.').version(version()).showHelpAfterError('(add --help for the options)');
  const wanted = argv.find((word) => !word.startsWith('-'));
  for (const [name, summary, load] of COMMANDS) program.addCommand(name === wanted ? await load() : new Command(name).description(summary));
  exitByUsage(program);
  await program.parseAsync(argv, { from: 'user' });
}

function version(): string {
  return (JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as { version: string }).version;
}

/** A wrong command line ends with 64 (sysexits.h), for every sub-command alike. */
function exitByUsage(command: Command): void {
  command.exitOverride();
  for (const child of command.commands) exitByUsage(child);
}

// A reader that has seen enough (`| head`) is no error of anybody's.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : EX_USAGE;
  } else {
    process.stderr.write(`orlop: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
