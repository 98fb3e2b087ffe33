/** Ports and addresses that capture leaves alone. */
import { HBONE_PORT, INBOUND_PORT, OUTBOUND_PORT } from '../core/ports.ts';

export const OWN_PORTS: readonly number[] = [OUTBOUND_PORT, INBOUND_PORT, HBONE_PORT];

/** IPv6 destinations that no proxy can reach for a pod: they need an interface beside the address (RFC 4007). */
export const LINK_LOCAL_CIDR = 'fe80::/10';
