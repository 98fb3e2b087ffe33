/**
 * The objects that were last in force, in a file, so that an agent can start while the API server is away. Only kinds that are followed are
 * in it, and of them only what `kept.ts` keeps: no Secret, and nothing that a container runs with.
 */
import { createWriteStream, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip, gunzipSync } from 'node:zlib';
import type { SourceObject } from '../mesh/build.ts';
import type { GoodObject } from '../mesh/snapshot.ts';

export interface SavedObjects {
  readonly savedMs: number;
  readonly objects: readonly SourceObject[];
}

interface Header {
  readonly format: string;
  readonly savedMs: number;
}

const FORMAT = 'orlop objects 1';
/** Objects that become text before others get a turn. */
const BATCH = 200;

/** Of lines of JSON, compressed. The file changes in one step. */
export async function saveObjects(path: string, objects: Readonly<Record<string, GoodObject>>, nowMs: number): Promise<void> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o711 });
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await pipeline(Readable.from(textOf(objects, nowMs), { objectMode: true, highWaterMark: 1 }), createGzip({ level: 1 }), createWriteStream(temporary, { mode: 0o600 }));
    renameSync(temporary, path);
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** Undefined when nothing was saved. Throws when the file is no good. */
export function readSavedObjects(path: string): SavedObjects | undefined {
  if (!existsSync(path)) return undefined;
  const [first = '', ...lines] = gunzipSync(readFileSync(path)).toString().split('\n');
  const { format, savedMs } = JSON.parse(first) as Header;
  if (format !== FORMAT) throw new Error(`it is of another format, "${format}"`);
  return { savedMs, objects: lines.filter((line) => line !== '').map((line) => JSON.parse(line) as SourceObject) };
}

function* textOf(objects: Readonly<Record<string, GoodObject>>, savedMs: number): Generator<string> {
  yield `${JSON.stringify({ format: FORMAT, savedMs } satisfies Header)}\n`;
  let batch = '';
  let count = 0;
  for (const { origin, value } of Object.values(objects)) {
    batch += `${JSON.stringify({ name: origin.file, value } satisfies SourceObject)}\n`;
    count += 1;
    if (count % BATCH > 0) continue;
    yield batch;
    batch = '';
  }
  yield batch;
}
