/** Addresses and networks to ask for an address: one look-up for each length of prefix that occurs, however many networks. */
import ipaddr from 'ipaddr.js';

const PARSED_MAX = 4096;

/** An address as a number and its length in bits. IPv4 written as IPv6 (`::ffff:10.0.0.1`) is IPv4. */
interface Address {
  readonly value: bigint;
  readonly bits: 32 | 128;
}

/** Clients come back; parsing an address costs more than looking it up. */
const parsed = new Map<string, Address | undefined>();

/** `networks` are valid addresses or CIDRs. An address that is none is in no set. */
export function addressSet(networks: readonly string[]): (address: string) => boolean {
  const byPrefix = new Map<string, { readonly bits: number; readonly shift: bigint; readonly members: Set<bigint> }>();
  for (const network of networks) {
    const [text = '', written] = network.split('/');
    const address = parse(text);
    if (address === undefined) continue;
    // `::ffff:10.0.0.0/104` is 10.0.0.0/8.
    const length = written === undefined ? address.bits : text.includes(':') && address.bits === 32 ? Number(written) - 96 : Number(written);
    const shift = BigInt(address.bits - Math.max(0, length));
    const key = `${address.bits}/${shift}`;
    const group = byPrefix.get(key) ?? { bits: address.bits, shift, members: new Set<bigint>() };
    byPrefix.set(key, group);
    group.members.add(address.value >> shift);
  }
  const groups = [...byPrefix.values()];
  return (text) => {
    const address = parse(text);
    if (address === undefined) return false;
    for (const { bits, shift, members } of groups) if (bits === address.bits && members.has(address.value >> shift)) return true;
    return false;
  };
}

function parse(text: string): Address | undefined {
  if (parsed.has(text)) return parsed.get(text);
  const address = ipaddr.isValid(text) ? numberOf(ipaddr.process(text)) : undefined;
  if (parsed.size >= PARSED_MAX) parsed.clear();
  parsed.set(text, address);
  return address;
}

function numberOf(address: ipaddr.IPv4 | ipaddr.IPv6): Address {
  const octets = address.toByteArray();
  return { value: octets.reduce((sum, octet) => (sum << 8n) | BigInt(octet), 0n), bits: octets.length === 4 ? 32 : 128 };
}
