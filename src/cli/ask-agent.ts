/** A question to a running agent, over the admin socket in its run directory. */
import { join } from 'node:path';
import { ask } from './ask.ts';

const EX_UNAVAILABLE = 69;

export interface Question {
  /** The command that asks, for messages: `config dump`. */
  readonly command: string;
  readonly runDir: string;
  /** `/config/dump?pod=…` */
  readonly path: string;
}

/** The answer. Undefined when there is none, which has been told then, and the exit code set. */
export async function askAgent({ command, runDir, path }: Question): Promise<string | undefined> {
  const socketPath = join(runDir, 'admin.sock');
  try {
    const { status, body } = await ask(socketPath, path);
    if (status === 200) return body;
    process.stderr.write(body);
    process.exitCode = 1;
  } catch (error) {
    process.stderr.write(`orlop ${command}: no agent answers at ${socketPath} (${(error as NodeJS.ErrnoException).code ?? String(error)}); name its --run-dir\n`);
    process.exitCode = EX_UNAVAILABLE;
  }
  return undefined;
}
