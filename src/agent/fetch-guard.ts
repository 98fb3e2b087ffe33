/**
 * Where the agent may fetch from on behalf of a resource. The address of a key set comes from whoever may write
 * RequestAuthentications in some namespace, but the request leaves from the node, with all that the node may reach: the cloud's
 * metadata service hands out the node's credentials, and loopback holds the agent's own admin port and the kubelet's. So these
 * are refused, by the address that is really connected to: a name may lead anywhere, and elsewhere the next time.
 */
import { lookup as resolve } from 'node:dns';
import { isIP } from 'node:net';
import type { LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';

/** Why nothing is fetched from an address; undefined when it may be. */
export type AddressRule = (address: string) => string | undefined;

/** Of the cloud, at addresses that look like any other: EC2 over IPv6, Azure, Alibaba, Oracle. */
const METADATA: ReadonlySet<string> = new Set(['fd00:ec2::254', '168.63.129.16', '100.100.100.200', '192.0.0.192']);

/** Kinds of addresses, in ipaddr.js' words, that are the node itself, its neighbours on the link, or lead on to others. */
const REFUSED_RANGES: ReadonlySet<string> = new Set(['loopback', 'linkLocal', 'unspecified', 'multicast', 'broadcast', 'rfc6145', '6to4', 'teredo']);

/** The rule in force unless the operator lifts it. */
export const notTheNode: AddressRule = (address) => {
  const parsed = ipaddr.process(address);
  if (METADATA.has(parsed.toString())) return `${address} is the cloud's metadata service`;
  const range = parsed.range();
  if (REFUSED_RANGES.has(range)) return `${address} is a ${range} address, which is for the node itself`;
  const embedded = parsed instanceof ipaddr.IPv6 ? embeddedIPv4(parsed) : undefined;
  return embedded === undefined ? undefined : notTheNode(embedded);
};

/** Everything, for laboratories. */
export const anywhere: AddressRule = () => undefined;

/** The address written in a URL in place of a name; `net` connects to it without looking anything up. */
export function literalAddress({ hostname }: URL): string | undefined {
  const bare = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
  return isIP(bare) === 0 ? undefined : bare;
}

/** Resolves names for `net.connect`, to addresses that the rule lets through. */
export function guardedLookup(rule: AddressRule): LookupFunction {
  return (name, options, answer) => {
    resolve(name, { ...options, all: true }, (error, found) => {
      const allowed = error === null ? found.filter(({ address }) => rule(address) === undefined) : [];
      const [first] = allowed;
      if (error !== null) answer(error, '', 0);
      else if (first === undefined) answer(new Error(found.map(({ address }) => rule(address)).join('; ')), '', 0);
      else if (options.all === true) answer(null, allowed);
      else answer(null, first.address, first.family);
    });
  };
}

/** Of NAT64 (64:ff9b::/96, RFC 6052 §2.1), and the old form `::192.0.2.1` (RFC 4291 §2.5.5.1). */
function embeddedIPv4(address: ipaddr.IPv6): string | undefined {
  const bytes = address.toByteArray();
  const isCompatible = bytes.slice(0, 12).every((byte) => byte === 0);
  return isCompatible || address.range() === 'rfc6052' ? bytes.slice(12).join('.') : undefined;
}
