/** The directory of YAML that agents read: one object per file, replaced atomically, and only when it changed. */
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { KubeObject } from './manifests.ts';

export interface ObjectName {
  kind: string;
  namespace?: string | undefined;
  name: string;
}

export class ConfigDirectory {
  readonly path: string;
  /** File name → what it holds. */
  readonly #written = new Map<string, string>();
  #generated = new Set<string>();

  constructor(path: string) {
    this.path = path;
    mkdirSync(path, { recursive: true });
  }

  /** Write an object of the user's. Tells what that did. */
  put(object: ObjectName, text: string): 'created' | 'configured' | 'unchanged' {
    return this.#write(fileName(object), text);
  }

  /** Remove an object; false when there is none. */
  remove(object: ObjectName): boolean {
    return this.#remove(fileName(object));
  }

  has(object: ObjectName): boolean {
    return this.#written.has(fileName(object));
  }

  /** Replace all generated objects by these. */
  replaceGenerated(objects: readonly KubeObject[]): void {
    const next = new Set<string>();
    for (const object of objects) {
      const name = fileName({ kind: object.kind, ...object.metadata });
      next.add(name);
      this.#write(name, stringify(object, { aliasDuplicateObjects: false }));
    }
    for (const name of this.#generated) if (!next.has(name)) this.#remove(name);
    this.#generated = next;
  }

  #write(name: string, text: string): 'created' | 'configured' | 'unchanged' {
    const before = this.#written.get(name);
    if (before === text) return 'unchanged';
    const temporary = join(this.path, `.${name}.tmp`);
    writeFileSync(temporary, text);
    renameSync(temporary, join(this.path, name));
    this.#written.set(name, text);
    return before === undefined ? 'created' : 'configured';
  }

  #remove(name: string): boolean {
    rmSync(join(this.path, name), { force: true });
    return this.#written.delete(name);
  }
}

function fileName({ kind, namespace, name }: ObjectName): string {
  const parts = [kind.toLowerCase(), ...(namespace === undefined ? [] : [namespace]), name];
  return `${parts.map((part) => part.replaceAll(/[^\w.-]/g, '_')).join('.')}.yaml`;
}
