import { describe, expect, it } from 'vitest';
import { HpackError } from '../../../../src/proxy/http2/hpack/error.ts';
import { decode, decoder, encode, encoder, table } from './block.ts';

describe('a block is refused', () => {
  it.each([
    // RFC 7541 §6.1, §2.3.3
    ['index 0', '80', 'index 0'],
    ['an index beyond the static table, the other one being empty', 'be', 'index 62 where the tables have 61 entries'],
    ['a name beyond the tables', '7e 0161', 'index 62 where the tables have 61 entries'],
    ['a name far beyond the tables', '7fffff01 0161', 'index 32830'],
    // §5.1
    ['an integer that is not complete', 'ff', 'the block ends within an integer'],
    ['an integer that is not complete, later', 'ff80', 'the block ends within an integer'],
    ['an integer of 35 bits', 'ffffffffff7f', 'an integer is too large'],
    ['an integer made long by zeros', 'ff8080808000', 'an integer is too large'],
    ['an integer without an end', `ff${'80'.repeat(1000)}`, 'an integer is too large'],
    ['a length of 35 bits', '00 7fffffffff0f 61', 'an integer is too large'],
    ['a length of 28 bits', '00 7fffffff7f 61', 'the block ends within a string'],
    // §5.2
    ['a name that is missing', '40', 'the block ends within a field'],
    ['a name that is cut off', '40 0361', 'the block ends within a string'],
    ['a value that is missing', '40 0161', 'the block ends within a field'],
    ['a value that is cut off', '40 0161 0261', 'the block ends within a string'],
    ['a coded value that is cut off', '40 0161 8cf1e3', 'the block ends within a string'],
    ['padding of eight ones', '40 0161 821fff', 'padding'],
    ['padding of an octet of ones', '40 0161 81ff', 'padding'],
    ['padding of zeros', '40 0161 8118', 'padding'],
    ['padding with a zero in it', '40 0161 811d', 'padding'],
    ['EOS', '40 0161 84ffffffff', 'EOS'],
    ['EOS behind a letter', '40 0161 851fffffffff', 'EOS'],
    ['EOS in a value that no one needs', '00 0161 85 1fffffffff', 'EOS'],
    // §4.2, §6.3
    ['a table larger than allowed', '3fe21f', 'a table of 4097 octets where 4096 are allowed'],
    ['a change of the table behind a field', '82 20', 'stands after a field'],
    ['a change of the table between fields', '82 20 82', 'stands after a field'],
  ])('for %s', (_, block, message) => {
    expect(() => decode(decoder(), block)).toThrow(HpackError);
    expect(() => decode(decoder(), block)).toThrow(message);
    // However small the list may be.
    expect(() => decode(decoder(4096, 0), block)).toThrow(message);
  });

  it('cut off anywhere but between two fields', () => {
    const block = encode(encoder(), [['x-a', 'value'], ['x-b', ''], ['cookie', 'secret'], ['x-c', 'ÿ'.repeat(200)]]);
    let complete = 0;
    for (let length = 1; length < block.length; length += 1) {
      try {
        decode(decoder(), block.subarray(0, length));
        complete += 1;
      } catch (error) {
        expect(error).toBeInstanceOf(HpackError);
      }
    }
    expect(complete).toBe(3);
  });

  it('when a smaller table was acknowledged and the block does not say so', () => {
    const one = decoder();
    one.setMaxTableSize(100);
    expect(() => decode(one, '82')).toThrow('not made smaller');
    expect(decode(one, '3f45 82')).toEqual([[':method', 'GET']]);
    expect(decode(one, '82')).toEqual([[':method', 'GET']]);
  });
});

describe('a block is read', () => {
  it.each([
    ['with nothing in it', '', []],
    ['with two changes of the table before its fields', '20 3fe11f 82', [[':method', 'GET']]],
    ['with a change of the table only', '20', []],
    ['with padding of seven ones', '00 0161 8418c631ff', [['a', 'aaaaa']]],
    ['with an empty coded string', '00 0161 80', [['a', '']]],
    ['with an empty name, which is for others to judge', '00 00 0162', [['', 'b']]],
    ['with a length written longer than need be', `00 0161 7f8000${'62'.repeat(127)}`, [['a', 'b'.repeat(127)]]],
  ] as const)('%s', (_, block, fields) => {
    expect(decode(decoder(), block)).toEqual(fields);
  });

  it('with a field larger than the table, which empties it (RFC 7541 §4.4)', () => {
    const one = decoder();
    decode(one, '40 0161 0162');
    expect(table(one)).toEqual([['a', 'b']]);
    const value = 'c'.repeat(4096);
    const large = Buffer.concat([Buffer.from('4001617f811f', 'hex'), Buffer.from(value)]);
    expect(decode(one, large)).toEqual([['a', value]]);
    expect(table(one)).toEqual([]);
  });

  it('with a name from an entry that its own insertion pushes out', () => {
    const one = decoder();
    one.setMaxTableSize(40);
    decode(one, '3f09 40 0161 0162');
    expect(decode(one, '7e 0163')).toEqual([['a', 'c']]);
    expect(table(one)).toEqual([['a', 'c']]);
  });
});

describe('a list that is too large', () => {
  it('is cut off, while the table is kept for the blocks after it', () => {
    const one = decoder(4096, 100);
    // 34 octets each: the third one is too many, though it and the fourth one go into the table.
    expect(decode(one, '40016101 61 40016201 62 40016301 63 40016401 64')).toEqual([['a', 'a'], ['b', 'b']]);
    expect(one.exceeded).toBe(true);
    expect(decode(one, 'be bf')).toEqual([['d', 'd'], ['c', 'c']]);
    expect(one.exceeded).toBe(false);
  });

  it('stays cut off when smaller fields follow', () => {
    const one = decoder(4096, 40);
    expect(decode(one, `00016114${'78'.repeat(20)} 82`)).toEqual([]);
    expect(one.exceeded).toBe(true);
  });

  it('made of one octet a field is not spread out (a bomb)', () => {
    const one = decoder(4096, 65_536);
    const entry = Buffer.concat([Buffer.from('4001617fd11e', 'hex'), Buffer.from('x'.repeat(4048))]);
    expect(decode(one, entry).length).toBe(1);
    const fields = decode(one, Buffer.alloc(1_000_000, 0xbe));
    expect(fields.length).toBe(16);
    expect(one.exceeded).toBe(true);
    // The text is there once.
    expect(new Set(fields.map(([, value]) => value)).size).toBe(1);
  });
});
