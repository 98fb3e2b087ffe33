/** `orlop config check`: what the agent would say about a directory of YAML, before it is given one. */
import { statSync } from 'node:fs';
import { styleText } from 'node:util';
import { Command, Option } from 'commander';
import { readConfigDir } from '../kube/read-config.ts';
import { buildSnapshot } from '../mesh/build.ts';
import { renderProblem } from '../mesh/problem.ts';
import type { Problem, Severity } from '../mesh/problem.ts';
import type { Snapshot } from '../mesh/snapshot.ts';

/** sysexits.h: the command line is wrong. */
const EX_USAGE = 64;

const COLOUR: Readonly<Record<Severity, 'red' | 'yellow' | 'gray'>> = { error: 'red', warning: 'yellow', info: 'gray' };

interface Flags {
  output: 'text' | 'json';
}

export function checkCommand(): Command {
  return new Command('check')
    .description('check a directory of Kubernetes and Istio YAML; exit 1 when something in it is wrong')
    .argument('<dir>', 'directory as given to orlop agent --config')
    .addOption(new Option('-o, --output <format>', 'how problems are written').choices(['text', 'json']).default('text'))
    .action(check);
}

function check(directory: string, { output }: Flags): void {
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true) {
    process.stderr.write(`orlop config check: ${directory} is not a directory; give one with Kubernetes and Istio YAML files\n`);
    process.exitCode = EX_USAGE;
    return;
  }
  const snapshot = buildSnapshot(readConfigDir(directory));
  const summary = summarize(snapshot);
  if (output === 'json') process.stdout.write(`${JSON.stringify({ ...summary, problems: snapshot.problems }, undefined, 2)}\n`);
  else process.stdout.write(`${[...snapshot.problems.map(line), sentence(summary)].join('\n')}\n`);
  if (summary.errors > 0) process.exitCode = 1;
}

interface Summary {
  /** Objects that can take effect. */
  readonly objects: number;
  /** HTTP, TLS and TCP routes of VirtualServices. */
  readonly routes: number;
  readonly errors: number;
  readonly warnings: number;
}

function summarize({ objects, virtualServices, problems }: Snapshot): Summary {
  const count = (wanted: Severity): number => problems.filter(({ severity }) => severity === wanted).length;
  return {
    objects: Object.keys(objects).length,
    routes: virtualServices.reduce((sum, { spec }) => sum + (spec.http?.length ?? 0) + (spec.tls?.length ?? 0) + (spec.tcp?.length ?? 0), 0),
    errors: count('error'),
    warnings: count('warning'),
  };
}

function sentence({ objects, routes, errors, warnings }: Summary): string {
  return [number(objects, 'object'), number(routes, 'route'), number(errors, 'error'), number(warnings, 'warning')].join(', ');
}

function number(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** Coloured on a terminal only (and not there either under NO_COLOR). */
function line(problem: Problem): string {
  return styleText(COLOUR[problem.severity], renderProblem(problem), { stream: process.stdout });
}
