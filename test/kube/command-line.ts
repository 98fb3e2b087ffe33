/** The command `orlop`, run against a test cluster as somebody would who has kubectl in his PATH. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Cluster } from './cluster/cluster.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');

export interface Said {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export async function orlop(cluster: Cluster, argv: readonly string[], kubeconfig = cluster.kubeconfig): Promise<Said> {
  const [command = '', ...rest] = argv;
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, command, '--kubeconfig', kubeconfig, ...rest], { env: { ...process.env, PATH: `${cluster.programs}:${process.env['PATH'] ?? ''}` } });
  const ended = new Promise<number | null>((resolve) => {
    child.once('close', resolve);
  });
  const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { code, out, err };
}
