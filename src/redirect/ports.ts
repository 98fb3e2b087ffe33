/** The ports Orlop listens on in every enrolled pod (the same as Istio's, so that NetworkPolicies and tools fit). */
export const OUTBOUND_PORT = 15001;
export const INBOUND_PORT = 15006;
export const HBONE_PORT = 15008;

export const OWN_PORTS: readonly number[] = [OUTBOUND_PORT, INBOUND_PORT, HBONE_PORT];

/** IPv6 destinations that no proxy can reach for a pod: they need an interface beside the address (RFC 4007). */
export const LINK_LOCAL_CIDR = 'fe80::/10';
