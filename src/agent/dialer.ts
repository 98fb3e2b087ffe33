/** The data plane's way out: connections from the namespace of the pod that they belong to. */
import { Socket, isIPv6 } from 'node:net';
import { SocketTransport } from '../proxy/socket-transport.ts';
import type { Transport, TransportOwner } from '../proxy/transport.ts';
import type { Dialer, DialTarget } from '../proxy/upstream.ts';

export class NetnsDialer implements Dialer {
  dial(target: DialTarget, owner: TransportOwner): Transport {
    return SocketTransport.connect(fdFor(target), target.address, target.port, owner);
  }

  socket(target: DialTarget): Socket {
    const socket = new Socket({ fd: fdFor(target), allowHalfOpen: true });
    socket.setNoDelay(true);
    return socket.connect({ host: target.address, port: target.port });
  }
}

function fdFor({ workload: { sockets, addresses }, direction, address, clientAddress }: DialTarget): number {
  const family = isIPv6(address) ? 6 : 4;
  // A pod that calls itself has nothing to borrow: the kernel gives both ends its address. A borrowed one is bound to loopback, which
  // answers between a pod's own addresses do not seem to come from.
  if (direction === 'outbound' || addresses.includes(clientAddress)) return sockets.outbound(family);
  return sockets.inbound(family, clientAddress);
}
