/** Commands that can be asked of a directory of YAML as well as of a running agent. */
import { statSync } from 'node:fs';
import { readConfigDir } from '../kube/read-config.ts';
import { buildSnapshot } from '../mesh/build.ts';
import type { Snapshot } from '../mesh/snapshot.ts';

/** sysexits.h: the command line is wrong. */
const EX_USAGE = 64;

/** The snapshot of a directory, and a word on its errors. Undefined when there is none, which has been told then. */
export function snapshotOf(command: string, directory: string): Snapshot | undefined {
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true) {
    process.stderr.write(`orlop ${command}: ${directory} is not a directory; give one with Kubernetes and Istio YAML files\n`);
    process.exitCode = EX_USAGE;
    return undefined;
  }
  const snapshot = buildSnapshot(readConfigDir(directory));
  const errors = snapshot.problems.filter(({ severity }) => severity === 'error').length;
  if (errors > 0) process.stderr.write(`orlop ${command}: ${directory} has ${errors} error${errors === 1 ? '' : 's'}, and objects with errors count as absent; see orlop config check ${directory}\n`);
  return snapshot;
}

/** The question cannot be answered as it was asked. */
export function refuseQuestion(command: string, sentence: string): void {
  process.stderr.write(`orlop ${command}: ${sentence}\n`);
  process.exitCode = EX_USAGE;
}
