/** What /proc says of a process and its descendants: CPU spent and memory resident (proc(5)). */
import { readFileSync, readdirSync } from 'node:fs';

/** Clock ticks per second of /proc/PID/stat: USER_HZ, which is 100 on every architecture that Linux runs Node on. */
const TICKS_PER_SECOND = 100;

export interface ProcessStat {
  readonly pid: number;
  readonly parentPid: number;
  /** User and system time of all its threads and of the children it has waited for. */
  readonly cpuMs: number;
}

export interface Usage {
  readonly cpuMs: number;
  readonly rssBytes: number;
}

/** Reads one line of /proc/PID/stat. The name in brackets may itself hold spaces and brackets, so fields count from the last one. */
export function parseStat(text: string): ProcessStat {
  const nameEnd = text.lastIndexOf(')');
  if (nameEnd < 0) throw new Error(`not a line of /proc/PID/stat: ${text.slice(0, 80)}`);
  const fields = text.slice(nameEnd + 2).split(' ');
  // Field 3 of proc(5) is fields[0]: ppid is 4, utime 14, stime 15, cutime 16, cstime 17.
  const ticks = Number(fields[11]) + Number(fields[12]) + Number(fields[13]) + Number(fields[14]);
  return { pid: Number.parseInt(text, 10), parentPid: Number(fields[1]), cpuMs: (ticks * 1000) / TICKS_PER_SECOND };
}

/** Resident bytes from /proc/PID/smaps_rollup, which is exact where the counters of stat and status lag behind. */
export function parseRss(smapsRollup: string): number {
  const line = /^Rss:\s+(\d+) kB$/m.exec(smapsRollup);
  if (line === null) throw new Error('no Rss line in smaps_rollup');
  return Number(line[1]) * 1024;
}

/** The process `root` and everything below it. */
export function descendants(stats: readonly ProcessStat[], root: number): ProcessStat[] {
  const tree = stats.filter((stat) => stat.pid === root);
  for (const parent of tree) tree.push(...stats.filter((stat) => stat.parentPid === parent.pid));
  return tree;
}

/** CPU and memory of the processes `pids` with their descendants, now, in sum. Throws when one is gone. */
export function usageOf(pids: readonly number[]): Usage {
  const stats = readStats();
  const tree = pids.flatMap((pid) => {
    const members = descendants(stats, pid);
    if (members.length === 0) throw new Error(`process ${String(pid)} has ended`);
    return members;
  });
  let cpuMs = 0;
  let rssBytes = 0;
  for (const member of tree) {
    cpuMs += member.cpuMs;
    const rollup = readIfThere(`/proc/${String(member.pid)}/smaps_rollup`);
    if (rollup !== '') rssBytes += parseRss(rollup);
  }
  return { cpuMs, rssBytes };
}

function readStats(): ProcessStat[] {
  const stats: ProcessStat[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const text = readIfThere(`/proc/${name}/stat`);
    if (text !== '') stats.push(parseStat(text));
  }
  return stats;
}

/** A process may end between the listing and the reading: that is no error. */
function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
