/** `orlop config`: what a configuration means, without a mesh and within one. */
import { Command } from 'commander';
import { checkCommand } from './config-check.ts';
import { dumpCommand } from './config-dump.ts';

export function configCommand(): Command {
  return new Command('config')
    .description('check a directory of YAML, or look at what a running agent made of it')
    .addCommand(checkCommand())
    .addCommand(dumpCommand());
}
