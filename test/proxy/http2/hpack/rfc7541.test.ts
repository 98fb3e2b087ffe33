import { describe, expect, it } from 'vitest';
import { huffmanEncode, huffmanLength } from '../../../../src/proxy/http2/hpack/huffman.ts';
import { decode, decoder, encode, encoder, table } from './block.ts';
import type { Field } from './block.ts';

/** RFC 7541 Appendix C, each example as printed: the block, what it says, and the table it leaves. */
interface Example {
  readonly section: string;
  readonly block: string;
  readonly fields: readonly Field[];
  readonly table: readonly Field[];
}

const C2: readonly Example[] = [
  {
    section: 'C.2.1 literal with indexing',
    block: '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572',
    fields: [['custom-key', 'custom-header']],
    table: [['custom-key', 'custom-header']],
  },
  { section: 'C.2.2 literal without indexing', block: '040c 2f73 616d 706c 652f 7061 7468', fields: [[':path', '/sample/path']], table: [] },
  { section: 'C.2.3 literal never indexed', block: '1008 7061 7373 776f 7264 0673 6563 7265 74', fields: [['password', 'secret']], table: [] },
  { section: 'C.2.4 indexed', block: '82', fields: [[':method', 'GET']], table: [] },
];

const FIRST_REQUEST: Field[] = [[':method', 'GET'], [':scheme', 'http'], [':path', '/'], [':authority', 'www.example.com']];
const SECOND_REQUEST: Field[] = [...FIRST_REQUEST, ['cache-control', 'no-cache']];
const THIRD_REQUEST: Field[] = [[':method', 'GET'], [':scheme', 'https'], [':path', '/index.html'], [':authority', 'www.example.com'], ['custom-key', 'custom-value']];
const REQUEST_TABLE: Field[] = [['custom-key', 'custom-value'], ['cache-control', 'no-cache'], [':authority', 'www.example.com']];

function requests(first: string, second: string, third: string, section: string): Example[] {
  return [
    { section: `${section}.1`, block: first, fields: FIRST_REQUEST, table: REQUEST_TABLE.slice(2) },
    { section: `${section}.2`, block: second, fields: SECOND_REQUEST, table: REQUEST_TABLE.slice(1) },
    { section: `${section}.3`, block: third, fields: THIRD_REQUEST, table: REQUEST_TABLE },
  ];
}

const C3 = requests(
  '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
  '8286 84be 5808 6e6f 2d63 6163 6865',
  '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
  'C.3',
);
const C4 = requests(
  '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
  '8286 84be 5886 a8eb 1064 9cbf',
  '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
  'C.4',
);

const DATE: Field = ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'];
const DATE_LATER: Field = ['date', 'Mon, 21 Oct 2013 20:13:22 GMT'];
const LOCATION: Field = ['location', 'https://www.example.com'];
const COOKIE: Field = ['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'];

function responses(first: string, second: string, third: string, section: string): Example[] {
  return [
    {
      section: `${section}.1`,
      block: first,
      fields: [[':status', '302'], ['cache-control', 'private'], DATE, LOCATION],
      table: [LOCATION, DATE, ['cache-control', 'private'], [':status', '302']],
    },
    {
      section: `${section}.2`,
      block: second,
      fields: [[':status', '307'], ['cache-control', 'private'], DATE, LOCATION],
      table: [[':status', '307'], LOCATION, DATE, ['cache-control', 'private']],
    },
    {
      section: `${section}.3`,
      block: third,
      fields: [[':status', '200'], ['cache-control', 'private'], DATE_LATER, LOCATION, ['content-encoding', 'gzip'], COOKIE],
      table: [COOKIE, ['content-encoding', 'gzip'], DATE_LATER],
    },
  ];
}

const C5 = responses(
  '4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
  '4803 3330 37c1 c0bf',
  '88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31',
  'C.5',
);
const C6 = responses(
  '4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
  '4883 640e ffc1 c0bf',
  '88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07',
  'C.6',
);

describe('RFC 7541 Appendix C', () => {
  it.each(C2.map((example) => [example.section, example] as const))('%s', (_, example) => {
    const one = decoder();
    expect(decode(one, example.block)).toEqual(example.fields);
    expect(table(one)).toEqual(example.table);
  });

  it.each([
    ['C.3 requests', 4096, C3],
    ['C.4 requests, Huffman-coded', 4096, C4],
    ['C.5 responses, with eviction', 256, C5],
    ['C.6 responses, Huffman-coded, with eviction', 256, C6],
  ] as const)('%s', (_, tableSize, examples) => {
    const one = decoder();
    if (tableSize !== 4096) {
      one.setMaxTableSize(tableSize);
      decode(one, '3fe101');
    }
    for (const example of examples) {
      expect(decode(one, example.block), example.section).toEqual(example.fields);
      expect(table(one), example.section).toEqual(example.table);
    }
  });

  it('C.1 integers: 10 and 1337 in a prefix of five bits, as sizes of a table', () => {
    const small = decoder();
    decode(small, '2a');
    expect(decode(small, C2[0]?.block ?? '')).toEqual(C2[0]?.fields);
    expect(table(small)).toEqual([]);
    expect(() => decode(decoder(1336), '3f9a0a')).toThrow('a table of 1337 octets where 1336 are allowed');
    expect(decode(decoder(1337), '3f9a0a')).toEqual([]);
  });

  it.each([
    ['made smaller', [100], '3f45'],
    ['made smaller, and larger again', [100, 4096], '3f453fe11f'],
    ['made smaller twice', [100, 50], '3f13'],
    ['made larger than it may be here', [8192], ''],
    ['left as it is', [4096], ''],
  ] as const)('§4.2: a block says that the table was %s', (_, sizes, updates) => {
    const one = encoder();
    for (const size of sizes) one.setMaxTableSize(size);
    expect(encode(one, [[':method', 'GET']]).toString('hex')).toBe(`${updates}82`);
    expect(encode(one, [[':method', 'GET']]).toString('hex')).toBe('82');
    one.setMaxTableSize(4096);
    expect(encode(one, [[':method', 'GET']]).toString('hex')).toBe((sizes.at(-1) ?? 0) < 4096 ? '3fe11f82' : '82');
  });

  it('is written as the RFC writes its Huffman-coded requests', () => {
    const one = encoder();
    expect(encode(one, FIRST_REQUEST).toString('hex')).toBe((C4[0]?.block ?? '').replaceAll(' ', ''));
    expect(encode(one, SECOND_REQUEST).toString('hex')).toBe((C4[1]?.block ?? '').replaceAll(' ', ''));
    expect(encode(one, THIRD_REQUEST).toString('hex')).toBe((C4[2]?.block ?? '').replaceAll(' ', ''));
  });

  it.each([
    ['302', '6402'],
    ['www.example.com', 'f1e3c2e5f23a6ba0ab90f4ff'],
    ['Mon, 21 Oct 2013 20:13:21 GMT', 'd07abe941054d444a8200595040b8166e082a62d1bff'],
    ['foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1', '94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007'],
  ])('Huffman code of %s', (text, coded) => {
    const target = Buffer.alloc(100);
    const length = huffmanEncode(text, target, 0);
    expect(target.toString('hex', 0, length)).toBe(coded);
    expect(huffmanLength(text)).toBe(length);
  });
});
