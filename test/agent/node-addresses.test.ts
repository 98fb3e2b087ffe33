import { networkInterfaces } from 'node:os';
import type { NetworkInterfaceInfo } from 'node:os';
import { afterEach, expect, test, vi } from 'vitest';
import { NodeAddresses } from '../../src/agent/node-addresses.ts';
import { FakeClock } from '../../src/core/clock.ts';

vi.mock('node:os', async (original) => ({ ...await original<typeof import('node:os')>(), networkInterfaces: vi.fn<typeof networkInterfaces>() }));

afterEach(() => {
  vi.mocked(networkInterfaces).mockReset();
});

function has(...addresses: string[]): void {
  const info = (address: string): NetworkInterfaceInfo => ({ address, netmask: '', mac: '', internal: address.startsWith('127.'), cidr: null, family: 'IPv4' });
  vi.mocked(networkInterfaces).mockReturnValue({ all: addresses.map(info) });
}

test('the node\'s addresses are those of its interfaces, without loopback, told when they change', () => {
  const clock = new FakeClock();
  const told: (readonly string[])[] = [];
  has('127.0.0.1', '10.0.0.2');
  const addresses = new NodeAddresses(clock, (all) => told.push(all));
  expect(told).toEqual([['10.0.0.2']]);
  clock.advance(60_000);
  expect(told).toHaveLength(1);
  has('10.244.1.1', '10.0.0.2', '127.0.0.1');
  clock.advance(5_000);
  expect(told.slice(1)).toEqual([['10.0.0.2', '10.244.1.1']]);
  addresses.close();
  expect(clock.pending()).toBe(0);
});
