/** YAML text as documents that know where each of their fields stands. */
import { isMap, isNode, isScalar, isSeq, LineCounter, parseAllDocuments, parseDocument } from 'yaml';
import type { Document } from 'yaml';
import { fieldName } from '../field-name.ts';
import type { Problem } from '../problem.ts';
import { isRecord } from './schema.ts';

export type Path = readonly (string | number)[];

export interface SourceDocument {
  readonly file: string;
  /** The document as plain data. */
  readonly value: Readonly<Record<string, unknown>>;
  /** Line of a field, or of the nearest one that encloses it. */
  lineOf(path: Path): number;
}

const OBJECT_PARTS = 'give it apiVersion, kind and metadata.name';

/** Values that aliases may add to a document: a few lines of YAML can otherwise stand for gigabytes. */
const ALIASES_MAX = 100;

export interface ParsedFile {
  readonly documents: readonly SourceDocument[];
  readonly problems: readonly Problem[];
  /** Part of the text is no YAML: there may be more documents than these. */
  readonly broken: boolean;
}

/** The syntax of a file: many times as large as its text. */
interface Tree {
  readonly documents: readonly Document[];
  readonly lines: LineCounter;
}

/** A text whose tree is made when it is asked for, and kept no longer than it is in use: a file without mistakes needs it once. */
class Source {
  readonly #text: string;
  #tree: WeakRef<Tree> | undefined;

  constructor(text: string) {
    this.#text = text;
  }

  get tree(): Tree {
    const known = this.#tree?.deref();
    if (known !== undefined) return known;
    const lines = new LineCounter();
    const parsed = parseAllDocuments(this.#text, { lineCounter: lines, uniqueKeys: true, merge: true, logLevel: 'error' });
    const tree = { documents: [...parsed].filter((document) => 'contents' in document), lines };
    this.#tree = new WeakRef(tree);
    return tree;
  }
}

/** Parse one file. A `List` is taken apart. */
export function parseDocuments(file: string, text: string): ParsedFile {
  const source = new Source(text);
  const documents: SourceDocument[] = [];
  const problems: Problem[] = [];
  let broken = false;
  const { documents: parsed, lines } = source.tree;
  for (const [nth, document] of parsed.entries()) {
    // The errors after the first are mostly its consequences.
    for (const error of document.errors.slice(0, 1)) {
      broken = true;
      const line = lines.linePos(error.pos[0]).line;
      problems.push({ severity: 'error', code: 'ORLOP001', file, line, object: '', field: '', message: firstLine(error.message), remedy: 'correct the YAML; until then what stood here before stays in force' });
    }
    if (document.errors.length > 0 || document.contents === null) continue;
    documents.push(...takeApart(file, source, nth, problems));
  }
  return { documents, problems, broken };
}

function takeApart(file: string, source: Source, nth: number, problems: Problem[]): SourceDocument[] {
  const lineOf = (path: Path): number => lineAt(source.tree.documents[nth] as Document, path, source.tree.lines);
  const refuse = (path: Path, message: string, remedy: string): [] => {
    problems.push({ severity: 'error', code: 'ORLOP002', file, line: lineOf(path), object: '', field: fieldName(path), message, remedy });
    return [];
  };
  let value: unknown;
  try {
    value = (source.tree.documents[nth] as Document).toJS({ maxAliasCount: ALIASES_MAX });
  } catch (error) {
    return refuse([], error instanceof Error ? firstLine(error.message) : String(error), 'write the value out instead of using an alias');
  }
  // Templates leave empty documents between their separators.
  if (value === null) return [];
  if (!isRecord(value)) return refuse([], 'a document that is no object', OBJECT_PARTS);
  const { kind, items } = value;
  if (kind !== 'List' || !Array.isArray(items)) return [placed(file, value, lineOf)];
  return items.flatMap((item: unknown, i) => {
    if (!isRecord(item)) return refuse(['items', i], 'an item that is no object', OBJECT_PARTS);
    return [placed(file, item, (path) => lineOf(['items', i, ...path]))];
  });
}

/** Every object is asked where it begins; few are asked for more. */
function placed(file: string, value: Readonly<Record<string, unknown>>, lineOf: (path: Path) => number): SourceDocument {
  const first = lineOf([]);
  return { file, value, lineOf: (path) => (path.length === 0 ? first : lineOf(path)) };
}

/** Walk down as far as the path leads; a field is where its key stands. */
function lineAt(document: Document, path: Path, lines: LineCounter): number {
  let node: unknown = document.contents;
  let offset = isNode(node) ? (node.range?.[0] ?? 0) : 0;
  for (const [i, step] of path.entries()) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && key.value === step);
      if (pair === undefined) break;
      if (isNode(pair.key)) offset = pair.key.range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(node) && typeof step === 'number') {
      node = node.items[step];
      if (isNode(node)) offset = node.range?.[0] ?? offset;
    } else {
      const line = lines.linePos(offset).line;
      return isScalar(node) && node.type === 'BLOCK_LITERAL' ? line + lineWithin(String(node.value), path.slice(i)) : line;
    }
  }
  return lines.linePos(offset).line;
}

/** Line of a field of YAML that stands as text in a field (`mesh: |`). */
function lineWithin(text: string, path: Path): number {
  const lines = new LineCounter();
  return lineAt(parseDocument(text, { lineCounter: lines, logLevel: 'error' }), path, lines);
}

function firstLine(message: string): string {
  return (message.split('\n')[0] as string).replace(/ at line \d+, column \d+:?$/, '');
}
