/** YAML documents with their places in the file, and typed reading of their fields: a mistake names file, line, field and remedy. */
import { readFileSync } from 'node:fs';
import { LineCounter, isNode, parseAllDocuments } from 'yaml';
import type { Document } from 'yaml';
import { LabError } from './lab-error.ts';

export interface SourceText {
  /** Name shown in messages. */
  file: string;
  text: string;
}

/** Read lab files as text. Throws LabError when one cannot be read. */
export function readSources(files: readonly string[]): SourceText[] {
  return files.map((file) => {
    try {
      return { file, text: readFileSync(file, 'utf8') };
    } catch (error) {
      throw new LabError(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)}); give the path of a YAML file`);
    }
  });
}

/** One object of a file. */
export class SourceDocument {
  readonly file: string;
  readonly #document: Document;
  readonly #lines: LineCounter;

  constructor(file: string, document: Document, lines: LineCounter) {
    this.file = file;
    this.#document = document;
    this.#lines = lines;
  }

  get root(): Field {
    return new Field(this, [], this.#document.toJS() as unknown);
  }

  get kind(): string {
    return this.root.get('kind').string();
  }

  get name(): string {
    return this.root.get('metadata').get('name').string();
  }

  get namespace(): string | undefined {
    return this.root.get('metadata').get('namespace').optionalString();
  }

  /** Give the object a namespace when it has none. */
  defaultNamespace(namespace: string): void {
    if (this.namespace === undefined) this.#document.setIn(['metadata', 'namespace'], namespace);
  }

  /** The document as YAML, its comments kept. */
  get text(): string {
    return this.#document.toString({ directives: false }).replace(/^---\n/, '');
  }

  /** Line of the node at `path`, or of the nearest one above it that exists. */
  lineOf(path: readonly (string | number)[]): number {
    for (let length = path.length; length >= 0; length -= 1) {
      const node = length === 0 ? this.#document.contents : this.#document.getIn(path.slice(0, length), true);
      if (isNode(node) && node.range) return this.#lines.linePos(node.range[0]).line;
    }
    return 1;
  }
}

/** A value inside a document that knows its path. Reading it as what it is not throws a LabError. */
export class Field {
  readonly document: SourceDocument;
  readonly path: readonly (string | number)[];
  readonly value: unknown;

  constructor(document: SourceDocument, path: readonly (string | number)[], value: unknown) {
    this.document = document;
    this.path = path;
    this.value = value;
  }

  get present(): boolean {
    return this.value !== undefined && this.value !== null;
  }

  get(key: string): Field {
    if (this.present && (typeof this.value !== 'object' || Array.isArray(this.value))) this.fail('is not a mapping', `write "${key}: …" below it`);
    return new Field(this.document, [...this.path, key], (this.value as Record<string, unknown> | undefined)?.[key]);
  }

  /** The items of a list; none when it is absent. */
  items(): Field[] {
    if (!this.present) return [];
    if (!Array.isArray(this.value)) this.fail('is not a list', 'write its items with "- " in front');
    return (this.value as unknown[]).map((item, index) => new Field(this.document, [...this.path, index], item));
  }

  /** Keys and fields of a mapping; none when it is absent. */
  entries(): [string, Field][] {
    if (!this.present) return [];
    if (typeof this.value !== 'object' || Array.isArray(this.value)) this.fail('is not a mapping', 'write "key: value" below it');
    return Object.keys(this.value as object).map((key) => [key, this.get(key)]);
  }

  string(): string {
    if (!this.present) this.fail('is missing', 'add it');
    return this.optionalString() as string;
  }

  optionalString(): string | undefined {
    if (!this.present) return undefined;
    if (typeof this.value !== 'string') this.fail(`is ${JSON.stringify(this.value)}, not a string`, 'put it in quotes');
    return this.value;
  }

  strings(): string[] {
    return this.items().map((item) => item.string());
  }

  /** A mapping of strings, as labels and annotations are. */
  stringMap(): Record<string, string> {
    return Object.fromEntries(this.entries().map(([key, field]) => [key, field.string()]));
  }

  optionalInteger(min: number, max: number): number | undefined {
    if (!this.present) return undefined;
    const { value } = this;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
      this.fail(`is ${JSON.stringify(value)}`, `it must be a whole number from ${min} to ${max}`);
    }
    return value;
  }

  integer(min: number, max: number): number {
    if (!this.present) this.fail('is missing', `add a whole number from ${min} to ${max}`);
    return this.optionalInteger(min, max) as number;
  }

  optionalBoolean(): boolean | undefined {
    if (!this.present) return undefined;
    if (typeof this.value !== 'boolean') this.fail(`is ${JSON.stringify(this.value)}`, 'it must be true or false');
    return this.value;
  }

  oneOf<T extends string>(values: readonly T[]): T | undefined {
    const value = this.optionalString();
    if (value !== undefined && !values.includes(value as T)) this.fail(`is "${value}"`, `it must be one of ${values.join(', ')}`);
    return value as T | undefined;
  }

  /** Report a mistake at this field. */
  fail(message: string, remedy: string): never {
    const root = this.document.root.value as { kind?: unknown; metadata?: { name?: unknown } } | undefined;
    const object = [root?.kind, root?.metadata?.name].filter((part) => typeof part === 'string').join(' ');
    const place = `${this.document.file}:${this.document.lineOf(this.path)}`;
    const path = this.path.reduce<string>((text, part) => (typeof part === 'number' ? `${text}[${part}]` : text === '' ? part : `${text}.${part}`), '');
    throw new LabError(`${place}: ${object === '' ? '' : `${object}: `}${path === '' ? 'the document' : path} ${message}; ${remedy}`);
  }
}

/** Split sources into documents; empty ones are skipped. Throws LabError at a syntax error or an object without kind and name. */
export function parseDocuments(sources: readonly SourceText[]): SourceDocument[] {
  return sources.flatMap(({ file, text }) => {
    const lines = new LineCounter();
    const parsed = parseAllDocuments(text, { lineCounter: lines });
    const documents: SourceDocument[] = [];
    for (const document of parsed) {
      const [error] = document.errors;
      if (error !== undefined) {
        const line = error.linePos?.[0].line ?? 1;
        throw new LabError(`${file}:${line}: is not YAML: ${error.message.split('\n')[0] ?? ''}; correct the syntax`);
      }
      if (document.contents === null) continue;
      const found = new SourceDocument(file, document, lines);
      found.root.get('apiVersion').string();
      if (found.kind === '' || found.name === '') found.root.fail('has an empty kind or name', 'every object needs both');
      documents.push(found);
    }
    return documents;
  });
}
