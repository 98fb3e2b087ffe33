/** `orlop config dump`: what a running agent made of its configuration, asked over its admin socket. */
import { Command } from 'commander';
import { askAgent } from './ask-agent.ts';

export function dumpCommand(): Command {
  return new Command('dump')
    .description('the table and the live clusters of an enrolled pod; without a pod, the pods of the node')
    .argument('[pod]', 'namespace/name, or a name')
    .option('--run-dir <dir>', 'of the agent', '/run/orlop')
    .action(async (pod: string | undefined, { runDir }: { runDir: string }) => {
      const path = pod === undefined ? '/config/dump' : `/config/dump?pod=${encodeURIComponent(pod)}`;
      process.stdout.write((await askAgent({ command: 'config dump', runDir, path })) ?? '');
    });
}
