/** Header blocks in tests: fields as pairs, octets as hexadecimal. */
import { HpackDecoder } from '../../../../src/proxy/http2/hpack/decoder.ts';
import { HpackEncoder } from '../../../../src/proxy/http2/hpack/encoder.ts';
import { HpackError } from '../../../../src/proxy/http2/hpack/error.ts';

export type Field = readonly [name: string, value: string];

/** Room for anything a test makes. */
export const LIST_SIZE_AMPLE = 1 << 20;

export function decoder(maxTableSize = 4096, maxListSize = LIST_SIZE_AMPLE): HpackDecoder {
  return new HpackDecoder({ maxTableSize, maxListSize });
}

export function encoder(maxTableSize = 4096): HpackEncoder {
  return new HpackEncoder({ maxTableSize });
}

/** The fields of one block, which lies somewhere in the middle of a larger buffer, as it does in a frame. */
export function decode(into: HpackDecoder, block: Buffer | string): Field[] {
  const octets = typeof block === 'string' ? Buffer.from(block.replaceAll(' ', ''), 'hex') : block;
  const fields: Field[] = [];
  into.decode(Buffer.concat([Buffer.from('ff', 'hex'), octets, Buffer.from('ff', 'hex')]), 1, 1 + octets.length, { field: (name, value) => void fields.push([name, value]) });
  return fields;
}

/** One block, copied. */
export function encode(by: HpackEncoder, fields: readonly Field[]): Buffer {
  by.begin();
  for (const [name, value] of fields) by.field(name, value);
  return Buffer.from(by.end());
}

/** The entries of the dynamic table, newest first: every index is asked for until there is none. */
export function table(of: HpackDecoder): Field[] {
  const entries: Field[] = [];
  for (let index = 62; ; index += 1) {
    const block = index < 127 ? Buffer.from([0x80 | index]) : Buffer.from([0xff, ...continuation(index - 127)]);
    try {
      entries.push(...decode(of, block));
    } catch (error) {
      if (error instanceof HpackError) return entries;
      throw error;
    }
  }
}

function continuation(value: number): number[] {
  return value < 128 ? [value] : [(value & 0x7f) | 0x80, ...continuation(value >>> 7)];
}
