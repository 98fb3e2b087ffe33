/** What an operator may ask of a running agent, on its unix socket: /run/orlop/admin.sock or `--run-dir`. */
import type { LogLevel } from '../core/log-level.ts';
import { renderProblem } from '../mesh/problem.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import { json } from '../telemetry/http-endpoints.ts';
import type { Reply, Routes } from '../telemetry/http-endpoints.ts';
import type { PodState } from './enrolment.ts';

export interface AdminSource {
  readonly snapshot: () => Snapshot | undefined;
  /** Digest of the configuration that is in force in every worker. */
  readonly digest: () => string;
  readonly readiness: (url: URL) => Reply;
  readonly pods: () => readonly PodState[];
  /** Live state of one pod: its table, its clusters with their endpoints. Undefined when it is not enrolled here. */
  readonly describe: (id: string) => Promise<unknown>;
  readonly setLevel: (level: LogLevel) => void;
}

const LEVELS: readonly string[] = ['debug', 'info', 'warn', 'error', 'silent'] satisfies LogLevel[];

export function adminRoutes(source: AdminSource): Routes {
  return {
    '/healthz': (url) => source.readiness(url),
    '/config/digest': () => ({ body: `${source.digest()}\n` }),
    '/config/problems': () => ({ body: (source.snapshot()?.problems ?? []).map((problem) => `${renderProblem(problem)}\n`).join('') }),
    '/config/snapshot': () => json(source.snapshot()),
    '/config/dump': async (url) => dump(source, url.searchParams.get('pod')),
    '/workloads': () => json(source.pods()),
    '/logging': (url, method) => setLevel(source, url.searchParams.get('level'), method),
  };
}

async function dump(source: AdminSource, pod: string | null): Promise<Reply> {
  const known = source.pods().filter(({ state }) => state === 'enrolled').map(({ id }) => id);
  if (pod === null) return json({ version: source.snapshot()?.version, pods: source.pods() });
  const found = known.find((id) => id === pod) ?? known.find((id) => id.endsWith(`/${pod}`));
  if (found === undefined) return { status: 404, body: `No enrolled pod "${pod}" on this node. There ${known.length === 1 ? 'is' : 'are'}: ${known.join(', ') || 'none'}\n` };
  return json(await source.describe(found));
}

function setLevel(source: AdminSource, level: string | null, method: string): Reply {
  if (method !== 'POST' || level === null || !LEVELS.includes(level)) return { status: 400, body: `POST /logging?level=${LEVELS.join('|')}\n` };
  source.setLevel(level as LogLevel);
  return { body: `log level is ${level}\n` };
}
