/** struct sockaddr_in and sockaddr_in6 (netinet/in.h), to and from text. */
import ipaddr from 'ipaddr.js';

export const AF_INET = 2;
export const AF_INET6 = 10;

export interface Address {
  readonly address: string;
  readonly port: number;
}

export type Family = 4 | 6;

/** Length of struct sockaddr_in6, the larger of the two. */
export const SOCKADDR_BYTES_MAX = 28;

/** Family of an address in text. */
export function familyOf(address: string): Family {
  return address.includes(':') ? 6 : 4;
}

/** The sockaddr of `address` and `port`. */
export function encodeSockaddr(address: string, port: number): Buffer {
  const bytes = Buffer.from(ipaddr.parse(address).toByteArray());
  if (bytes.length === 4) {
    const sockaddr = Buffer.alloc(16);
    sockaddr.writeUInt16LE(AF_INET, 0);
    sockaddr.writeUInt16BE(port, 2);
    bytes.copy(sockaddr, 4);
    return sockaddr;
  }
  const sockaddr = Buffer.alloc(SOCKADDR_BYTES_MAX);
  sockaddr.writeUInt16LE(AF_INET6, 0);
  sockaddr.writeUInt16BE(port, 2);
  bytes.copy(sockaddr, 8);
  return sockaddr;
}

/** The address in a sockaddr; v4-mapped v6 becomes plain v4. */
export function decodeSockaddr(sockaddr: Buffer): Address {
  const port = sockaddr.readUInt16BE(2);
  if (sockaddr.readUInt16LE(0) === AF_INET) return { address: formatIpv4(sockaddr, 4), port };
  return { address: formatIp(sockaddr.subarray(8, 24)), port };
}

/** Text of a 16-byte address in network order; v4-mapped becomes plain v4. */
export function formatIp(bytes: Buffer): string {
  if (isV4Mapped(bytes)) return formatIpv4(bytes, 12);
  return new ipaddr.IPv6([...bytes]).toString();
}

/** An address as 16 bytes in network order, v4 as v4-mapped v6. */
export function ipBytes(address: string): Buffer {
  const parsed = ipaddr.parse(address);
  const v6 = parsed.kind() === 'ipv4' ? (parsed as ipaddr.IPv4).toIPv4MappedAddress() : parsed;
  return Buffer.from(v6.toByteArray());
}

function formatIpv4(bytes: Buffer, offset: number): string {
  return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`;
}

function isV4Mapped(bytes: Buffer): boolean {
  return bytes.readBigUInt64BE(0) === 0n && bytes.readUInt32BE(8) === 0xffff;
}
