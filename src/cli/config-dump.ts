/** `orlop config dump`: what a running agent made of its configuration, asked over its admin socket. */
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Command } from 'commander';

const EX_UNAVAILABLE = 69;

interface Answer {
  readonly status: number;
  readonly body: string;
}

export function dumpCommand(): Command {
  return new Command('dump')
    .description('the table and the live clusters of an enrolled pod; without a pod, the pods of the node')
    .argument('[pod]', 'namespace/name, or a name')
    .option('--run-dir <dir>', 'of the agent', '/run/orlop')
    .action(async (pod: string | undefined, { runDir }: { runDir: string }) => {
      const socketPath = join(runDir, 'admin.sock');
      const path = pod === undefined ? '/config/dump' : `/config/dump?pod=${encodeURIComponent(pod)}`;
      try {
        const { status, body } = await get(socketPath, path);
        (status === 200 ? process.stdout : process.stderr).write(body);
        process.exitCode = status === 200 ? 0 : 1;
      } catch (error) {
        process.stderr.write(`orlop config dump: no agent answers at ${socketPath} (${(error as NodeJS.ErrnoException).code ?? String(error)}); name its --run-dir\n`);
        process.exitCode = EX_UNAVAILABLE;
      }
    });
}

async function get(socketPath: string, path: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path }, (response) => {
      text(response).then((body) => resolve({ status: response.statusCode ?? 0, body }), reject);
    }).on('error', reject).end();
  });
}
