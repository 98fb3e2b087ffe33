/** The data plane's way out: connections from the namespace of the pod that they belong to. */
import { isIPv6 } from 'node:net';
import { SocketTransport } from '../proxy/socket-transport.ts';
import type { Transport, TransportOwner } from '../proxy/transport.ts';
import type { Dialer, DialTarget } from '../proxy/upstream.ts';

export class NetnsDialer implements Dialer {
  dial({ workload, direction, address, port, clientAddress }: DialTarget, owner: TransportOwner): Transport {
    const family = isIPv6(address) ? 6 : 4;
    const { sockets } = workload;
    const fd = direction === 'outbound' ? sockets.outbound(family) : sockets.inbound(family, clientAddress);
    return SocketTransport.connect(fd, address, port, owner);
  }
}
