/** `make bench`: sets the stage, runs the measurements, reports, and leaves nothing behind, also when it is interrupted. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join, relative } from 'node:path';

import { removeLeftovers, runDir } from './leftovers.ts';
import { describeMachine, describeVersions, twoCores } from './machine.ts';
import { envoyBinary } from './peers/foreign.ts';
import { parsePlan, USAGE, type Plan } from './plan.ts';
import { Processes } from './processes.ts';
import { renderReport } from './report.ts';
import type { RunResult } from './results.ts';
import { Session } from './session.ts';
import { Topology } from './topology.ts';

// Debian keeps ip, nginx and haproxy where a user's PATH, and root's after `su`, does not look.
process.env['PATH'] = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;
process.exitCode = await main(process.argv.slice(2));

/** Exit codes: 0 measured, 1 the run is invalid, 2 wrong use, 130 interrupted. */
async function main(args: readonly string[]): Promise<number> {
  if (args.includes('--help')) {
    process.stdout.write(USAGE);
    return 0;
  }
  let plan: Plan;
  try {
    plan = parsePlan(args, join(import.meta.dirname, 'out'));
  } catch (error) {
    process.stderr.write(`bench: ${(error as Error).message}\n\n${USAGE}`);
    return 2;
  }
  if (process.getuid?.() !== 0) {
    process.stderr.write('bench: network namespaces need root\n');
    return 2;
  }
  const result = await measure(plan);
  if (result === undefined) return 130;
  process.stdout.write(`\n${renderReport(result)}`);
  process.stdout.write(`\nEvery round: ${relative(process.cwd(), save(result, plan.out))}\n`);
  return result.problems.length === 0 ? 0 : 1;
}

/** Undefined when the run was interrupted. */
async function measure(plan: Plan): Promise<RunResult | undefined> {
  const [loadCore, proxyCore] = twoCores();
  const versions = describeVersions(envoyBinary());
  const machine = describeMachine();
  const started = new Date();
  removeLeftovers();

  const dir = runDir();
  mkdirSync(dir);
  const processes = new Processes();
  const topology = new Topology();
  const interrupt = (): void => {
    process.stderr.write('bench: interrupted, cleaning up\n');
    void processes.close();
  };
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);

  try {
    const shared = { topology, processes, dir, loadCore, proxyCore, redirect: plan.redirect, profileDir: plan.profileDir };
    const session = new Session(plan, shared, say);
    await session.run();
    return {
      startedAt: started.toISOString(),
      machine: { ...machine, 'load average after': loadavg()[0]!.toFixed(2), 'took s': ((Date.now() - started.getTime()) / 1000).toFixed(0) },
      versions,
      options: { rounds: String(plan.rounds), redirect: plan.redirect, ...(plan.quick ? { mode: 'quick' } : {}) },
      notes: session.notes,
      cases: session.cases,
      problems: session.problems,
    };
  } catch (error) {
    if (processes.closed) return undefined;
    throw error;
  } finally {
    await processes.close();
    topology.remove();
    rmSync(dir, { recursive: true, force: true });
  }

  function say(line: string): void {
    process.stderr.write(`[${((Date.now() - started.getTime()) / 1000).toFixed(0).padStart(3)} s] ${line}\n`);
  }
}

function save(result: RunResult, out: string): string {
  mkdirSync(out, { recursive: true });
  const path = join(out, `${result.startedAt.replaceAll(':', '-').slice(0, 19)}.json`);
  writeFileSync(path, `${JSON.stringify(result, null, 2)}\n`);
  return path;
}
