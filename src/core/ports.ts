/** The ports Orlop listens on in every enrolled pod (the same as Istio's, so that NetworkPolicies and tools fit). */
export const OUTBOUND_PORT = 15001;
export const INBOUND_PORT = 15006;
export const HBONE_PORT = 15008;
