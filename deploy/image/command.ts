/** Commands of the system that building the image takes. */
import { spawnSync } from 'node:child_process';

const OUTPUT_BYTES_MAX = 1 << 24;

/** Run a command that must succeed; returns what it printed. */
export function must(command: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: OUTPUT_BYTES_MAX });
  if (error !== undefined || status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr.trim()}`);
  return stdout;
}
