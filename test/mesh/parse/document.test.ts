/** Lines of fields, however they are written. */
import { describe, expect, it } from 'vitest';
import { parseDocuments } from '../../../src/mesh/parse/document.ts';
import type { Path, SourceDocument } from '../../../src/mesh/parse/document.ts';

function only(text: string): SourceDocument {
  const { documents, problems } = parseDocuments('a.yaml', text);
  expect(problems).toEqual([]);
  expect(documents).toHaveLength(1);
  return documents[0] as SourceDocument;
}

function lines(text: string, ...paths: Path[]): number[] {
  const document = only(text);
  return paths.map((path) => document.lineOf(path));
}

describe('the line of a field', () => {
  it('in blocks', () => {
    expect(lines('a:\n  b:\n  - c: 1\n    d: 2\n  - c: 3\n', ['a'], ['a', 'b'], ['a', 'b', 0, 'd'], ['a', 'b', 1], ['a', 'b', 1, 'c'])).toEqual([1, 2, 4, 5, 5]);
  });

  it('in flow style and JSON', () => {
    expect(lines('{"a": {\n  "b": [1,\n 2]}}', ['a', 'b'], ['a', 'b', 1])).toEqual([2, 3]);
  });

  it('after comments, blank lines and other documents', () => {
    const { documents } = parseDocuments('a.yaml', '# one\n\nkind: A\n---\n# two\nkind: B\nspec:\n  # three\n  x: 1\n');
    expect(documents.map((document) => [document.value['kind'], document.lineOf([]), document.lineOf(['spec', 'x'])])).toEqual([['A', 3, 3], ['B', 6, 9]]);
  });

  it('is that of the nearest field around it, when it is not there', () => {
    expect(lines('a:\n  b: 1\n', ['a', 'x'], ['a', 'b', 'y'], ['z'])).toEqual([1, 2, 1]);
  });

  it('in YAML that stands as text in a field', () => {
    expect(lines('data:\n  mesh: |\n    a: 1\n    b:\n      c: 2\n', ['data', 'mesh'], ['data', 'mesh', 'a'], ['data', 'mesh', 'b', 'c'])).toEqual([2, 3, 5]);
  });

  it('in the items of a List', () => {
    const { documents } = parseDocuments('a.yaml', 'kind: List\nitems:\n- kind: A\n- kind: B\n  spec:\n    x: 1\n');
    expect(documents.map((document) => [document.value['kind'], document.lineOf([]), document.lineOf(['spec', 'x'])])).toEqual([['A', 3, 3], ['B', 4, 6]]);
  });

  it('with carriage returns', () => {
    expect(lines('a: 1\r\nb:\r\n  c: 2\r\n', ['b', 'c'])).toEqual([3]);
  });
});

describe('YAML', () => {
  it('has anchors, aliases and merge keys', () => {
    expect(only('base: &b {x: 1}\none: *b\ntwo: {<<: *b, y: 2}\n').value).toEqual({ base: { x: 1 }, one: { x: 1 }, two: { x: 1, y: 2 } });
  });

  it('an empty file, and documents that are only comments, are nothing', () => {
    for (const text of ['', '\n', '# nothing\n', '---\n---\n# x\n', '\u{FEFF}']) expect(parseDocuments('a.yaml', text), JSON.stringify(text)).toMatchObject({ documents: [], problems: [], broken: false });
  });

  it('aliases that stand for very much are refused, not written out', () => {
    const bomb = `a0: &a0 [x, x]\n${Array.from({ length: 30 }, (_, i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}, *a${i}]\n`).join('')}`;
    const { documents, problems } = parseDocuments('a.yaml', bomb);
    expect(documents).toEqual([]);
    expect(problems.map(({ code, message }) => [code, message])).toEqual([['ORLOP002', expect.stringContaining('alias')]]);
  });
});
