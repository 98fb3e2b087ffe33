/** The agent's listeners inside a pod: born in its network namespace, owned by the main thread, accepted on by workers. */
import { LISTEN_BACKLOG } from '../core/limits.ts';
import { HBONE_PORT, INBOUND_PORT, OUTBOUND_PORT } from '../core/ports.ts';
import { closeFd, listenTcp } from '../sys/socket.ts';
import { SysError } from '../sys/sys-error.ts';
import type { Netns } from '../sys/netns.ts';
import type { Exclusions } from './exclusions.ts';
import type { PodListeners } from './redirector.ts';

/** A socket that an earlier agent opened at this place in the pod's namespace and passed on; from then on the caller's. */
export type Inherited = (place: { readonly cookie: bigint; readonly address: string; readonly port: number }) => number | undefined;

/**
 * Open the listeners of one pod, or take those that were inherited: outbound on loopback:15001, inbound on every address, port 15006, tunnels on 15008; IPv4 and, where the pod
 * has it, IPv6. SO_REUSEPORT lets the next agent open its own beside them during an upgrade. What a pod's guests send is
 * redirected to an address of their interface, not to loopback, so such a pod's outbound listener takes every address.
 */
export function openListeners(netns: Netns, exclusions: Exclusions, inherited: Inherited = () => undefined): PodListeners {
  const { cookie } = netns;
  const guests = exclusions.virtualInterfaces.length > 0;
  return netns.run(() => {
    const opened: number[] = [];
    const open = (address: string, port: number): number => {
      const fd = inherited({ cookie, address, port }) ?? listenTcp({ address, port, backlog: LISTEN_BACKLOG, reusePort: true, v6only: true });
      opened.push(fd);
      return fd;
    };
    try {
      const outbound = [open(guests ? '0.0.0.0' : '127.0.0.1', OUTBOUND_PORT)];
      const inbound = [open('0.0.0.0', INBOUND_PORT)];
      const hbone = [open('0.0.0.0', HBONE_PORT)];
      if (hasIpv6(() => outbound.push(open(guests ? '::' : '::1', OUTBOUND_PORT)))) {
        inbound.push(open('::', INBOUND_PORT));
        hbone.push(open('::', HBONE_PORT));
      }
      return { outbound, inbound, hbone };
    } catch (error) {
      for (const fd of opened) closeFd(fd);
      throw error;
    }
  });
}

/** All of them. */
export function descriptorsOf({ outbound, inbound, hbone }: PodListeners): number[] {
  return [...outbound, ...inbound, ...hbone];
}

export function closeListeners(listeners: PodListeners): void {
  for (const fd of descriptorsOf(listeners)) closeFd(fd);
}

/** IPv6 may be off in the kernel or on this pod's loopback; such a pod has no IPv6 traffic to capture. */
function hasIpv6(open: () => void): boolean {
  try {
    open();
    return true;
  } catch (error) {
    if (error instanceof SysError && (error.code === 'EADDRNOTAVAIL' || error.code === 'EAFNOSUPPORT')) return false;
    throw error;
  }
}
