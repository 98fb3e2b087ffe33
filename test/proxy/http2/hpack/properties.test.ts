import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HpackError } from '../../../../src/proxy/http2/hpack/error.ts';
import { decodedLengthMax, huffmanDecode, huffmanEncode, huffmanLength } from '../../../../src/proxy/http2/hpack/huffman.ts';
import { decode, decoder, encode, encoder, table } from './block.ts';
import type { Field } from './block.ts';

const octets = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes).toString('latin1'));
const name = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(':method', ':path', ':authority', 'cookie', 'authorization', 'x-a', 'x-b', 'content-length', 'x-request-id') },
  { weight: 1, arbitrary: fc.stringMatching(/^[a-z][a-z0-9-]{0,80}$/) },
);
const value = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('', 'GET', '/', '/a', '/a?b=c', 'one', 'two', 'three') },
  { weight: 2, arbitrary: octets },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 9000 }).map((length) => 'v'.repeat(length)) },
);
const block = fc.array(fc.tuple(name, value), { maxLength: 30 });
/** A block to send, or a new size for the table. */
const step = fc.oneof({ weight: 5, arbitrary: block }, { weight: 1, arbitrary: fc.nat(20_000) });

function sizeOf(fields: readonly Field[]): number {
  return fields.reduce((sum, [fieldName, fieldValue]) => sum + fieldName.length + fieldValue.length + 32, 0);
}

describe('round trips', () => {
  it('of any fields, through any changes of the table', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.nat(10_000), (steps, ownMaxSize) => {
        const reader = decoder(4096);
        const writer = encoder(ownMaxSize);
        let allowed = 4096;
        for (const one of steps) {
          if (typeof one === 'number') {
            allowed = one;
            reader.setMaxTableSize(one);
            writer.setMaxTableSize(one);
            continue;
          }
          expect(decode(reader, encode(writer, one))).toEqual(one);
          expect(sizeOf(table(reader))).toBeLessThanOrEqual(Math.min(allowed, ownMaxSize));
        }
      }),
      { numRuns: 300 },
    );
  });

  it('of any string in Huffman code', () => {
    fc.assert(
      fc.property(octets, (text) => {
        const coded = Buffer.alloc(huffmanLength(text));
        expect(huffmanEncode(text, coded, 0)).toBe(coded.length);
        const target = Buffer.alloc(decodedLengthMax(coded.length));
        expect(target.toString('latin1', 0, huffmanDecode(coded, 0, coded.length, target))).toBe(text);
      }),
    );
  });

  it('of a value beyond latin1, as its UTF-8', () => {
    const text = 'Ċ naïve, 日本';
    expect(decode(decoder(), encode(encoder(), [['x-text', text]]))).toEqual([['x-text', Buffer.from(text, 'utf8').toString('latin1')]]);
  });
});

describe('anything else', () => {
  it('is refused or read, never more than that', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 10 }), (blocks) => {
        const reader = decoder(4096, 1000);
        for (const one of blocks) {
          try {
            expect(sizeOf(decode(reader, Buffer.from(one)))).toBeLessThanOrEqual(1000);
          } catch (error) {
            expect(error).toBeInstanceOf(HpackError);
            return;
          }
          expect(sizeOf(table(reader))).toBeLessThanOrEqual(4096);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('a valid block with one octet changed is refused or read', () => {
    fc.assert(
      fc.property(block, fc.nat(), fc.integer({ min: 1, max: 255 }), (fields, at, change) => {
        const octetsOfBlock = encode(encoder(), fields);
        if (octetsOfBlock.length === 0) return;
        const index = at % octetsOfBlock.length;
        octetsOfBlock[index] = (octetsOfBlock[index] as number) ^ change;
        try {
          decode(decoder(), octetsOfBlock);
        } catch (error) {
          expect(error).toBeInstanceOf(HpackError);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
