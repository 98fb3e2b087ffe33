import { readFileSync } from 'node:fs';
import type { Family } from '../sys/sockaddr.ts';

/**
 * Address families of the current network namespace. One whose loopback has IPv6 off has no IPv6 traffic to capture, and no
 * listener for it.
 */
export function familiesHere(): Family[] {
  try {
    return readFileSync('/proc/sys/net/ipv6/conf/lo/disable_ipv6', 'utf8').trim() === '0' ? [4, 6] : [4];
  } catch {
    return [4];
  }
}
