import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { Backlog } from '../../../src/proxy/http2/backlog.ts';

test('what goes in comes out, in order, however it is cut', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof({ weight: 3, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 2000 }).map((bytes) => Buffer.from(bytes)) }, { weight: 1, arbitrary: fc.constant('shift' as const) }), { maxLength: 60 }), (steps) => {
      const backlog = new Backlog();
      const pushed: Buffer[] = [];
      const shifted: Buffer[] = [];
      for (const step of steps) {
        if (step === 'shift') {
          if (backlog.bytes > 0) shifted.push(backlog.shift());
        } else {
          pushed.push(Buffer.from(step));
          backlog.push(step);
          // The chunk was only lent.
          step.fill(0);
        }
      }
      while (backlog.bytes > 0) shifted.push(backlog.shift());
      expect(Buffer.concat(shifted).equals(Buffer.concat(pushed))).toBe(true);
    }),
  );
});

test('bytes one by one are joined', () => {
  const backlog = new Backlog();
  for (let i = 0; i < 100_000; i += 1) backlog.push(Buffer.from([i & 255]));
  let parts = 0;
  for (; backlog.bytes > 0; parts += 1) backlog.shift();
  expect(parts).toBeLessThan(20);
});
