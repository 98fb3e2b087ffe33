/** Program of the supervisor: `supervise.ts LAB`, started detached by `lab up` with the lab's state on disk. */
import { readFileSync } from 'node:fs';
import { enterCgroup, cgroupRoot, makeCgroup } from './cgroup.ts';
import { cleanLab, readState } from './clean.ts';
import { ControlServer } from './control-server.ts';
import { LabPaths } from './names.ts';
import type { Progress } from './status.ts';
import { Supervisor } from './supervisor.ts';

/** A tied lab whose owner died before it could follow has nobody to end it. */
const FIRST_FOLLOWER_MS = 30_000;

async function main(name: string): Promise<void> {
  const state = readState(name);
  if (state === undefined) throw new Error(`there is no state of a lab "${name}"`);
  const home = cgroupRoot() + ownCgroup();
  enterCgroup(makeCgroup(name, 'supervisor'));

  const supervisor = new Supervisor(state);
  const ending = Promise.withResolvers<undefined>();
  const end = (): void => {
    ending.resolve(undefined);
  };
  const control = await ControlServer.start({ path: new LabPaths(name).control, supervisor, tied: state.tied, onDown: end });
  const report = (progress: Progress): void => {
    control.report(progress);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, end);
  if (state.tied) setTimeout(() => {
    if (!control.followed) end();
  }, FIRST_FOLLOWER_MS).unref();

  void bringUp(supervisor, report);
  await ending.promise;
  await supervisor.stop();
  // Out of the lab's groups, or removing them would end this process before its work is done.
  enterCgroup(home);
  control.close();
  await cleanLab(name);
}

async function bringUp(supervisor: Supervisor, report: (progress: Progress) => void): Promise<void> {
  try {
    await supervisor.start(report);
    report({ event: 'up' });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`${error instanceof Error ? error.stack ?? message : message}\n`);
    report({ event: 'failed', message });
  }
}

/** Path of this process's v2 group below the hierarchy's root. */
function ownCgroup(): string {
  return /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? '/';
}

await main(process.argv[2] ?? '');
// Nothing that is still pending may hold the process: the lab is gone.
process.exit(0);
