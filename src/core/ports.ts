/** The ports Orlop listens on: in every enrolled pod the same as Istio, so that NetworkPolicies and tools fit. */
export const OUTBOUND_PORT = 15001;
export const INBOUND_PORT = 15006;
export const HBONE_PORT = 15008;

/** Ports that agents open on nodes for gateways behind load balancers: below those of NodePorts (30000) and of outgoing connections (32768). */
export const GATEWAY_PORT_FIRST = 24000;
export const GATEWAY_PORT_LAST = 24999;
