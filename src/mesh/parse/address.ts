/** What counts as an address in a resource. */
import ipaddr from 'ipaddr.js';

/** Dotted quads and IPv6; ipaddr.js on its own also takes `10` for 0.0.0.10. */
export function isAddress(text: string): boolean {
  return ipaddr.IPv4.isValidFourPartDecimal(text) || ipaddr.IPv6.isValid(text);
}

/** An address, or a network in CIDR form. */
export function isNetwork(text: string): boolean {
  return isAddress(text) || ipaddr.isValidCIDR(text);
}
