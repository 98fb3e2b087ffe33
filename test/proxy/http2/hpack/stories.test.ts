import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { decode, decoder, encode, encoder } from './block.ts';
import type { Field } from './block.ts';

interface Story {
  readonly cases: readonly {
    readonly header_table_size?: number | null;
    readonly wire: string;
    readonly headers: readonly Readonly<Record<string, string>>[];
  }[];
}

const ROOT = join(import.meta.dirname, '../../../data/hpack');
const ENCODERS = readdirSync(ROOT);

function stories(by: string): [name: string, story: Story][] {
  return readdirSync(join(ROOT, by)).map((name) => [name, JSON.parse(readFileSync(join(ROOT, by, name), 'utf8')) as Story]);
}

function fieldsOf(one: Story['cases'][number]): Field[] {
  return one.headers.map((header) => Object.entries(header)[0] as [string, string]);
}

it('has stories of seven encoders', () => {
  expect(ENCODERS.length).toBe(7);
  for (const by of ENCODERS) expect(stories(by).length).toBe(21);
});

describe.each(ENCODERS)('stories written by %s', (by) => {
  it.each(stories(by))('%s is read', (_, story) => {
    const one = decoder();
    for (const part of story.cases) {
      if (typeof part.header_table_size === 'number') one.setMaxTableSize(part.header_table_size);
      expect(decode(one, part.wire)).toEqual(fieldsOf(part));
    }
  });
});

describe('stories written by us', () => {
  it.each(stories('nghttp2'))('%s is read again, and no longer than as nghttp2 writes it', (_, story) => {
    const reader = decoder();
    const writer = encoder();
    let ours = 0;
    let theirs = 0;
    for (const part of story.cases) {
      const block = encode(writer, fieldsOf(part));
      expect(decode(reader, block)).toEqual(fieldsOf(part));
      ours += block.length;
      theirs += part.wire.length / 2;
    }
    expect(ours).toBeLessThanOrEqual(theirs * 1.1);
  });

  it.each(stories('nghttp2-change-table-size'))('%s is read again while the table changes its size', (_, story) => {
    const reader = decoder(16_384);
    const writer = encoder(16_384);
    const sizes = [0, 4096, 100, 16_384, 33, 1365];
    for (const [index, part] of story.cases.entries()) {
      // Twice between two blocks: the smaller one must be said too.
      for (const size of [sizes[index % sizes.length] as number, sizes[(index * 5 + 1) % sizes.length] as number]) {
        reader.setMaxTableSize(size);
        writer.setMaxTableSize(size);
      }
      expect(decode(reader, encode(writer, fieldsOf(part)))).toEqual(fieldsOf(part));
    }
  });
});
