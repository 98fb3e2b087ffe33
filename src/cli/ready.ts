/** `orlop ready`: the startup probe of an agent's pod. Two agents share a node's ports while one takes over, so asking a port would ask either. */
import { Command, Option } from 'commander';
import { askAgent } from './ask-agent.ts';

export function readyCommand(): Command {
  return new Command('ready')
    .description('exit with 0 when this very agent serves the node, and not the one before or after it')
    .option('--run-dir <dir>', 'of the agent', '/run/orlop')
    .addOption(new Option('--instance <name>', 'of the agent').env('ORLOP_INSTANCE').makeOptionMandatory())
    .action(async ({ runDir, instance }: { runDir: string; instance: string }) => {
      const answer = await askAgent({ command: 'ready', runDir, path: `/healthz?instance=${encodeURIComponent(instance)}` });
      if (answer !== undefined) process.stdout.write(answer);
    });
}
