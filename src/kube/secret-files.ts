/**
 * Secrets and ConfigMaps of a configuration directory, for gateways where there is no cluster. They are read when they are asked for, and kept by nobody here: no
 * snapshot has them, and so no dump, no copy on disk and no log.
 */
import { parseDocuments } from '../mesh/parse/document.ts';
import { record, text, texts } from '../mesh/parse/json.ts';
import { readConfigDir } from './read-config.ts';

const MAY_HOLD = /kind["']?\s*:\s*["']?(?:Secret|ConfigMap)/;

/** By `Secret ns/name`: the data, decoded. Throws when the directory cannot be read. */
export function readSecretFiles(directory: string): Map<string, Readonly<Record<string, string>>> {
  const found = new Map<string, Readonly<Record<string, string>>>();
  for (const { name: file, text: content } of readConfigDir(directory)) {
    if (!MAY_HOLD.test(content)) continue;
    for (const { value } of parseDocuments(file, content).documents) {
      const { kind, metadata } = value;
      if (kind !== 'Secret' && kind !== 'ConfigMap') continue;
      const { name, namespace } = record(metadata);
      const key = `${kind} ${text(namespace) || 'default'}/${text(name)}`;
      if (!found.has(key)) found.set(key, dataOf(value));
    }
  }
  return found;
}

/** What an object of either kind holds, as text: `stringData` and a ConfigMap's `data` as they are, a Secret's `data` out of base64. */
export function dataOf({ kind, data, stringData }: Readonly<Record<string, unknown>>): Readonly<Record<string, string>> {
  if (kind === 'ConfigMap') return texts(data);
  return { ...Object.fromEntries(Object.entries(texts(data)).map(([key, value]) => [key, Buffer.from(value, 'base64').toString('latin1')])), ...texts(stringData) };
}
