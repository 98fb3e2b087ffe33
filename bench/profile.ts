/**
 * Where the time of a V8 CPU profile went: functions by the time spent in themselves.
 *
 *     profile.ts FILE.cpuprofile [LINES]
 */
import { existsSync, readFileSync } from 'node:fs';

import { renderTable } from './report.ts';

interface ProfileNode {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
}

interface Profile {
  readonly nodes: readonly ProfileNode[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const [file, lines] = process.argv.slice(2);
if (file === undefined || !existsSync(file)) {
  process.stderr.write('usage: bench/profile.ts FILE.cpuprofile [LINES]\n');
  process.exit(2);
}

const profile = JSON.parse(readFileSync(file, 'utf8')) as Profile;
const names = new Map(profile.nodes.map((node) => [node.id, nameOf(node)]));
const selfUs = new Map<string, number>();
for (const [index, id] of profile.samples.entries()) {
  const name = names.get(id)!;
  if (name !== '(idle)') selfUs.set(name, (selfUs.get(name) ?? 0) + profile.timeDeltas[index]!);
}
const totalUs = [...selfUs.values()].reduce((sum, us) => sum + us, 0);
const rows = [...selfUs].sort(([, a], [, b]) => b - a).slice(0, Number(lines ?? 25));
process.stdout.write(renderTable(['function', 'ms', '%'], rows.map(([name, us]) => [name, (us / 1000).toFixed(0), ((us / totalUs) * 100).toFixed(1)])));

function nameOf({ callFrame }: ProfileNode): string {
  const place = callFrame.url === '' ? '' : ` ${callFrame.url.split('/').slice(-2).join('/')}:${String(callFrame.lineNumber + 1)}`;
  return (callFrame.functionName === '' ? '(anonymous)' : callFrame.functionName) + place;
}
