/** Commands of the system that the lab uses, run to their end. */
import { spawn } from 'node:child_process';

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/** Run a command to its end with `input` on standard input. Rejects only when it cannot be started. */
export async function runCommand(command: string, args: readonly string[], input = ''): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: 'pipe' });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      stdout += chunk;
    });
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      stderr += chunk;
    });
    // A command that ends without reading its input is not a fault by itself: its exit code tells.
    child.stdin.on('error', () => undefined).end(input);
    child.on('error', (error) => {
      reject(new Error(`${command} cannot be run: ${error.message}`, { cause: error }));
    });
    child.on('close', (code, signal) => {
      resolve({ code: code ?? (signal === null ? 1 : 128), stdout, stderr });
    });
  });
}

/** Run a command that must succeed; returns its standard output. */
export async function mustRun(command: string, args: readonly string[], input = ''): Promise<string> {
  const { code, stdout, stderr } = await runCommand(command, args, input);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} failed with code ${code}: ${stderr.trim()}${input === '' ? '' : `\n${input}`}`);
  return stdout;
}

/** Several commands of ip(8) in one process, inside a network namespace when one is named. */
export async function ip(commands: readonly string[], netns?: string): Promise<void> {
  await mustRun('ip', [...(netns === undefined ? [] : ['-n', netns]), '-batch', '-'], `${commands.join('\n')}\n`);
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
