/**
 * The address plan of a lab. Lab number L (1 to 250) owns 10.L.0.0/16 and fd00:L::/32; several labs never overlap.
 *
 *   10.L.0.1    fd00:L::1        the fabric, which joins the nodes      10.L.251.x  fd00:L:fb::x    external hosts
 *   10.L.0.N+1  fd00:L::N+1      node N                                 10.L.254.x  fd00:L:fe::x    Services
 *   10.L.N.x    fd00:L:N::x      pods of node N, x from 2; 1 is the node's bridge
 */
export const LAB_NUMBER_MAX = 250;
export const NODE_NUMBER_MAX = 200;
export const PODS_PER_NODE_MAX = 250;

const EXTERNAL = 251;
const SERVICES = 254;

export interface AddressPair {
  ipv4: string;
  ipv6: string;
}

/** The pair number `host` in the part `subnet` of lab `lab`: subnet 0 is the fabric's, 1 and on are the nodes'. */
function pair(lab: number, subnet: number, host: number): AddressPair {
  const middle = subnet === 0 ? '' : `${subnet.toString(16)}:`;
  return { ipv4: `10.${lab}.${subnet}.${host}`, ipv6: `fd00:${lab.toString(16)}:${middle}:${host.toString(16)}` };
}

export function fabricAddress(lab: number): AddressPair {
  return pair(lab, 0, 1);
}

/** Address of node `node` (from 1) on the fabric: what Kubernetes calls its InternalIP. */
export function nodeAddress(lab: number, node: number): AddressPair {
  return pair(lab, 0, node + 1);
}

/** The node's bridge: gateway and DNS server of its pods. */
export function bridgeAddress(lab: number, node: number): AddressPair {
  return pair(lab, node, 1);
}

/** Pod `index` (from 0) of a node. */
export function podAddress(lab: number, node: number, index: number): AddressPair {
  return pair(lab, node, index + 2);
}

/** External host `index` (from 0); 1 is the fabric's bridge for them. */
export function externalAddress(lab: number, index: number): AddressPair {
  return pair(lab, EXTERNAL, index + 2);
}

export function externalGateway(lab: number): AddressPair {
  return pair(lab, EXTERNAL, 1);
}

/** Virtual addresses of Service `index` (from 0). */
export function serviceAddress(lab: number, index: number): AddressPair {
  return pair(lab, SERVICES, index + 1);
}

/** The pods of a node as prefixes. */
export function podPrefixes(lab: number, node: number): AddressPair {
  return { ipv4: `10.${lab}.${node}.0/24`, ipv6: `fd00:${lab.toString(16)}:${node.toString(16)}::/48` };
}
