import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

import { descendants, parseRss, parseStat, usageOf } from '../../bench/proc.ts';

/** A line of proc(5)'s shape: 52 fields, of which the tests choose the ones read. */
function statLine(pid: number, name: string, parentPid: number, times: readonly [number, number, number, number]): string {
  const head = `${String(pid)} (${name}) S ${String(parentPid)} 1 1 0 -1 4194560 500 900 0 0`;
  return `${head} ${times.join(' ')} 20 0 1 0 100 22000000 800 ${'0 '.repeat(28)}\n`;
}

test('CPU is the time of the process and of the children it waited for', () => {
  expect(parseStat(statLine(42, 'nginx', 7, [100, 50, 3, 2]))).toEqual({ pid: 42, parentPid: 7, cpuMs: 1550 });
});

test('a process name with spaces and brackets does not shift the fields', () => {
  expect(parseStat(statLine(42, 'a) S 9 (b', 7, [1, 0, 0, 0]))).toEqual({ pid: 42, parentPid: 7, cpuMs: 10 });
});

test('the line of this very process is read', () => {
  const own = parseStat(readFileSync('/proc/self/stat', 'utf8'));
  expect(own.pid).toBe(process.pid);
  expect(own.parentPid).toBe(process.ppid);
  expect(own.cpuMs).toBeGreaterThan(0);
});

test('text that is no stat line is refused', () => {
  expect(() => parseStat('nonsense')).toThrow('/proc/PID/stat');
});

test('resident memory comes in bytes', () => {
  expect(parseRss('00400000-7fff [rollup]\nRss:                2048 kB\nPss:                1024 kB\n')).toBe(2 * 1024 * 1024);
  expect(() => parseRss('Pss: 1 kB\n')).toThrow('Rss');
});

test('a process tree holds children of children and nobody else\'s', () => {
  const stats = [[1, 0], [10, 1], [11, 10], [12, 11], [20, 1]].map(([pid, parentPid]) => ({ pid: pid!, parentPid: parentPid!, cpuMs: 0 }));
  expect(descendants(stats, 10).map((stat) => stat.pid)).toEqual([10, 11, 12]);
  expect(descendants(stats, 99)).toEqual([]);
});

test('usage counts the children of a running process', async () => {
  const alone = usageOf([process.pid]).rssBytes;
  const child = spawn('cat', { stdio: ['pipe', 'pipe', 'ignore'] });
  child.stdin.write('up\n');
  await once(child.stdout, 'data');
  expect(usageOf([child.pid!]).rssBytes).toBeGreaterThan(0);
  expect(usageOf([process.pid]).cpuMs).toBeGreaterThan(0);
  expect(alone).toBeGreaterThan(0);
  child.stdin.end();
  await once(child, 'exit');
  expect(() => usageOf([child.pid!])).toThrow('has ended');
});
