import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { Block, PlainReadBuffers, RecordReadBuffers, isShared, withHeadroom } from '../../src/proxy/read-buffers.ts';

const RECORD = 16 * 1024;

test('an idle connection holds no memory of its own', () => {
  for (const buffers of [new PlainReadBuffers(), new RecordReadBuffers()]) {
    const first = buffers.next() as Buffer;
    expect(isShared(first)).toBe(true);
    buffers.received(300);
    expect(buffers.next()).toBeUndefined();
  }
});

test('a socket that fills the buffer gets its own, and gives it back', () => {
  const buffers = new PlainReadBuffers();
  const shared = buffers.next() as Buffer;
  buffers.received(shared.length);
  const bulk = buffers.next() as Buffer;
  expect(isShared(bulk)).toBe(false);
  buffers.received(bulk.length);
  expect(buffers.next()).toBeUndefined();
  buffers.received(100);
  expect(isShared(buffers.next() as Buffer)).toBe(true);
});

test('what was given away is not read to again', () => {
  const buffers = new PlainReadBuffers();
  buffers.received((buffers.next() as Buffer).length);
  const bulk = buffers.next() as Buffer;
  buffers.received(bulk.length);
  buffers.surrender();
  expect(buffers.next()?.buffer).not.toBe(bulk.buffer);
});

test('the room before a chunk is given once for each read', () => {
  const buffers = new PlainReadBuffers();
  buffers.received((buffers.next() as Buffer).length);
  const bulk = buffers.next() as Buffer;
  buffers.received(100_000);
  const chunk = bulk.subarray(0, 100_000);
  const framed = withHeadroom(chunk, 9) as Buffer;
  expect(framed.length).toBe(100_009);
  framed.fill(0x7f, 0, 9);
  expect(withHeadroom(chunk, 9)).toBeUndefined();
  expect(withHeadroom(chunk.subarray(1), 9)).toBeUndefined();
  buffers.received(100_000);
  expect(withHeadroom(chunk, 9)).toBeDefined();
  expect(withHeadroom(Buffer.alloc(100_000), 9)).toBeUndefined();
});

test('records lie one after the other', () => {
  const buffers = new RecordReadBuffers();
  buffers.next();
  buffers.received(RECORD);
  const first = buffers.next() as Buffer;
  buffers.received(RECORD);
  const second = buffers.next() as Buffer;
  expect([second.buffer === first.buffer, second.byteOffset - first.byteOffset]).toEqual([true, RECORD]);
});

/** Connections that read records while what they read waits to be sent, or is given away. */
test('nothing is read over what is still to be sent', () => {
  const step = fc.record({ connection: fc.nat(2), length: fc.constantFrom(RECORD, RECORD, RECORD, 5000, 9), keep: fc.boolean(), send: fc.nat(3), surrender: fc.integer({ min: 0, max: 20 }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const connections = Array.from({ length: 3 }, () => {
        const buffers = new RecordReadBuffers();
        return { buffers, current: buffers.next() as Buffer };
      });
      const kept: { chunk: Buffer; block: Block; mark: number }[] = [];
      const away: { chunk: Buffer; mark: number }[] = [];
      let mark = 0;
      for (const { connection: index, length, keep, send, surrender } of steps) {
        const connection = connections[index] as (typeof connections)[number];
        const chunk = connection.current.subarray(0, length);
        mark = (mark + 1) & 255;
        chunk.fill(mark);
        connection.buffers.received(length);
        const block = Block.of(chunk);
        if (block !== undefined && keep) {
          block.keep();
          kept.push({ chunk, block, mark });
        }
        if (surrender === 0 && block !== undefined) {
          connection.buffers.surrender();
          away.push({ chunk, mark });
        }
        for (let i = 0; i < send && kept.length > 0; i += 1) (kept.shift() as (typeof kept)[number]).block.sent();
        connection.current = connection.buffers.next() ?? connection.current;
        for (const one of [...kept, ...away]) expect([one.chunk[0], one.chunk.at(-1)]).toEqual([one.mark, one.mark]);
      }
      for (const { block } of kept) block.sent();
    }),
    { numRuns: 60 },
  );
});
