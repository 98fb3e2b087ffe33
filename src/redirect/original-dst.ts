/** Where a captured connection was going, asked by the worker that accepted it. */
import { mapLookup, objGet } from '../sys/bpf.ts';
import { decodeEndpoint, LAYOUTS } from '../sys/layout.ts';
import { closeFd, localAddress, originalDst } from '../sys/socket.ts';
import type { Address, Family } from '../sys/sockaddr.ts';
import { INBOUND_PORT, OUTBOUND_PORT } from '../core/ports.ts';
import { isNodeName, mapPin, objectDirectories } from './ebpf/pins.ts';
import type { OriginalDst } from './redirector.ts';

/**
 * `undefined` means that the connection must be closed: nobody redirected it. It was made to the listener directly, and
 * carried on to "its destination" it would come back to the listener for ever.
 */
export interface OriginalDstLookup {
  /** Of a connection accepted on an outbound listener. */
  outbound(fd: number, family: Family): Address | undefined;
  /** Of a connection accepted on an inbound listener; the local address and port are those of the accepted socket. */
  inbound(fd: number, family: Family, localAddress: string, localPort: number): Address | undefined;
  close(): void;
}

/** Open the lookup a pod's `enrol` described; one per worker and backend serves all pods. */
export function openOriginalDst(descriptor: OriginalDst): OriginalDstLookup {
  return descriptor.kind === 'conntrack' ? new ConntrackLookup() : new BpfLookup(descriptor.mapPath);
}

/** All ways in which agents of this node may have captured what waits to be accepted, whatever their version and backend. */
export function anyOriginalDst(node: string): OriginalDst[] {
  const pinned = isNodeName(node) ? objectDirectories(node) : [];
  return [{ kind: 'conntrack' }, ...pinned.map((directory): OriginalDst => ({ kind: 'bpf', mapPath: mapPin(directory, 'accepted') }))];
}

/** netfilter keeps the destination it replaced, both ways; of a connection it did not redirect it gives the one it had. */
class ConntrackLookup implements OriginalDstLookup {
  outbound(fd: number, family: Family): Address | undefined {
    const destination = originalDst(fd, family);
    return destination?.port === OUTBOUND_PORT && destination.address === localAddress(fd).address ? undefined : destination;
  }

  inbound(fd: number, family: Family): Address | undefined {
    const destination = originalDst(fd, family);
    return destination?.port === INBOUND_PORT ? undefined : destination;
  }

  close(): void {}
}

/** Programs have put the destination into the accepted socket's storage; inbound connections were never rewritten. */
class BpfLookup implements OriginalDstLookup {
  readonly #map: number;
  readonly #key = Buffer.alloc(4);
  readonly #value = Buffer.alloc(LAYOUTS.endpoint.size);

  constructor(mapPath: string) {
    const map = objGet(mapPath);
    if (map === undefined) throw new Error(`no BPF map is pinned at ${mapPath}: the redirector that made it was closed`);
    this.#map = map;
  }

  outbound(fd: number): Address | undefined {
    this.#key.writeInt32LE(fd);
    return mapLookup(this.#map, this.#key, this.#value) ? decodeEndpoint(this.#value) : undefined;
  }

  inbound(_fd: number, _family: Family, address: string, port: number): Address | undefined {
    if (port === INBOUND_PORT) return undefined;
    return { address: address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address, port };
  }

  close(): void {
    closeFd(this.#map);
  }
}
