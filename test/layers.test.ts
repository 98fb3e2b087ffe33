/**
 * The direction of imports (ARCHITECTURE.md, "The house"). `core` ← `sys mesh certs kube telemetry` ← `redirect proxy` ←
 * `agent control lab`; `cli` composes; `dashboard` sees types only. A folder that is not in the table may not exist.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { describe, expect, it } from 'vitest';

const SRC = join(import.meta.dirname, '../src');

/** What a folder may import besides itself. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  core: [],
  sys: ['core'],
  mesh: ['core'],
  certs: ['core'],
  kube: ['core', 'mesh'],
  telemetry: ['core', 'mesh'],
  redirect: ['core', 'sys', 'mesh'],
  proxy: ['core', 'sys', 'mesh', 'certs', 'telemetry'],
  agent: ['core', 'sys', 'mesh', 'certs', 'kube', 'telemetry', 'redirect', 'proxy'],
  control: ['core', 'sys', 'mesh', 'certs', 'kube', 'telemetry'],
  lab: ['core', 'sys', 'mesh'],
  install: ['core', 'mesh', 'kube'],
  cli: ['core', 'mesh', 'kube', 'install', 'agent', 'control', 'lab', 'redirect'],
  dashboard: [],
};

/** Packages that only one folder may import, because everything else must go through it. */
const ONLY_IN: Record<string, string> = {
  koffi: 'sys',
  'prom-client': 'telemetry',
  '@kubernetes/client-node': 'kube',
};

interface Import {
  file: string;
  folder: string;
  target: string;
}

function sourceFiles(dir: string): string[] {
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(dir, name));
}

/** Static imports, re-exports, dynamic imports and import types. */
const IMPORT = /(?:\bfrom\s*|\bimport\s*\(?\s*)(['"])([^'"]+)\1/g;

function importsOf(file: string): Import[] {
  const name = relative(SRC, file);
  const folder = name.split(sep)[0] as string;
  return [...readFileSync(file, 'utf8').matchAll(IMPORT)].map((found) => ({ file: name, folder, target: found[2] as string }));
}

function folderOf(found: Import): string | undefined {
  if (!found.target.startsWith('.')) return undefined;
  return relative(SRC, join(SRC, found.file, '..', found.target)).split(sep)[0];
}

const imports = sourceFiles(SRC).flatMap(importsOf);

describe('layers', () => {
  it('sees the imports at all', () => {
    expect(imports.length).toBeGreaterThan(50);
    expect(imports.some((found) => folderOf(found) === 'core')).toBe(true);
  });

  it('has every folder of src in the table', () => {
    const folders = new Set(imports.map((found) => found.folder));
    expect([...folders].filter((folder) => !(folder in MAY_IMPORT))).toEqual([]);
  });

  it('follows the direction of imports', () => {
    const wrong = imports.filter((found) => {
      const target = folderOf(found);
      return target !== undefined && target !== found.folder && !(MAY_IMPORT[found.folder] ?? []).includes(target);
    });
    expect(wrong.map((found) => `${found.file} imports ${found.target}`)).toEqual([]);
  });

  it('keeps each special package behind its folder', () => {
    const wrong = imports.filter((found) => found.target in ONLY_IN && ONLY_IN[found.target] !== found.folder);
    expect(wrong.map((found) => `${found.file} imports ${found.target}`)).toEqual([]);
  });

  it('keeps raw time and chance out of the data plane and the compiler', () => {
    const raw = /\b(?:Date\.now|setTimeout|setInterval|Math\.random|performance\.now)\b/;
    const wrong = sourceFiles(SRC)
      .filter((file) => /^(?:proxy|mesh|telemetry)\b/.test(relative(SRC, file)))
      .filter((file) => readFileSync(file, 'utf8').split('\n').some((line) => raw.test(line) && !/^\s*(?:\*|\/\/)/.test(line)));
    expect(wrong.map((file) => relative(SRC, file))).toEqual([]);
  });
});
