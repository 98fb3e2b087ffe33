/**
 * The network configurations of a node, as container runtimes take them (libcni, go-cni): of the files of the directory the first by name, a list
 * of plugins or a single one. Our entry is the last of the list that is chosen. Files change in one step, so that no runtime reads half of one.
 */
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { CNI_CONFIG_BYTES_MAX } from '../core/limits.ts';
import { isRecord } from '../mesh/parse/schema.ts';

/** Our entry in a list of plugins: cni/orlop-cni.c says what it takes. */
export interface CniEntry {
  readonly type: typeof PROGRAM;
  readonly socket: string;
  readonly excludeNamespaces: readonly string[];
  readonly capabilities: { readonly 'io.kubernetes.cri.pod-annotations': true };
}

/** What was found, and done about it. */
export type Ensured =
  | { readonly state: 'unchanged' | 'added'; readonly file: string }
  /** Nothing can be done for now. */
  | { readonly state: 'waiting'; readonly reason: string };

/** Of the program, and so of the plugin. */
export const PROGRAM = 'orlop-cni';

const VERSIONS: ReadonlySet<unknown> = new Set(['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0']);
/** A single plugin's file that a list has taken the place of; no runtime reads it by this name. */
const REPLACED = '.replaced-by-orlop';
const LIST = '.conflist';
const EXTENSIONS: readonly string[] = ['.conf', LIST, '.json'];

type Fields = Readonly<Record<string, unknown>>;

interface Config {
  readonly file: string;
  readonly fields: Fields;
  readonly plugins: readonly Fields[];
}

export function cniEntry(socket: string, excludeNamespaces: readonly string[]): CniEntry {
  return { type: PROGRAM, socket, excludeNamespaces, capabilities: { 'io.kubernetes.cri.pod-annotations': true } };
}

/** Make `entry` the last plugin of the configuration that runtimes choose in `directory`. */
export function ensureEntry(directory: string, entry: CniEntry): Ensured {
  const chosen = chosenConfig(directory);
  if (typeof chosen === 'string') return { state: 'waiting', reason: chosen };
  const { file, fields, plugins } = chosen;
  const { cniVersion, name } = fields;
  if (!VERSIONS.has(cniVersion)) return { state: 'waiting', reason: `${join(directory, file)} has cniVersion ${JSON.stringify(cniVersion)}; new pods are captured with 0.3.0 to 1.1.0 only` };
  if (file.endsWith(LIST) && isDeepStrictEqual(plugins.at(-1), entry) && plugins.filter(isOurs).length === 1) return { state: 'unchanged', file };
  const all = [...plugins.filter((plugin) => !isOurs(plugin)), entry];
  if (file.endsWith(LIST)) {
    write(directory, file, { ...fields, plugins: all });
    return { state: 'added', file };
  }
  const list = file.replace(/\.[^.]+$/, LIST);
  write(directory, list, { cniVersion, name, plugins: all });
  renameSync(join(directory, file), join(directory, file + REPLACED));
  return { state: 'added', file: list };
}

/** Files that have our entry, whichever is chosen. */
export function configsWithEntry(directory: string): string[] {
  return configNames(directory).filter((name) => {
    const config = readConfig(directory, name);
    return typeof config !== 'string' && config.plugins.some(isOurs);
  });
}

/** Undo what {@link ensureEntry} did to a file. */
export function removeEntry(directory: string, file: string): void {
  const config = readConfig(directory, file);
  if (typeof config === 'string') return;
  const original = EXTENSIONS.map((extension) => file.replace(/\.[^.]+$/, extension) + REPLACED).find((name) => existsSync(join(directory, name)));
  if (original === undefined) {
    write(directory, file, { ...config.fields, plugins: config.plugins.filter((plugin) => !isOurs(plugin)) });
    return;
  }
  renameSync(join(directory, original), join(directory, original.slice(0, -REPLACED.length)));
  rmSync(join(directory, file));
}

/** Or why there is none. */
function chosenConfig(directory: string): Config | string {
  const faults: string[] = [];
  for (const name of configNames(directory)) {
    const config = readConfig(directory, name);
    if (typeof config !== 'string') return config;
    faults.push(config);
  }
  return faults[0] ?? `there is no network configuration in ${directory} yet`;
}

/** In the order of Go's strings. */
function configNames(directory: string): string[] {
  return readdirSync(directory).filter((name) => EXTENSIONS.some((extension) => name.endsWith(extension))).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

function readConfig(directory: string, file: string): Config | string {
  const path = join(directory, file);
  try {
    if (statSync(path).size > CNI_CONFIG_BYTES_MAX) return `${path} is too large for a network configuration`;
    const fields: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (!isRecord(fields)) return `${path} is no network configuration`;
    const plugins = file.endsWith(LIST) ? fields['plugins'] : [fields];
    if (!Array.isArray(plugins) || plugins.length === 0 || !plugins.every((plugin) => isRecord(plugin) && typeof plugin['type'] === 'string')) return `${path} names no plugin`;
    return { file, fields, plugins: plugins as Fields[] };
  } catch (error) {
    // Its author may be about to write it.
    return `${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function write(directory: string, file: string, value: object): void {
  const path = join(directory, file);
  const made = join(directory, `.orlop-${process.pid}.tmp`);
  const { mode } = statSync(path, { throwIfNoEntry: false }) ?? { mode: 0o644 };
  writeFileSync(made, `${JSON.stringify(value, undefined, 2)}\n`, { mode: mode & 0o777 });
  renameSync(made, path);
}

function isOurs(plugin: Fields): boolean {
  return plugin['type'] === PROGRAM;
}
