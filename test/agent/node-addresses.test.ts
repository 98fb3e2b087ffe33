import { networkInterfaces } from 'node:os';
import { expect, test } from 'vitest';
import { NodeAddresses } from '../../src/agent/node-addresses.ts';
import { FakeClock } from '../../src/core/clock.ts';

test('the node\'s addresses are those of its interfaces, without loopback, asked for now and then', () => {
  const clock = new FakeClock();
  const addresses = new NodeAddresses(clock);
  const expected = Object.values(networkInterfaces()).flatMap((interfaces) => (interfaces ?? []).filter(({ internal }) => !internal).map(({ address }) => address));
  expect(addresses.present).toEqual(new Set(expected));
  expect(addresses.present.has('127.0.0.1')).toBe(false);
  const first = addresses.present;
  clock.advance(4_999);
  expect(addresses.present).toBe(first);
  clock.advance(1);
  expect(addresses.present).not.toBe(first);
});
