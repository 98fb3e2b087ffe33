/** The command `orlop`, run against a test cluster as somebody would who has kubectl in his PATH. */
import { spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { Cluster } from './cluster/cluster.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');

export interface Said {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export async function orlop(cluster: Cluster, argv: readonly string[], kubeconfig = cluster.kubeconfig): Promise<Said> {
  return said(start(cluster, argv, kubeconfig));
}

/** Killed as soon as it has said `line`; `code` is null. */
export async function orlopKilledAt(cluster: Cluster, argv: readonly string[], line: string): Promise<Said> {
  const child = start(cluster, argv, cluster.kubeconfig);
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
    if (out.includes(line)) child.kill('SIGKILL');
  });
  return said(child);
}

function start(cluster: Cluster, [command = '', ...rest]: readonly string[], kubeconfig: string): ChildProcessByStdio<null, Readable, Readable> {
  const env = { ...process.env, PATH: `${cluster.programs}:${process.env['PATH'] ?? ''}` };
  return spawn(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, command, '--kubeconfig', kubeconfig, ...rest], { env, stdio: ['ignore', 'pipe', 'pipe'] });
}

async function said(child: ChildProcessByStdio<null, Readable, Readable>): Promise<Said> {
  const ended = new Promise<number | null>((resolve) => {
    child.once('close', resolve);
  });
  const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { code, out, err };
}
