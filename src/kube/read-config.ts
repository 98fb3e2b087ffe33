/** The files of a configuration directory, read whole. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { CONFIG_FILE_BYTES_MAX, CONFIG_FILES_MAX } from '../core/limits.ts';
import type { SourceFile } from '../mesh/build.ts';

const CONFIG_FILE = /\.(?:ya?ml|json)$/;

/**
 * Files named *.yaml, *.yml or *.json in `directory` and one level below it, by name; hidden ones are passed over. A file that
 * cannot be read is returned as such, so that it keeps no other from taking effect. Throws when the directory cannot be read, or
 * holds too many.
 */
export function readConfigDir(directory: string): SourceFile[] {
  const names = listFiles(directory);
  if (names.length > CONFIG_FILES_MAX) throw new Error(`${directory} has ${names.length} configuration files; ${CONFIG_FILES_MAX} is the limit`);
  return names.flatMap((name) => read(join(directory, name), name));
}

function read(path: string, name: string): SourceFile[] {
  try {
    const size = statSync(path, { throwIfNoEntry: false })?.size;
    // A file may go between listing and reading; the next event brings the directory as it is then.
    if (size === undefined) return [];
    if (size > CONFIG_FILE_BYTES_MAX) return [{ name, text: '', unreadable: `it has ${size} bytes; ${CONFIG_FILE_BYTES_MAX} is the limit for one file` }];
    return [{ name, text: readFileSync(path, 'utf8') }];
  } catch (error) {
    return [{ name, text: '', unreadable: error instanceof Error ? error.message : String(error) }];
  }
}

function listFiles(directory: string): string[] {
  const names: string[] = [];
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.name.startsWith('.')) continue;
    if (entry.isDirectory()) names.push(...readdirSync(join(directory, entry.name)).filter((name) => CONFIG_FILE.test(name) && !name.startsWith('.')).map((name) => join(entry.name, name)));
    else if (CONFIG_FILE.test(entry.name)) names.push(entry.name);
  }
  return names.sort();
}
